/** Watches a session without asking more often than the gateway wants. Must not know addresses. */

import type { Answer, AskOptions } from "./client.js";
import { PollError } from "./failure.js";
import { ageOf, Pace } from "./pace.js";
import type { Phase, Session } from "./schema.js";

/** Timers take no more milliseconds: a longer wait would end at once. */
const LONGEST = 2 ** 31 - 1;
/**
 * Not the browser's own copy, but what the gateway keeps. To an If-None-Match alone, fetch adds
 * `no-cache` (Fetch standard, HTTP-network-or-cache fetch): each request would cost a call.
 */
const KEPT = { "Cache-Control": "max-age=0" };
const ENDED: readonly Phase[] = ["completed", "cancelled", "rejected"];

export interface PollOptions {
  /** Ends the loop, also while it waits, without an error. */
  signal?: AbortSignal | undefined;
  /** Failures in a row before giving up. 10 unless told: about four minutes. */
  maxFailures?: number | undefined;
  /** Told of each failure that is waited out. */
  onFailure?: ((failure: PollError) => void) | undefined;
  /** How to wait, for tests: resolves after so many milliseconds, or once `signal` is aborted. */
  wait?: ((milliseconds: number, signal?: AbortSignal) => Promise<void>) | undefined;
}

/** Makes one request. */
export type Ask = (options: AskOptions) => Promise<Answer<Session>>;

/** What one request brought: a session that is new, or a failure that will pass, or no news. */
export interface Turn {
  session: Session | null;
  failure: PollError | null;
  /** Milliseconds as `Date.now()` has them: how new the session is, whether it has changed or not. */
  asOf: number | null;
}

/** See `Gateway.pollSession`. */
export async function* poll(
  ask: Ask,
  options: PollOptions = {},
): AsyncGenerator<Session, void, void> {
  for await (const { session, failure } of turns(ask, options)) {
    if (failure) options.onFailure?.(failure);
    if (session) yield session;
  }
}

/** Each request's outcome, until the session has ended. Throws a failure that will not pass. */
export async function* turns(
  ask: Ask,
  { signal, maxFailures = 10, wait = sleep }: PollOptions,
): AsyncGenerator<Turn, void, void> {
  const pace = new Pace();
  let etag: string | null = null;
  let failures = 0;
  for (;;) {
    const answer = await outcome(ask, etag, signal);
    if (signal?.aborted) return;
    const failure = answer instanceof PollError ? answer : null;
    const headers = answer.response?.headers ?? new Headers();
    if (answer instanceof PollError) {
      failures += 1;
      if (!answer.retryable || failures >= maxFailures) throw answer;
      yield { session: null, failure: answer, asOf: null };
    } else {
      failures = 0;
      const tag = headers.get("etag");
      const session = tag === null || tag !== etag ? (answer.data ?? null) : null;
      etag = tag ?? etag;
      yield { session, failure: null, asOf: Date.now() - ageOf(headers) * 1000 };
      if (session && hasEnded(session)) return;
    }
    await wait(Math.min(LONGEST, pace.next(headers, failure !== null) * 1000), signal);
  }
}

/** Whether nothing will change any more. */
export function hasEnded(session: Session): boolean {
  return ENDED.includes(session.progress.phase);
}

/** One request made and judged: 200, or 304 which has no `data`; anything else is a PollError. */
async function outcome(
  ask: Ask,
  etag: string | null,
  signal: AbortSignal | undefined,
): Promise<{ data?: Session; response: Response } | PollError> {
  try {
    const headers = etag === null ? KEPT : { ...KEPT, "If-None-Match": etag };
    const { data, error, response } = await ask({ headers, signal });
    if (data) return { data, response };
    return response.status === 304 ? { response } : new PollError(response, error);
  } catch (cause) {
    return new PollError(undefined, cause);
  }
}

export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
    if (signal?.aborted) done();
  });
}
