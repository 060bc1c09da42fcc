// Asks for the numbers every ten seconds, and draws them. A key is kept in memory alone.

const EVERY = 10_000;
const SVG = "http://www.w3.org/2000/svg";
const find = (id) => document.getElementById(id);
let key = "";
let paused = false;
let timer = 0;

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const shown = {
  rate: (value) => `${number.format(value)} /s`,
  share: (value) => percent.format(value),
  seconds: (value) => (value < 1 ? `${number.format(value * 1000)} ms` : `${number.format(value)} s`),
  bytes: (value) => (value < 2 ** 20 ? `${number.format(value / 1024)} KiB` : `${number.format(value / 2 ** 20)} MiB`),
  plain: (value) => number.format(value),
};
const told = (form, value) => (value === null || value === undefined ? "–" : shown[form](value));
const moment = (at) => new Date(at * 1000).toLocaleTimeString("en", { hour12: false });

const CHARTS = [
  ["Requests", "rate", ["requests"]],
  ["Answered from the cache", "share", ["hitRatio"], 1],
  ["Slowest of twenty requests (p95)", "seconds", ["p95"]],
  ["Attempts to call the farm, failed ones dashed", "rate", ["attempts", "failed"]],
];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function line(points, name, most, since, now) {
  // A gap where nothing was asked: the line is lifted.
  let drawn = "";
  let down = false;
  for (const point of points) {
    const value = point[name];
    if (value === null) {
      down = false;
      continue;
    }
    const x = (600 * (point.at - since)) / (now - since);
    const y = 98 - (96 * value) / most;
    drawn += `${down ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${down ? "" : "h0.1"}`;
    down = true;
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", drawn);
  return path;
}

function chart(data, [title, form, names, most]) {
  const since = Math.min(data.since, data.now - 600);
  const values = data.points.flatMap((point) => names.map((name) => point[name])).filter((it) => it !== null);
  const top = most ?? Math.max(...values, 1e-9);
  const latest = data.points.at(-1)?.[names[0]] ?? null;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 600 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const highest = values.length ? told(form, Math.max(...values)) : "–";
  svg.setAttribute("aria-label", `${title}: now ${told(form, latest)}, at most ${highest}`);
  names.forEach((name, index) => {
    const path = line(data.points, name, top, since, data.now);
    if (index) path.classList.add("second");
    svg.append(path);
  });
  const now = element("strong", { textContent: told(form, latest) });
  const caption = element("figcaption", {}, `${title}: `, now, `, at most ${highest} since ${moment(since)}`);
  return element("figure", {}, caption, svg);
}

function tile(name, value, { bad = false, of = null, from = null } = {}) {
  const dd = element("dd", { textContent: value, className: bad ? "bad" : "" });
  if (of) {
    dd.append(element("meter", { min: 0, max: of, value: from, ariaLabel: name }));
  }
  return element("div", {}, element("dt", { textContent: name }), dd);
}

function tiles({ gauges, limits, recent, hour }) {
  const states = ["open", "probing"].filter((state) => gauges[`breaker_${state}`] > 0);
  const latency = (of) => ["p50", "p95", "p99"].map((part) => told("seconds", of[part])).join(" / ");
  const made = [
    tile("Answered from the cache", told("share", hour.hitRatio)),
    tile("Latency p50 / p95 / p99", latency(recent.requestSeconds)),
    tile("Farm p50 / p95 / p99", latency(recent.attemptSeconds)),
    tile("Breaker", states.join(", ") || "closed", { bad: states.length > 0 }),
    tile("Questions under way", told("plain", gauges.flights)),
    tile("Calls, waiting", `${told("plain", gauges.upstream_calls)}, ${told("plain", gauges.upstream_queued)}`, {
      bad: gauges.upstream_queued > 0,
    }),
    tile("Streams", told("plain", gauges.streams)),
    tile("Kept answers", told("plain", gauges.cache_entries), {
      of: limits.entries * gauges.workers,
      from: gauges.cache_entries,
    }),
    tile("Kept bytes", told("bytes", gauges.cache_bytes), {
      of: limits.bytes * gauges.workers,
      from: gauges.cache_bytes,
    }),
    tile("Workers", told("plain", gauges.workers)),
  ];
  if (limits.shared) {
    const up = gauges.shared_cache_up >= gauges.workers;
    made.push(tile("Shared cache", up ? "up" : `up for ${gauges.shared_cache_up} of ${gauges.workers}`, { bad: !up }));
  }
  return made;
}

function rows(counts) {
  const sorted = Object.entries(counts).sort((one, other) => other[1] - one[1]);
  const made = sorted.map(([name, times]) => row(name, told("plain", Math.round(times))));
  return made.length ? made : [row("none", "")];
}

function row(...cells) {
  return element("tr", {}, ...cells.map((text) => element("td", { textContent: text })));
}

function draw(data) {
  find("charts").replaceChildren(...CHARTS.map((kind) => chart(data, kind)));
  find("tiles").replaceChildren(...tiles(data));
  for (const name of ["requests", "answers", "attempts"]) {
    find(name).replaceChildren(...rows(data.hour[name]));
  }
  find("failures").replaceChildren(
    ...data.failures.map(({ at, kind, cause, times }) => row(moment(at), kind, cause || "–", told("plain", times))),
  );
  find("failed").hidden = !data.failures.length;
  find("none").hidden = data.failures.length > 0;
  find("numbers").hidden = false;
}

function say(text) {
  if (find("state").textContent !== text) find("state").textContent = text;
}

async function ask() {
  clearTimeout(timer);
  if (!paused && !document.hidden) {
    await show();
  }
  timer = setTimeout(ask, EVERY);
}

async function show() {
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch("status.json", { cache: "no-store", headers });
    const data = await answer.json().catch(() => null); // read in any case: else it is never over
    find("ask").hidden = answer.status !== 401 && !(answer.status === 404 && key);
    if (answer.status === 401) {
      say(key ? "No such key." : "The numbers are for operators.");
    } else if (answer.status === 404) {
      say(key ? "This key's owner may not see the numbers." : "The numbers are not shown to this address.");
    } else if (!answer.ok || !data) {
      say(`No numbers (status ${answer.status}); asking again.`);
    } else {
      draw(data);
      say(`Version ${data.version}, as of ${moment(data.now)}.`);
    }
  } catch {
    say("The gateway cannot be reached; asking again.");
  }
}

find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  key = find("key").value.trim();
  ask();
});
find("pause").addEventListener("click", () => {
  paused = !paused;
  find("pause").textContent = paused ? "Resume" : "Pause";
  find("pause").setAttribute("aria-pressed", String(paused));
  if (!paused) ask();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) ask();
});
ask();
