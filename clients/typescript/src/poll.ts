/** Asks again and again, no more often than the gateway wants. Must not know addresses. */

import { sleep } from "./abort.js";
import type { Ask } from "./answer.js";
import { PollError } from "./failure.js";
import { ageOf, Pace } from "./pace.js";
import type { Phase, Session, SessionItem } from "./schema.js";

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
  /** Told of each answer, news or not: when it was right, as `Date.now()` has it. */
  onAnswer?: ((asOf: number) => void) | undefined;
  /** How to wait, for tests: resolves after so many milliseconds, or once `signal` is aborted. */
  wait?: ((milliseconds: number, signal?: AbortSignal) => Promise<void>) | undefined;
}

/** What one request brought: data that are new, or a failure that will pass, or no news. */
export type Turn<T> =
  | { data: T | null; failure: null; asOf: number }
  | { data: null; failure: PollError; asOf: null };

/** See `Gateway.pollSession`. `isLast` tells after which data nothing new will come. */
export async function* poll<T>(
  ask: Ask<T>,
  isLast: (data: T) => boolean,
  options: PollOptions = {},
): AsyncGenerator<T, void, void> {
  for await (const { data, failure, asOf } of turns(ask, isLast, options)) {
    if (failure) options.onFailure?.(failure);
    else options.onAnswer?.(asOf);
    if (data) yield data;
  }
}

/** Each request's outcome. Throws a failure that will not pass. */
export async function* turns<T>(
  ask: Ask<T>,
  isLast: (data: T) => boolean,
  { signal, maxFailures = 10, wait = sleep }: PollOptions,
): AsyncGenerator<Turn<T>, void, void> {
  const pace = new Pace();
  let etag: string | null = null;
  let failures = 0;
  for (;;) {
    const answer: Outcome<T> = await outcome(ask, etag, signal);
    if (signal?.aborted) return;
    const failed = answer instanceof PollError;
    const headers: Headers = answer.response?.headers ?? new Headers();
    if (failed) {
      failures += 1;
      if (!answer.retryable || failures >= maxFailures) throw answer;
      yield { data: null, failure: answer, asOf: null };
    } else {
      failures = 0;
      const tag: string | null = headers.get("etag");
      const data = tag === null || tag !== etag ? (answer.data ?? null) : null;
      etag = tag ?? etag;
      yield { data, failure: null, asOf: Date.now() - ageOf(headers) * 1000 };
      if (data && isLast(data)) return;
    }
    await wait(Math.min(LONGEST, pace.next(headers, failed) * 1000), signal);
  }
}

/** Whether nothing will change any more. */
export function hasEnded(session: Session): boolean {
  return ENDED.includes(session.progress.phase);
}

/** The same of one in a list: a problem that will not pass is an end too. */
export function hasSettled({ session, problem }: SessionItem): boolean {
  return session ? hasEnded(session) : problem?.retryable === false;
}

type Outcome<T> = { data?: T; response: Response } | PollError;

/** One request made and judged: 200, or 304 which has no `data`; anything else is a PollError. */
async function outcome<T>(
  ask: Ask<T>,
  etag: string | null,
  signal: AbortSignal | undefined,
): Promise<Outcome<T>> {
  try {
    const headers = etag === null ? KEPT : { ...KEPT, "If-None-Match": etag };
    const { data, error, response } = await ask({ headers, signal });
    if (data) return { data, response };
    return response.status === 304 ? { response } : new PollError(response, error);
  } catch (cause) {
    return new PollError(undefined, cause);
  }
}
