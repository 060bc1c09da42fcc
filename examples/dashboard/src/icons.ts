/** The drawings: an icon for each word that has one, and a scene where there is no picture. */

import { svg } from "./dom.js";

/** Strokes on a field of 16 by 16. */
const STROKES = {
  wait: "M8 4.5V8l2.3 1.6M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z",
  work: "M8 1.8V4M8 12v2.2M1.8 8H4M12 8h2.2M3.6 3.6l1.6 1.6M10.8 10.8l1.6 1.6M3.6 12.4l1.6-1.6M10.8 5.2l1.6-1.6",
  done: "M5 8.2l2.1 2.1L11.2 6M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z",
  stop: "M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z",
  none: "M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.6-.9 1.2M8 11.4v.1M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z",
  live: "M8 7.4v1.2M5.2 10.8a4 4 0 0 1 0-5.6M10.8 5.2a4 4 0 0 1 0 5.6M3.1 12.9a7 7 0 0 1 0-9.8M12.9 3.1a7 7 0 0 1 0 9.8",
  polling: "M13.4 6.2A5.6 5.6 0 0 0 3.2 5.4M2.6 2.6v2.9h2.9M2.6 9.8a5.6 5.6 0 0 0 10.2.8M13.4 13.4v-2.9h-2.9",
  reconnecting: "M2 2l12 12M5.2 10.8a4 4 0 0 1-.6-4.8M10.8 5.2a4 4 0 0 1 .7 4.7M3.1 12.9a7 7 0 0 1-.5-9.2M12.9 3.1a7 7 0 0 1 .6 9.1",
  final: "M4 14V2.2M4 3h7.6l-1.8 2.7L11.6 8.5H4",
  loading: "M3.5 8h.1M8 8h.1M12.5 8h.1",
  remove: "M4 4l8 8M12 4l-8 8",
} as const;

export type IconName = keyof typeof STROKES;

export function icon(name: IconName): SVGElement {
  const stroke = svg("path", { d: STROKES[name] });
  return svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, stroke);
}

/** Skies that go well together, in degrees. */
const HUES = [12, 28, 165, 190, 208, 224, 250, 280, 325];

/** A landscape of its own for each session, in quiet colours. */
export function scene(id: number): SVGElement {
  let state = id * 2_654_435_761;
  const next = () => ((state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32) >>> 0) / 2 ** 32;
  for (let n = 0; n < 4; n++) next();
  const hue = HUES[Math.floor(next() * HUES.length)]!;
  const tint = (turn: number, light: number, rich = 34) => `hsl(${(hue + turn) % 360} ${rich}% ${light}%)`;
  const sky = svg(
    "linearGradient",
    { id: `sky-${id}`, x1: 0, y1: 0, x2: 0, y2: 1 },
    svg("stop", { offset: 0, "stop-color": tint(0, 46) }),
    svg("stop", { offset: 1, "stop-color": tint(40, 78, 46) }),
  );
  const ridge = (height: number, light: number) => {
    const points = [0, 64, 128, 192, 256, 320].map((x) => [x, height - next() * 34] as const);
    const curve = points.slice(1).map(([x, y], n) => {
      const [before, level] = points[n]!;
      const middle = (before + x) / 2;
      return `C${middle} ${level} ${middle} ${y} ${x} ${y}`;
    });
    return svg("path", {
      d: `M0 180V${points[0]![1]}${curve.join("")}V180Z`,
      fill: tint(-18, light, 30),
    });
  };
  return svg(
    "svg",
    { class: "scene", viewBox: "0 0 320 180", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" },
    sky,
    svg("rect", { width: 320, height: 180, fill: `url(#sky-${id})` }),
    svg("circle", { cx: 60 + next() * 200, cy: 50 + next() * 34, r: 17, fill: tint(50, 92, 70), opacity: 0.9 }),
    ridge(128, 42),
    ridge(150, 32),
    ridge(174, 22),
  );
}
