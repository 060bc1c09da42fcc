/** Watches all sessions of a page over one stream. Must not know addresses. */

import type { Ask, AskOptions, Open } from "./answer.js";
import type { ServerEvent } from "./events.js";
import { PollError } from "./failure.js";
import { hasSettled } from "./poll.js";
import type { Session, SessionItem, SessionList } from "./schema.js";
import { parse, Watcher, type Connection, type WatchOptions } from "./watch.js";

/** All that is known of one session of a page. */
export interface WatchedItem {
  id: number;
  /** The newest that came; null if none came yet. */
  session: Session | null;
  /** Why there is no newer one, mostly with a `problem`; null while all is well. */
  failure: PollError | null;
  /** When it was last known to be right, as `Date.now()` has it; null if nothing came yet. */
  asOf: number | null;
  /** Whether nothing more will come of it: it has ended, or will never be had. */
  isFinal: boolean;
}

/** All that is known of a page at a moment. */
export interface WatchedSessions {
  /** One for each id, in their order. */
  items: WatchedItem[];
  /** Why nothing newer comes of any of them; null while all is well. */
  failure: PollError | null;
  connection: Connection;
}

/** A page's state, to be iterated over once; its ids may change meanwhile. */
export interface SessionsWatch extends AsyncIterable<WatchedSessions> {
  /** The sessions that are watched, in the page's order. */
  readonly ids: readonly number[];
  /**
   * Watch these from now on, 50 at most. Those that stay are neither lost nor told anew; with none,
   * it waits for others. Once the iteration has ended this does nothing.
   */
  set(ids: readonly number[]): void;
}

/** Makes requests for several sessions. */
export type Of<R> = (ids: readonly number[], options: AskOptions) => R;

/** See `Gateway.watchSessions`. `ask` makes one request for the list, `open` for the stream. */
export function watchSessions(
  ids: readonly number[],
  ask: Of<ReturnType<Ask<SessionList>>>,
  open: Of<ReturnType<Open>>,
  options: WatchOptions = {},
): SessionsWatch {
  return new SessionsWatcher(ids, ask, open, options);
}

class SessionsWatcher extends Watcher<SessionList, WatchedSessions> implements SessionsWatch {
  #ids: number[];
  /** Of those that are no longer watched, too, as long as the last event's id tells of them. */
  #items = new Map<number, WatchedItem>();
  /** Aborted, and exchanged, when other ids are to be watched. */
  #round = new AbortController();

  constructor(
    ids: readonly number[],
    readonly askFor: Of<ReturnType<Ask<SessionList>>>,
    readonly openFor: Of<ReturnType<Open>>,
    options: WatchOptions,
  ) {
    super(options);
    this.#ids = [...new Set(ids)];
  }

  get ids(): readonly number[] {
    return this.#ids;
  }

  set(ids: readonly number[]): void {
    this.#ids = [...new Set(ids)];
    this.hasEnded = false;
    const round = this.#round;
    this.#round = new AbortController();
    round.abort();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<WatchedSessions, void, void> {
    const { signal } = this.options;
    const leave = () => this.#round.abort();
    signal?.addEventListener("abort", leave); // one for all requests to come
    try {
      while (!this.isOver) {
        if (this.#ids.length === 0) yield* this.#idle();
        else yield* this.run();
      }
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  /** Nothing is watched: until that is otherwise. */
  async *#idle(): AsyncGenerator<WatchedSessions, void, void> {
    const { signal } = this;
    yield this.seen;
    if (signal.aborted) return;
    await new Promise((changed) => signal.addEventListener("abort", changed));
  }

  protected override get signal(): AbortSignal {
    return this.#round.signal;
  }

  protected override get isOver(): boolean {
    return super.isOver || (this.#ids.length > 0 && this.#open.length === 0);
  }

  /** The sessions of which something may still come. */
  get #open(): number[] {
    return this.#ids.filter((id) => !this.#items.get(id)?.isFinal);
  }

  protected readonly ask: Ask<SessionList> = (options) => this.askFor(this.#open, options);
  protected readonly open: Open = (options) => this.openFor(this.#open, options);

  protected get seen(): WatchedSessions {
    const { failure, connection } = this;
    const items = this.#ids.map((id) => this.#items.get(id) ?? nothingOf(id));
    return { items, failure, connection };
  }

  protected get isTold(): boolean {
    return this.#ids.some((id) => this.#items.has(id));
  }

  protected hear({ type, data }: ServerEvent): boolean {
    if (type === "problem") this.fail(new PollError(undefined, parse(data)));
    if (type !== "item") return type === "problem";
    const item = parse(data) as SessionItem;
    const known = this.#items.get(item.id);
    this.#learn(item, Date.now());
    for (const id of this.#items.keys()) if (!this.#ids.includes(id)) this.#items.delete(id);
    // What polls have brought meanwhile may come again.
    return !known || item.problem !== null || known.failure !== null || !same(known.session, item.session);
  }

  protected learn(list: SessionList | null, asOf: number): void {
    for (const item of list?.items ?? []) this.#learn(item, asOf);
    if (list) return;
    for (const [id, item] of this.#items) {
      if (!item.isFinal && !item.failure) this.#items.set(id, { ...item, asOf });
    }
  }

  #learn(item: SessionItem, asOf: number): void {
    const { id, session, problem } = item;
    const known = this.#items.get(id) ?? nothingOf(id);
    const failure = problem && new PollError(undefined, problem);
    const newest = session ? { session, asOf } : {};
    this.#items.set(id, { ...known, ...newest, failure, isFinal: hasSettled(item) });
  }

  protected isLast(): boolean {
    return this.isOver;
  }
}

function same(one: Session | null, other: Session | null): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function nothingOf(id: number): WatchedItem {
  return { id, session: null, failure: null, asOf: null, isFinal: false };
}
