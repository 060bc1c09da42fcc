/** Tells problem documents (RFC 9457) from everything else. Must not know who asked for what. */

import type { Code, Problem } from "./schema.js";

/**
 * Whether `value` is a problem document of the gateway; with `codes`, whether it is one of these.
 *
 * Looks at the members that a program branches on. A proxy's error page, a network error or
 * `undefined` is none. A gateway newer than this package may send a code that the types do not
 * know: keep a `default` branch.
 */
export function isProblem<C extends Code = Code>(
  value: unknown,
  ...codes: C[]
): value is Problem & { code: C } {
  if (typeof value !== "object" || value === null) return false;
  const { code, status, retryable } = value as Partial<Problem>;
  return (
    typeof code === "string" &&
    typeof status === "number" &&
    typeof retryable === "boolean" &&
    (codes.length === 0 || (codes as Code[]).includes(code))
  );
}
