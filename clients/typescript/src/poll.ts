/** Watches a session without asking more often than the gateway wants. Must not know addresses. */

import type { Answer, AskOptions } from "./client.js";
import { Pace } from "./pace.js";
import { isProblem } from "./problem.js";
import type { Phase, Problem, Session } from "./schema.js";

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

/** No session came: a `problem`, another error `response`, or a `cause` instead of an answer. */
export class PollError extends Error {
  override readonly name = "PollError";
  readonly problem: Problem | undefined;

  constructor(
    readonly response: Response | undefined,
    error: unknown,
  ) {
    const problem = isProblem(error) ? error : undefined;
    const other = response ? `HTTP ${response.status} without a problem document` : "No answer";
    super(problem ? `${problem.title}: ${problem.detail}` : other, { cause: error });
    this.problem = problem;
  }

  /** Whether the same request may succeed later. */
  get retryable(): boolean {
    const status = this.response?.status ?? 500;
    return this.problem?.retryable ?? (status >= 500 || status === 429);
  }
}

type Ask = (options: AskOptions) => Promise<Answer<Session>>;

/** See `Gateway.pollSession`. `ask` makes one request. */
export async function* poll(
  ask: Ask,
  { signal, maxFailures = 10, onFailure, wait = sleep }: PollOptions = {},
): AsyncGenerator<Session, void, void> {
  const pace = new Pace();
  let etag: string | null = null;
  let failures = 0;
  for (;;) {
    const answer = await outcome(ask, etag, signal);
    if (signal?.aborted) return;
    const failed = answer instanceof PollError;
    const headers = answer.response?.headers ?? new Headers();
    if (failed) {
      failures += 1;
      if (!answer.retryable || failures >= maxFailures) throw answer;
      onFailure?.(answer);
    } else {
      failures = 0;
      const tag = headers.get("etag");
      if (answer.data && (tag === null || tag !== etag)) {
        yield answer.data;
        if (ENDED.includes(answer.data.progress.phase)) return;
      }
      etag = tag ?? etag;
    }
    await wait(Math.min(LONGEST, pace.next(headers, failed) * 1000), signal);
  }
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

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
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
