/** Watches live where that is possible, else by polls. Must not know what, nor addresses. */

import { sleep } from "./abort.js";
import type { Ask, Open } from "./answer.js";
import { PollError } from "./failure.js";
import type { ServerEvent } from "./events.js";
import { backOff, retryAfter } from "./pace.js";
import { turns, type PollOptions } from "./poll.js";
import { connect, END, OPEN, type Silence } from "./stream.js";

/** Connections in a row that bring nothing before polls take over. */
const IN_VAIN = 2;
/** Seconds: a stream's own wish is usually told; how long to poll before another try. */
const RETRY = 3;
const POLL_FOR = { first: 60, most: 600 };
/** The gateway sends a comment every 15 seconds at least. */
const SILENCE: Silence = { first: 10, later: 40 };

/** How news comes: as it happens, when the kept answer grows old, or not at the moment. */
export type Connection = "live" | "polling" | "reconnecting";

export interface WatchOptions extends Pick<PollOptions, "signal" | "wait"> {
  /** Failures in a row before giving up. No number is enough unless told. */
  maxFailures?: number | undefined;
  /** Seconds without a byte after which a stream counts as dead: 10 at its start, 40 later. */
  silence?: Silence | undefined;
}

type Wait = NonNullable<PollOptions["wait"]>;

/**
 * What has been seen, across connections and polls: `T` is what a poll brings, `S` all that is told.
 *
 * A subclass knows what an event and a poll's answer mean.
 */
export abstract class Watcher<T, S> {
  protected connection: Connection = "reconnecting";
  /** Why nothing newer comes; null while all is well. */
  protected failure: PollError | null = null;
  protected lastId = "";
  protected hasEnded = false;
  #retry = RETRY;
  #failures = 0;

  constructor(protected readonly options: WatchOptions) {}

  /** All that is known at this moment. */
  protected abstract get seen(): S;
  /** Whether anything is known. */
  protected abstract get isTold(): boolean;
  protected abstract readonly open: Open;
  protected abstract readonly ask: Ask<T>;
  /** Takes in an event with a name of its own; gives whether there is anything new to tell. */
  protected abstract hear(event: ServerEvent): boolean;
  /** Takes in a poll's answer: null if nothing has changed. */
  protected abstract learn(data: T | null, asOf: number): void;
  protected abstract isLast(data: T): boolean;

  /** What ends a connection, a poll or a wait: the caller's, unless a subclass has another. */
  protected get signal(): AbortSignal | undefined {
    return this.options.signal;
  }

  protected get isOver(): boolean {
    return this.hasEnded || this.options.signal?.aborted === true;
  }

  /** All that is known, whenever any of it changes, until there is nothing more to come. */
  protected async *run(): AsyncGenerator<S, void, void> {
    const { wait = sleep } = this.options;
    let pollFor = POLL_FOR.first;
    for (let inVain = 0; ; ) {
      const { signal } = this;
      if (inVain < IN_VAIN) {
        const { heard, pause } = yield* this.#stream();
        if (this.isOver) return;
        if (heard) pollFor = POLL_FOR.first;
        if (signal !== this.signal) continue; // something else is to be watched
        inVain = heard ? 0 : inVain + 1;
        if (pause === null) inVain = IN_VAIN; // no stream to be had: polls tell what is
        else await wait(Math.max(pause, backOff(inVain)) * 1000, signal);
      } else {
        yield* this.#poll(pollFor, wait);
        if (this.isOver) return;
        if (signal !== this.signal) continue;
        inVain = IN_VAIN - 1;
        pollFor = Math.min(POLL_FOR.most, pollFor * 2);
      }
      if (this.isOver) return;
    }
  }

  /**
   * One connection, from its start to its end. Gives whether anything came, and how many seconds to
   * wait before the next one: null if none is worth a try now.
   */
  async *#stream(): AsyncGenerator<S, { heard: boolean; pause: number | null }> {
    const { silence = SILENCE } = this.options;
    const { signal } = this;
    let heard = false;
    let failure: PollError | null = null;
    try {
      for await (const event of connect(this.open, this.lastId, silence, signal)) {
        heard = true;
        if (this.#take(event)) yield this.seen;
        if (this.isOver || signal !== this.signal) return { heard, pause: null };
      }
    } catch (error) {
      if (!(error instanceof PollError) || error === this.failure) throw error;
      failure = error;
    }
    if (this.isOver || signal !== this.signal) return { heard, pause: null };
    if (failure?.retryable === false) return { heard, pause: null };
    if (failure) this.fail(failure);
    this.connection = "reconnecting";
    yield this.seen;
    const asked = retryAfter(failure?.response?.headers ?? new Headers());
    // Spread: whoever was cut off with all others does not come back with them.
    return { heard, pause: Math.max(asked, this.#retry * (1 - Math.random() / 2)) };
  }

  /** Polls until the waits make so many seconds, or there is nothing more to come. */
  async *#poll(seconds: number, wait: Wait): AsyncGenerator<S, void> {
    let waited = 0;
    const counting: Wait = (milliseconds, signal) => {
      waited += milliseconds / 1000;
      return wait(milliseconds, signal);
    };
    const { signal } = this;
    const options = { signal, maxFailures: Infinity, wait: counting };
    const isLast = (data: T) => this.isLast(data);
    for await (const { data, failure, asOf } of turns(this.ask, isLast, options)) {
      if (failure) {
        this.fail(failure);
        this.connection = "reconnecting";
      } else {
        this.succeed("polling");
        this.learn(data, asOf);
      }
      yield this.seen;
      if (this.isOver || signal !== this.signal || waited >= seconds) return;
    }
  }

  /** Takes an event in; gives whether there is anything new to tell. */
  #take(event: ServerEvent): boolean {
    const { type, id, retry } = event;
    this.#retry = retry === undefined ? this.#retry : retry / 1000;
    if (type === END) this.hasEnded = true;
    if (type === END) return false;
    if (type === OPEN) {
      this.succeed("live");
      return this.isTold;
    }
    this.lastId = id || this.lastId;
    return this.hear(event);
  }

  protected succeed(connection: Connection): void {
    this.#failures = 0;
    this.failure = null;
    this.connection = connection;
  }

  /** A failure that will pass; throws it if it will not, or if there were too many. */
  protected fail(failure: PollError): void {
    this.#failures += 1;
    this.failure = failure;
    const { maxFailures = Infinity } = this.options;
    if (!failure.retryable || this.#failures >= maxFailures) throw failure;
  }
}

/** An event's data. Throws PollError if they are no JSON. */
export function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (cause) {
    throw new PollError(undefined, cause);
  }
}
