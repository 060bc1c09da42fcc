/** Watches a session live where that is possible, else by polls. Must not know addresses. */

import { PollError } from "./failure.js";
import type { ServerEvent } from "./events.js";
import { backOff, retryAfter } from "./pace.js";
import { hasEnded, sleep, turns, type Ask, type PollOptions } from "./poll.js";
import type { Session } from "./schema.js";
import { connect, END, OPEN, type Open, type Silence } from "./stream.js";

/** Connections in a row that bring nothing before polls take over. */
const IN_VAIN = 2;
/** Seconds: a stream's own wish is usually told; how long to poll before another try. */
const RETRY = 3;
const POLL_FOR = { first: 60, most: 600 };
/** The gateway sends a comment every 15 seconds at least. */
const SILENCE: Silence = { first: 10, later: 40 };

/** How news comes: as it happens, when the kept answer grows old, or not at the moment. */
export type Connection = "live" | "polling" | "reconnecting";

/** All that is known at a moment. */
export interface Watched {
  /** The newest that came; null if none came yet. */
  session: Session | null;
  /** Why there is no newer one; null while all is well. */
  failure: PollError | null;
  connection: Connection;
  /** When `session` was last known to be right, as `Date.now()` has it; null without a session. */
  asOf: number | null;
}

export interface WatchOptions extends Pick<PollOptions, "signal" | "wait"> {
  /** Failures in a row before giving up. No number is enough unless told. */
  maxFailures?: number | undefined;
  /** Seconds without a byte after which a stream counts as dead: 10 at its start, 40 later. */
  silence?: Silence | undefined;
}

type Wait = NonNullable<PollOptions["wait"]>;

/** See `Gateway.watchSession`. `ask` makes one request for the session, `open` for its stream. */
export async function* watch(
  ask: Ask<Session>,
  open: Open,
  options: WatchOptions = {},
): AsyncGenerator<Watched, void, void> {
  const { signal, wait = sleep } = options;
  const watcher = new Watcher(options);
  let pollFor = POLL_FOR.first;
  for (let inVain = 0; ; ) {
    if (inVain < IN_VAIN) {
      const { heard, pause } = yield* watcher.stream(open);
      if (watcher.isOver) return;
      inVain = heard ? 0 : inVain + 1;
      if (pause === null) inVain = IN_VAIN; // no stream to be had: whether a session is, polls tell
      else await wait(Math.max(pause, backOff(inVain)) * 1000, signal);
      if (heard) pollFor = POLL_FOR.first;
    } else {
      yield* watcher.poll(ask, pollFor, wait);
      inVain = IN_VAIN - 1;
      pollFor = Math.min(POLL_FOR.most, pollFor * 2);
    }
    if (watcher.isOver) return;
  }
}

/** What has been seen, across connections and polls. */
class Watcher {
  #seen: Watched = { session: null, failure: null, connection: "reconnecting", asOf: null };
  #lastId = "";
  #retry = RETRY;
  #failures = 0;
  #ended = false;

  constructor(readonly options: WatchOptions) {}

  get isOver(): boolean {
    return this.#ended || this.options.signal?.aborted === true;
  }

  /**
   * One connection, from its start to its end. Gives whether anything came, and how many seconds to
   * wait before the next one: null if none is worth a try now.
   */
  async *stream(open: Open): AsyncGenerator<Watched, { heard: boolean; pause: number | null }> {
    const { signal, silence = SILENCE } = this.options;
    let heard = false;
    let failure: PollError | null = null;
    try {
      for await (const event of connect(open, this.#lastId, silence, signal)) {
        heard = true;
        if (this.#take(event)) yield this.#seen;
        if (this.isOver) return { heard, pause: null };
      }
    } catch (error) {
      if (!(error instanceof PollError) || error === this.#seen.failure) throw error;
      failure = error;
    }
    if (this.isOver || failure?.retryable === false) return { heard, pause: null };
    if (failure) this.#fail(failure);
    this.#tell({ connection: "reconnecting" });
    yield this.#seen;
    const asked = retryAfter(failure?.response?.headers ?? new Headers());
    // Spread: whoever was cut off with all others does not come back with them.
    return { heard, pause: Math.max(asked, this.#retry * (1 - Math.random() / 2)) };
  }

  /** Polls until the waits make so many seconds, or the session has ended. */
  async *poll(ask: Ask<Session>, seconds: number, wait: Wait): AsyncGenerator<Watched, void> {
    let waited = 0;
    const counting: Wait = (milliseconds, signal) => {
      waited += milliseconds / 1000;
      return wait(milliseconds, signal);
    };
    const options = { signal: this.options.signal, maxFailures: Infinity, wait: counting };
    for await (const { data, failure, asOf } of turns(ask, hasEnded, options)) {
      if (failure) {
        this.#fail(failure);
        this.#tell({ connection: "reconnecting" });
      } else {
        this.#learn(data ?? this.#seen.session, asOf, "polling");
      }
      yield this.#seen;
      if (this.isOver || waited >= seconds) return;
    }
  }

  /** Takes an event in; gives whether there is anything new to tell. */
  #take({ type, data, id, retry }: ServerEvent): boolean {
    this.#retry = retry === undefined ? this.#retry : retry / 1000;
    if (type === END) this.#ended = true;
    if (type === OPEN) {
      this.#failures = 0;
      this.#tell({ failure: null, connection: "live" });
      return this.#seen.session !== null;
    }
    if (type === "session") {
      this.#lastId = id;
      this.#learn(parse(data) as Session, Date.now(), "live");
    }
    if (type === "problem") this.#fail(new PollError(undefined, parse(data)));
    return type === "session" || type === "problem";
  }

  #learn(session: Session | null, asOf: number | null, connection: Connection): void {
    this.#failures = 0;
    this.#tell({ session, asOf, connection, failure: null });
    this.#ended = session !== null && hasEnded(session);
  }

  /** A failure that will pass; throws it if it will not, or if there were too many. */
  #fail(failure: PollError): void {
    this.#failures += 1;
    this.#tell({ failure });
    const { maxFailures = Infinity } = this.options;
    if (!failure.retryable || this.#failures >= maxFailures) throw failure;
  }

  #tell(news: Partial<Watched>): void {
    this.#seen = { ...this.#seen, ...news };
  }
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (cause) {
    throw new PollError(undefined, cause);
  }
}
