/** What a request takes and gives. Types alone; imports nothing of ours but the document's. */

import type { Problem, Session, SessionItem } from "./schema.js";

/** `data`, or `error`: never both. `response` has the status and the header fields. */
export type Answer<T> =
  | { data: T; error?: never; response: Response }
  | { data?: never; error: Problem; response: Response };

/** What may go along with one request. */
export interface AskOptions {
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
}

/** Which members of a session to send; all others are left out. */
export interface AskSome<K extends keyof Session> extends AskOptions {
  fields: readonly K[];
}

/** A list of sessions of which only some members were asked for. */
export interface PartList<K extends keyof Session> {
  items: (Omit<SessionItem, "session"> & { session: Pick<Session, K> | null })[];
}

/** Makes one request. */
export type Ask<T> = (options: AskOptions) => Promise<Answer<T>>;

/** Makes one request for a stream; `data` is its body. */
export type Open = (options: AskOptions) => Promise<{
  data?: ReadableStream<Uint8Array> | null | undefined;
  error?: unknown;
  response: Response;
}>;
