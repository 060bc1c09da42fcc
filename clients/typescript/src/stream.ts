/** One connection to a stream of events, given up when it is silent. Must not know sessions. */

import type { AskOptions } from "./client.js";
import { EventParser, type ServerEvent } from "./events.js";
import { PollError } from "./failure.js";

/** Seconds without a byte after which a connection counts as dead: at its start, and later. */
export interface Silence {
  first: number;
  later: number;
}

/** Makes one request for the stream; `data` is its body. */
export type Open = (options: AskOptions) => Promise<{
  data?: ReadableStream<Uint8Array> | null | undefined;
  error?: unknown;
  response: Response;
}>;

/** The connection is there: told before its first event. Never sent by the gateway. */
export const OPEN = "open";
/** There is nothing more to come: 204, or the gateway's own event. */
export const END = "end";

/**
 * The events of one connection, until it ends. Throws PollError if it fails or falls silent.
 *
 * `lastId` is the id of the last event of an earlier connection, or empty.
 */
export async function* connect(
  open: Open,
  lastId: string,
  silence: Silence,
  signal: AbortSignal | undefined,
): AsyncGenerator<ServerEvent, void, void> {
  const connection = new AbortController();
  const hangUp = () => connection.abort();
  signal?.addEventListener("abort", hangUp);
  if (signal?.aborted) hangUp();
  // Only while we wait: a reader who takes his time is no silence.
  const within = async <T>(seconds: number, step: Promise<T>): Promise<T> => {
    const timer = setTimeout(hangUp, seconds * 1000);
    return step.finally(() => clearTimeout(timer));
  };
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const told = (type: string): ServerEvent => ({ type, data: "", id: lastId, retry: undefined });
  try {
    const asked = open({ headers, signal: connection.signal });
    const { data, error, response } = await within(silence.first, asked);
    if (response.status === 204) return yield told(END);
    const isStream = /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
    if (!data || !isStream) throw new PollError(response, error);
    const [reader, parser] = [data.getReader(), new EventParser()];
    for (let seconds = silence.first; ; seconds = silence.later) {
      const { done, value } = await within(seconds, reader.read());
      if (done) return;
      if (seconds === silence.first) yield told(OPEN);
      yield* parser.push(value);
    }
  } catch (cause) {
    throw cause instanceof PollError ? cause : new PollError(undefined, cause);
  } finally {
    signal?.removeEventListener("abort", hangUp);
    hangUp();
  }
}
