/** Watches all sessions of the page. Must not know how they look. */

import {
  PollError,
  type Gateway,
  type Session,
  type SessionsWatch,
  type WatchedItem,
  type WatchedSessions,
} from "renderfarm-gateway-client";

/** How news of a session come; `final`: there will be none; `lost`: it cannot be had. */
export type Connection = "loading" | "live" | "polling" | "reconnecting" | "final" | "lost";

export interface Shown {
  session: Session | null;
  failure: PollError | null;
  connection: Connection;
  asOf: number | null;
}

const NOTHING: Shown = { session: null, failure: null, connection: "loading", asOf: null };
/** Milliseconds: several that come or go at once are one change. */
const SETTLE = 50;

export class Wall {
  #ids: readonly number[] = [];
  #shown = new Map<number, Shown>();
  #page: { watch: SessionsWatch; stop: AbortController } | null = null;
  #timer: number | undefined;
  #asleep = false;

  constructor(
    readonly gateway: Gateway,
    readonly show: (id: number, shown: Shown) => void,
  ) {}

  /** These sessions, in this order. */
  set(ids: readonly number[]): void {
    this.#ids = ids;
    for (const id of [...this.#shown.keys()]) if (!ids.includes(id)) this.#shown.delete(id);
    this.#soon();
  }

  /** Ask again for one that could not be had. */
  retry(id: number): void {
    this.#tell(id, NOTHING);
    this.#page?.stop.abort();
    this.#page = null;
    this.#soon();
  }

  /** A page that nobody sees asks nothing. What it has missed comes when it is seen again. */
  sleep(asleep: boolean): void {
    this.#asleep = asleep;
    this.#soon();
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#arrange(), SETTLE);
  }

  #arrange(): void {
    const ids = this.#asleep ? [] : this.#ids;
    if (this.#page) this.#page.watch.set(ids);
    else if (ids.length > 0) void this.#watch(ids);
  }

  /** One stream for all, until nothing more will come of any. */
  async #watch(ids: readonly number[]): Promise<void> {
    const stop = new AbortController();
    const { signal } = stop;
    const watch = this.gateway.watchSessions(ids, { signal });
    const page = (this.#page = { watch, stop });
    const last = new Map<number, WatchedItem>();
    try {
      for await (const now of watch) {
        if (signal.aborted) return;
        for (const item of now.items) {
          if (last.get(item.id) !== item || !item.isFinal) this.#tell(item.id, shownOf(item, now));
          last.set(item.id, item);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      const failure = error instanceof PollError ? error : new PollError(undefined, error);
      for (const id of this.#ids) this.#tell(id, { failure, connection: "lost" });
    }
    if (this.#page === page) this.#page = null;
  }

  #tell(id: number, news: Partial<Shown>): void {
    if (!this.#ids.includes(id)) return;
    const shown = { ...NOTHING, ...this.#shown.get(id), ...news };
    this.#shown.set(id, shown);
    this.show(id, shown);
  }
}

/** What is new of a session: nothing is taken back that was shown before. */
function shownOf(item: WatchedItem, { connection, failure }: WatchedSessions): Partial<Shown> {
  const { session, asOf } = item;
  const known = session ? { session, asOf } : {};
  if (item.isFinal) return { ...known, failure: item.failure, connection: item.failure ? "lost" : "final" };
  const held = item.failure ?? failure;
  return session || held ? { ...known, failure: held, connection } : known;
}
