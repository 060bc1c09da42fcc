/** How long to wait before asking again. Seconds; pure. Must not know sessions, fetch or timers. */

/** Between requests: at least, and where an answer does not tell. */
const LEAST = 1;
const UNTOLD = 5;
/** Between tries in vain, unless Retry-After asks for more. */
const MOST = 60;

/** The rhythm of one series of requests. */
export class Pace {
  #inVain = 0;

  /** The wait after an answer, from its header fields; `failed`: it was none to go on with. */
  next(headers: Headers, failed: boolean): number {
    const fresh = failed ? 0 : (freshFor(headers) ?? UNTOLD);
    // A kept answer that stands in for a failing farm is no news either: ask more and more seldom.
    const news = fresh > 0 || (!failed && isOnItsWay(headers));
    this.#inVain = news ? 0 : this.#inVain + 1;
    return Math.max(LEAST, fresh, retryAfter(headers), backOff(this.#inVain));
  }
}

/** What `max-age` leaves once `Age` is off (RFC 9111 section 4.2); undefined if it is not told. */
export function freshFor(headers: Headers): number | undefined {
  const maxAge = /(?:^|,)\s*max-age\s*=\s*"?(\d+)/i.exec(headers.get("cache-control") ?? "");
  return maxAge ? Number(maxAge[1]) - ageOf(headers) : undefined;
}

/**
 * Whether the gateway sent at once what it keeps, and no failure is why (RFC 9211). Once that is no
 * longer fresh it asks the farm meanwhile, so that the next answer is a newer one.
 */
function isOnItsWay(headers: Headers): boolean {
  const status = headers.get("cache-status") ?? "";
  return /;\s*hit\b/.test(status) && !/;\s*detail=sie\b/.test(status);
}

/**
 * Seconds since an answer was right: its `Age` (RFC 9111 section 5.1). A list has none; it was
 * right until it became stale, as the `ttl` of its `Cache-Status` tells (RFC 9211). Else 0.
 */
export function ageOf(headers: Headers): number {
  const stale = /;\s*ttl=-(\d+)/.exec(headers.get("cache-status") ?? "");
  return wholeSeconds(headers.get("age") ?? stale?.[1] ?? null);
}

/** What `Retry-After` asks for, as a number or a date (RFC 9110 section 10.2.3); 0 if nothing. */
export function retryAfter(headers: Headers, now: number = Date.now()): number {
  const text = headers.get("retry-after");
  return wholeSeconds(text) || Math.max(0, (Date.parse(text ?? "") - now) / 1000) || 0;
}

/** The wait after so many tries in vain: doubled each time, at most a minute, spread by half. */
export function backOff(tries: number, random: number = Math.random()): number {
  return Math.min(MOST, 2 ** (tries - 1)) * (1 - random / 2);
}

function wholeSeconds(text: string | null): number {
  return /^\d+$/.test(text ?? "") ? Number(text) : 0;
}
