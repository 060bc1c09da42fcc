/** Watches one session. Must not know addresses. */

import type { Ask, Open } from "./answer.js";
import type { ServerEvent } from "./events.js";
import { PollError } from "./failure.js";
import { hasEnded } from "./poll.js";
import type { Session } from "./schema.js";
import { parse, Watcher, type Connection, type WatchOptions } from "./watch.js";

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

/** See `Gateway.watchSession`. `ask` makes one request for the session, `open` for its stream. */
export function watchSession(
  ask: Ask<Session>,
  open: Open,
  options: WatchOptions = {},
): AsyncGenerator<Watched, void, void> {
  return new SessionWatcher(ask, open, options).run();
}

class SessionWatcher extends Watcher<Session, Watched> {
  #session: Session | null = null;
  #asOf: number | null = null;

  constructor(
    protected readonly ask: Ask<Session>,
    protected readonly open: Open,
    options: WatchOptions,
  ) {
    super(options);
  }

  override run(): AsyncGenerator<Watched, void, void> {
    return super.run();
  }

  protected get seen(): Watched {
    const { failure, connection } = this;
    return { session: this.#session, failure, connection, asOf: this.#asOf };
  }

  protected get isTold(): boolean {
    return this.#session !== null;
  }

  protected hear({ type, data }: ServerEvent): boolean {
    if (type === "problem") this.fail(new PollError(undefined, parse(data)));
    if (type === "session") {
      const session = parse(data) as Session;
      this.succeed("live");
      this.learn(session, Date.now());
    }
    return type === "session" || type === "problem";
  }

  protected learn(session: Session | null, asOf: number): void {
    this.#session = session ?? this.#session;
    this.#asOf = asOf;
    this.hasEnded = this.#session !== null && hasEnded(this.#session);
  }

  protected isLast(session: Session): boolean {
    return hasEnded(session);
  }
}
