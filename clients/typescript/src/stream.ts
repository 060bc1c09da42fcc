/** One connection to a stream of events, given up when it is silent. Must not know sessions. */

import { within } from "./abort.js";
import type { Open } from "./answer.js";
import { EventParser, type ServerEvent } from "./events.js";
import { PollError } from "./failure.js";

/** Seconds without a byte after which a connection counts as dead: at its start, and later. */
export interface Silence {
  first: number;
  later: number;
}

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
  const headers: Record<string, string> = { Accept: "text/event-stream" };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const told = (type: string): ServerEvent => ({ type, data: "", id: lastId, retry: undefined });
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  const asked = open({ headers, signal: connection.signal });
  try {
    const { data, error, response } = await within(silence.first, asked, signal);
    if (response.status === 204) return yield told(END);
    const isStream = /^text\/event-stream\b/i.test(response.headers.get("content-type") ?? "");
    if (!data || !isStream) throw new PollError(response, error);
    reader = data.getReader();
    const parser = new EventParser();
    for (let seconds = silence.first; ; seconds = silence.later) {
      const { done, value } = await within(seconds, reader.read(), signal);
      if (done) return;
      if (seconds === silence.first) yield told(OPEN);
      yield* parser.push(value);
    }
  } catch (cause) {
    throw cause instanceof PollError ? cause : new PollError(undefined, cause);
  } finally {
    connection.abort();
    // Node.js forgets to pass an abort on once it has collected the request: this is heard. An
    // answer that comes too late, or is no stream, has a body to be left as well.
    const leave = ({ data }: Awaited<ReturnType<Open>>) => (reader ?? data)?.cancel();
    asked.then(leave).catch(() => {});
  }
}
