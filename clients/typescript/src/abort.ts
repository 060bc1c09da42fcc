/** Signals that end what is under way, without a trace on those that live longer. */

/**
 * What `act` gives, with a signal of its own that is aborted when `signal` is. Whatever listens to
 * it, a request of `fetch` for one, is gone with it: on a signal that lives as long as a page,
 * listeners would pile up, and Node.js warns of them.
 */
export async function withOwnSignal<T>(
  signal: AbortSignal | undefined,
  act: (own: AbortSignal) => Promise<T>,
): Promise<T> {
  const own = new AbortController();
  const abort = () => own.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted) abort();
  try {
    return await act(own.signal);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Resolves after so many milliseconds, or once `signal` is aborted. */
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

/** What `step` gives within so many seconds; rejects after them, or once `signal` is aborted. */
export function within<T>(
  seconds: number,
  step: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const end = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
      act();
    };
    const leave = () => end(() => reject(signal?.reason));
    const late = () => end(() => reject(new Error(`Nothing for ${seconds} s`)));
    const timer = setTimeout(late, seconds * 1000);
    signal?.addEventListener("abort", leave);
    if (signal?.aborted) leave();
    step.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    );
  });
}
