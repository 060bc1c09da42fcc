/** No session came: why, and whether it will pass. Must not know who asks again. */

import { isProblem } from "./problem.js";
import type { Problem } from "./schema.js";

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
