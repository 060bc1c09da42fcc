/** Asks the gateway for all sessions of the page. Must not know how they look. */

import {
  hasEnded,
  PollError,
  type Gateway,
  type Session,
  type SessionItem,
} from "renderfarm-gateway-client";

import { plan, type Seat } from "./plan.js";

/** How news of a session come; `final`: there will be none; `lost`: it cannot be had. */
export type Connection = "loading" | "live" | "polling" | "reconnecting" | "final" | "lost";

export interface Shown {
  session: Session | null;
  failure: PollError | null;
  connection: Connection;
  asOf: number | null;
}

const NOTHING: Shown = { session: null, failure: null, connection: "loading", asOf: null };
/** Milliseconds: scrolling past a session is no reason to open a stream for it. */
const SETTLE = 250;

export class Wall {
  #seats: Seat[] = [];
  #shown = new Map<number, Shown>();
  #streams = new Map<number, AbortController>();
  #list: { ids: string; stop: AbortController } | null = null;
  #timer: number | undefined;
  #asleep = false;

  constructor(
    readonly gateway: Gateway,
    readonly show: (id: number, shown: Shown) => void,
  ) {}

  /** These sessions, in this order. */
  set(ids: readonly number[]): void {
    const kept = new Map(this.#seats.map((seat) => [seat.id, seat]));
    this.#seats = ids.map((id) => kept.get(id) ?? { id, inView: false, settled: false });
    for (const id of [...this.#shown.keys()]) if (!ids.includes(id)) this.#shown.delete(id);
    this.#soon();
  }

  /** Whether a session is in the reader's view. */
  view(id: number, inView: boolean): void {
    this.#change(id, { inView });
  }

  /** Ask again for one that could not be had. */
  retry(id: number): void {
    this.#tell(id, { ...NOTHING });
    this.#change(id, { settled: false });
  }

  /** A page that nobody sees asks nothing: its connections are for those that are seen. */
  sleep(asleep: boolean): void {
    this.#asleep = asleep;
    this.#soon();
  }

  #change(id: number, change: Partial<Seat>): void {
    this.#seats = this.#seats.map((seat) => (seat.id === id ? { ...seat, ...change } : seat));
    this.#soon();
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#arrange(), SETTLE);
  }

  #arrange(): void {
    const { streamed, listed } = plan(this.#asleep ? [] : this.#seats);
    for (const [id, stop] of this.#streams) {
      if (streamed.includes(id)) continue;
      this.#streams.delete(id);
      stop.abort();
    }
    for (const id of streamed) if (!this.#streams.has(id)) void this.#stream(id);
    if (this.#list?.ids === listed.join()) return;
    this.#list?.stop.abort();
    this.#list = null;
    if (listed.length > 0) void this.#poll(listed);
  }

  async #stream(id: number): Promise<void> {
    const stop = new AbortController();
    this.#streams.set(id, stop);
    const { signal } = stop;
    try {
      for await (const seen of this.gateway.watchSession(id, { signal })) {
        if (!signal.aborted) this.#tell(id, seen);
      }
      if (signal.aborted) return;
      this.#tell(id, { connection: "final" });
    } catch (error) {
      if (signal.aborted) return;
      this.#tell(id, { failure: toFailure(error), connection: "lost" });
    }
    this.#streams.delete(id);
    this.#change(id, { settled: true });
  }

  async #poll(ids: number[]): Promise<void> {
    const stop = new AbortController();
    this.#list = { ids: ids.join(), stop };
    const { signal } = stop;
    let known: SessionItem[] = [];
    const onAnswer = (asOf: number) => known.forEach((item) => this.#item(item, asOf));
    const onFailure = (failure: PollError) =>
      ids.forEach((id) => this.#tell(id, { failure, connection: "reconnecting" }));
    try {
      const options = { signal, onAnswer, onFailure, maxFailures: Infinity };
      for await (const { items } of this.gateway.pollSessions(ids, options)) {
        if (signal.aborted) return;
        known = items;
        onAnswer(Date.now());
      }
    } catch (error) {
      if (signal.aborted) return;
      const failure = toFailure(error);
      for (const id of ids) {
        this.#tell(id, { failure, connection: "lost" });
        this.#change(id, { settled: true });
      }
    }
    if (this.#list?.stop === stop) this.#list = null;
  }

  #item({ id, session, problem }: SessionItem, asOf: number): void {
    if (session) {
      const settled = hasEnded(session);
      this.#tell(id, { session, asOf, failure: null, connection: settled ? "final" : "polling" });
      if (settled) this.#change(id, { settled });
    } else {
      const failure = new PollError(undefined, problem);
      const settled = !failure.retryable;
      this.#tell(id, { failure, connection: settled ? "lost" : "reconnecting" });
      if (settled) this.#change(id, { settled });
    }
  }

  #tell(id: number, news: Partial<Shown>): void {
    if (!this.#seats.some((seat) => seat.id === id)) return;
    const shown = { ...NOTHING, ...this.#shown.get(id), ...news };
    this.#shown.set(id, shown);
    this.show(id, shown);
  }
}

function toFailure(error: unknown): PollError {
  return error instanceof PollError ? error : new PollError(undefined, error);
}
