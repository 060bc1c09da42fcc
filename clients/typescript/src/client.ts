/** The gateway's routes as functions. Must not know what an answer is used for. */

import createFetch, { type Client, type ClientOptions } from "openapi-fetch";

import { withOwnSignal } from "./abort.js";
import type { Answer, AskOptions, AskSome, Open, PartList } from "./answer.js";
import { hasEnded, hasSettled, poll, type PollOptions } from "./poll.js";
import type { Code, MySessions, paths, ProblemPage, Session, SessionList } from "./schema.js";
import { watchSession, type Watched } from "./session.js";
import { watchSessions, type Of, type SessionsWatch } from "./sessions.js";
import type { WatchOptions } from "./watch.js";

export interface Gateway {
  /** Only these members of a session. First: whatever has `fields` is of this kind. */
  getSession<K extends keyof Session>(
    id: number,
    options: AskSome<K>,
  ): Promise<Answer<Pick<Session, K>>>;
  /** One session. Rejects only if there is no answer at all: no network, or `signal` aborted. */
  getSession(id: number, options?: AskOptions): Promise<Answer<Session>>;
  /** Only these members of each session. */
  getSessions<K extends keyof Session>(
    ids: readonly number[],
    options: AskSome<K>,
  ): Promise<Answer<PartList<K>>>;
  /** 1 to 50 sessions, each with its own outcome: one that cannot be had does not fail the others. */
  getSessions(ids: readonly number[], options?: AskOptions): Promise<Answer<SessionList>>;
  /** What a problem's code means, when it happens and what to do: for help texts. */
  getProblem(code: Code, options?: AskOptions): Promise<Answer<ProblemPage>>;
  /**
   * The session now and after every change, until it has ended or `signal` is aborted.
   *
   * Asks again when the kept answer is no longer fresh, and lets the gateway say that nothing has
   * changed. Goes on through passing failures; throws `PollError` at one that will not pass.
   */
  pollSession(id: number, options?: PollOptions): AsyncGenerator<Session, void, void>;
  /** Like `pollSession` for 1 to 50 sessions: all of them at once, and whenever one has changed. */
  pollSessions(
    ids: readonly number[],
    options?: PollOptions,
  ): AsyncGenerator<SessionList, void, void>;
  /**
   * All that a page shows of a session, now and whenever any of it changes, until the session has
   * ended or `signal` is aborted.
   *
   * Live while the gateway's stream of events comes through; else by polls, and the stream is tried
   * again now and then. Passing failures are told, and waited out; throws `PollError` at one that
   * will not pass.
   */
  watchSession(id: number, options?: WatchOptions): AsyncGenerator<Watched, void, void>;
  /**
   * Like `watchSession` for all sessions of a page, 1 to 50, over one stream; where streams do not
   * come through, by polls of the list. The ids may change while it runs: `set`.
   *
   * One that cannot be had does not fail the others: each item has its own `failure`.
   */
  watchSessions(ids: readonly number[], options?: WatchOptions): SessionsWatch;
  /**
   * Where a page sends the browser so that a visitor logs in at the farm:
   * `location.href = gateway.login(location.href)`. They come back to `returnTo`, a path of the
   * gateway or an address of an origin that its operator lists.
   */
  login(returnTo?: string): string;
  /** The sessions of the visitor who is logged in, attached or not; else `login_required`. */
  mySessions(options?: AskOptions): Promise<Answer<MySessions>>;
  /** Lets the site show a session of the visitor: `getSession` has it from then on. */
  attach(id: number, options?: AskOptions): Promise<Answer<undefined>>;
  /** The farm and the browser forget the login. */
  logout(options?: AskOptions): Promise<Answer<undefined>>;
  /** Every route of the document, by its path: see openapi-fetch. */
  http: Client<paths>;
}

/** The catalogue of problems has HTML too: this leaves what `Answer` tells. */
const TYPES = "application/json, application/problem+json";

type Some = AskOptions & Partial<AskSome<keyof Session>>;

/** The part of a query that leaves members out: nothing where none are named. */
function some({ fields = [] }: Some): { fields?: (keyof Session)[] } {
  return fields.length ? { fields: [...fields] } : {};
}

/** The gateway at `baseUrl`. `options` are those of openapi-fetch: headers, fetch, middleware. */
export function createClient(
  baseUrl: string,
  options: Omit<ClientOptions, "baseUrl"> = {},
): Gateway {
  const http = createFetch<paths>({
    querySerializer: { array: { style: "form", explode: false } },
    ...options,
    baseUrl,
  });
  const getSession: Gateway["getSession"] = (id: number, options: Some = {}) =>
    withOwnSignal(options.signal, (signal) => {
      const { headers = {} } = options;
      const params = { path: { id }, query: some(options) };
      return http.GET("/sessions/{id}", { params, headers, signal });
    });
  const getSessions: Gateway["getSessions"] = (ids: readonly number[], options: Some = {}) =>
    withOwnSignal(options.signal, (signal) => {
      const { headers = {} } = options;
      const params = { query: { ids: [...ids], ...some(options) } };
      return http.GET("/sessions", { params, headers, signal });
    });
  const streaming = () => ({ ...uncached(options.Request), parseAs: "stream" as const });
  const openEvents =
    (id: number): Open =>
    ({ headers = {}, signal = null }) => {
      const request = { params: { path: { id } }, headers, signal, ...streaming() };
      return http.GET("/sessions/{id}/events", request);
    };
  const openAll: Of<ReturnType<Open>> = (ids, { headers = {}, signal = null }) => {
    const request = { params: { query: { ids: [...ids] } }, headers, signal, ...streaming() };
    return http.GET("/sessions/events", request);
  };
  return {
    getSession,
    getSessions,
    getProblem: (code, { headers = {}, signal } = {}) =>
      withOwnSignal(
        signal,
        (own) =>
          http.GET("/problems/{code}", {
            params: { path: { code } },
            headers: { ...headers, Accept: TYPES },
            signal: own,
          }) as Promise<Answer<ProblemPage>>,
      ),
    pollSession: (id, pace) => poll((ask) => getSession(id, ask), hasEnded, pace),
    pollSessions: (ids, pace) =>
      poll((ask) => getSessions(ids, ask), ({ items }) => items.every(hasSettled), pace),
    watchSession: (id, options) =>
      watchSession((ask) => getSession(id, ask), openEvents(id), options),
    watchSessions: (ids, options) => watchSessions(ids, getSessions, openAll, options),
    login: (returnTo = "/") => `${baseUrl}/login?return_to=${encodeURIComponent(returnTo)}`,
    mySessions: ({ headers = {}, signal } = {}) =>
      withOwnSignal(signal, (own) =>
        http.GET("/me/sessions", { headers, signal: own, credentials: "include" }),
      ),
    attach: (id, { headers = {}, signal } = {}) =>
      withOwnSignal(signal, (own) =>
        http.PUT("/me/sessions/{id}/attached", {
          params: { path: { id } },
          headers,
          signal: own,
          credentials: "include",
        }),
      ) as Promise<Answer<undefined>>,
    logout: ({ headers = {}, signal } = {}) =>
      withOwnSignal(signal, (own) =>
        http.POST("/logout", { headers, signal: own, credentials: "include" }),
      ) as Promise<Answer<undefined>>,
    http,
  };
}

/**
 * A stream is nothing to keep. Cloudflare Workers, which have no cache of a browser's kind, refuse
 * a request that says so.
 */
function uncached(Request: typeof globalThis.Request = globalThis.Request): { cache?: "no-store" } {
  try {
    new Request("http://localhost/", { cache: "no-store" });
    return { cache: "no-store" };
  } catch {
    return {};
  }
}
