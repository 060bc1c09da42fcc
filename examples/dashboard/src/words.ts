/** Everything in words. Pure; must not know the page. */

import type { Phase, PollError, Session } from "renderfarm-gateway-client";

export type Tone = "wait" | "work" | "done" | "stop" | "none";

export const PHASES: Record<Phase, [word: string, tone: Tone]> = {
  submitted: ["Submitted", "wait"],
  testing: ["Testing", "wait"],
  awaiting_approval: ["Awaiting approval", "wait"],
  queued: ["Queued", "wait"],
  preprocessing: ["Preparing", "work"],
  rendering: ["Rendering", "work"],
  postprocessing: ["Finishing", "work"],
  encoding: ["Encoding", "work"],
  completed: ["Completed", "done"],
  cancelled: ["Cancelled", "stop"],
  rejected: ["Rejected", "stop"],
  unknown: ["Unknown", "none"],
};

/** A phase in words; a newer gateway may know more than this page. */
export function phaseOf({ progress }: Session): [word: string, tone: Tone] {
  return PHASES[progress.phase] ?? ["Unknown", "none"];
}

export function titleOf(id: number, session: Session | null): string {
  return session?.title || `Session ${id}`;
}

/** What is known of size and speed, such as "1920 × 1080 · 25 fps". */
export function formOf({ id, xResolution, yResolution, frameRate }: Session): string {
  const size = xResolution && yResolution ? `${xResolution} × ${yResolution}` : "";
  const rate = frameRate ? `${frameRate} fps` : "";
  return [`No. ${id}`, size, rate].filter(Boolean).join(" · ");
}

/** How far it is, such as "155 of 250 frames". */
export function doneOf({ progress }: Session): string {
  const { framesRendered, framesTotal, partsRendered, partsTotal } = progress;
  if (framesRendered !== null && framesTotal !== null) {
    return `${framesRendered} of ${framesTotal} frames`;
  }
  if (partsRendered !== null && partsTotal !== null) return `${partsRendered} of ${partsTotal} parts`;
  return "Progress unknown";
}

/** How long ago, such as "4 s ago". Both are milliseconds. */
export function ago(then: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - then) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

export interface Trouble {
  title: string;
  text: string;
}

/** What stands in the way, for people. */
export function troubleOf(failure: PollError): Trouble {
  const { problem } = failure;
  if (problem) return { title: problem.title, text: `${problem.detail} ${problem.remedy}` };
  return {
    title: "The gateway does not answer",
    text: "It may be restarting, or the network is down. This page goes on trying.",
  };
}

/** Whether it concerns more than one session. */
export function isShared({ problem }: PollError): boolean {
  return !problem || /^(upstream_(?!mismatch|rejected_parameters)|overloaded|rate_limited)/.test(problem.code);
}
