/** Which sessions have a stream of their own, and which share one list. Pure. */

/**
 * A browser has six connections to one host over HTTP/1.1. Four streams leave one for the list and
 * one for all else.
 */
export const STREAMS = 4;

export interface Seat {
  id: number;
  inView: boolean;
  /** Nothing new will come of it. */
  settled: boolean;
}

export interface Plan {
  streamed: number[];
  listed: number[];
}

/** Streams for the first that are in view, in the page's order; one list for all others. */
export function plan(seats: readonly Seat[], streams: number = STREAMS): Plan {
  const open = seats.filter(({ settled }) => !settled);
  const streamed = open.filter(({ inView }) => inView).slice(0, streams).map(({ id }) => id);
  const listed = open.map(({ id }) => id).filter((id) => !streamed.includes(id));
  return { streamed, listed };
}
