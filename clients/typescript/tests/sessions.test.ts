/** The watcher of a page against a server that streams by script. It never really waits. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { test } from "node:test";

import {
  createClient,
  PollError,
  type SessionsWatch,
  type WatchedItem,
  type WatchedSessions,
  type WatchOptions,
} from "renderfarm-gateway-client";

import { event, hangUp, json, problem, serving, silent, stream, type Reply } from "./scripted.js";

const LOST = problem(404, "session_not_found", false);
const DOWN = problem(502, "upstream_unreachable", true);

/** An item of the list: its session in this phase, or its problem. */
const item = (id: number, told: string | typeof LOST) =>
  typeof told === "string"
    ? { id, status: 200, session: { id, progress: { phase: told } }, problem: null }
    : { id, status: told.status, session: null, problem: told };
const says = (id: number, told: string | typeof LOST, last = "") => event("item", item(id, told), last);
const listed = (tag: string, ...items: unknown[]): Reply =>
  json(200, { items }, { ETag: tag, "Cache-Control": "max-age=5" });

interface Heard {
  seen: string[];
  pages: WatchedSessions[];
  asked: string[];
  headers: IncomingHttpHeaders[];
  waits: number[];
  thrown: unknown;
}

const one = ({ id, session, failure, isFinal }: WatchedItem) =>
  `${id}:${session?.progress.phase ?? "-"}${failure ? `!${failure.problem?.code}` : ""}${isFinal ? "." : ""}`;
const short = ({ items, connection, failure }: WatchedSessions) =>
  [connection, ...items.map(one), ...(failure ? [failure.problem?.code ?? "failure"] : [])].join(" ");

async function watch(
  ids: number[],
  replies: Reply[],
  look: (page: SessionsWatch, now: WatchedSessions) => void = () => {},
  options: WatchOptions = {},
): Promise<Heard> {
  const heard: Heard = { seen: [], pages: [], asked: [], headers: [], waits: [], thrown: null };
  const asked = await serving(replies, async (url) => {
    const page = createClient(url).watchSessions(ids, {
      wait: async (milliseconds) => void heard.waits.push(milliseconds / 1000),
      maxFailures: 20,
      ...options,
    });
    try {
      for await (const now of page) {
        heard.pages.push(now);
        heard.seen.push(short(now));
        look(page, now);
      }
    } catch (error) {
      heard.thrown = error;
    }
  });
  return { ...heard, asked: asked.paths, headers: asked.headers };
}

const EVENTS = (...ids: number[]) => `/sessions/events?ids=${ids.join(",")}`;
const LIST = (...ids: number[]) => `/sessions?ids=${ids.join(",")}`;

test("a page is told live over one stream, in the order of its ids, until all are final", async () => {
  const { seen, asked, thrown } = await watch([7, 8, 7], [
    stream(says(8, "queued"), says(7, "rendering"), says(8, LOST), says(7, "completed")),
  ]);
  assert.deepEqual(seen, [
    "live 7:- 8:queued",
    "live 7:rendering 8:queued",
    "live 7:rendering 8:queued!session_not_found.",
    "live 7:completed. 8:queued!session_not_found.",
  ]);
  assert.deepEqual([asked, thrown], [[EVENTS(7, 8)], null]);
});

test("a failure of one is its own, and passes", async () => {
  const { seen } = await watch([7, 8], [
    stream(
      says(7, "rendering"),
      says(8, DOWN),
      says(7, DOWN),
      says(7, "rendering"),
      says(8, "completed"),
      says(7, "completed"),
    ),
  ]);
  assert.deepEqual(seen, [
    "live 7:rendering 8:-",
    "live 7:rendering 8:-!upstream_unreachable",
    "live 7:rendering!upstream_unreachable 8:-!upstream_unreachable",
    "live 7:rendering 8:-!upstream_unreachable",
    "live 7:rendering 8:completed.",
    "live 7:completed. 8:completed.",
  ]);
});

test("a stream that breaks off is taken up where it was, for those that may still change", async () => {
  const { seen, asked, headers } = await watch([7, 8, 9], [
    stream(says(7, "rendering", "a"), says(8, "completed", "b"), says(9, "queued", "c")),
    stream(says(9, "rejected", "d"), says(7, "completed", "e")),
  ]);
  assert.deepEqual(asked, [EVENTS(7, 8, 9), EVENTS(7, 9)]);
  assert.deepEqual(headers.map((it) => it["last-event-id"]), [undefined, "c"]);
  assert.deepEqual(seen.slice(3), [
    "reconnecting 7:rendering 8:completed. 9:queued",
    "live 7:rendering 8:completed. 9:queued",
    "live 7:rendering 8:completed. 9:rejected.",
    "live 7:completed. 8:completed. 9:rejected.",
  ]);
});

test("the gateway's own end and 204 end it", async () => {
  const ended = await watch([7], [stream(says(7, "rendering"), event("end", {}))]);
  assert.deepEqual([ended.seen, ended.asked.length], [["live 7:rendering"], 1]);
  const gone: Reply = (response) => void response.writeHead(204).end();
  const nothing = await watch([7], [stream(says(7, "rendering")), gone]);
  assert.deepEqual([nothing.asked.length, nothing.thrown], [2, null]);
});

test("where no stream comes through the list is polled, and streams are tried again", async () => {
  const slow = (tag: string, phase: string): Reply =>
    json(200, { items: [item(7, phase), item(8, "completed")] }, { ETag: tag, "Cache-Control": "max-age=100" });
  const { seen, asked } = await watch([7, 8], [
    hangUp,
    hangUp,
    slow('"a"', "queued"),
    slow('"b"', "rendering"),
    stream(says(7, "rendering", "a"), says(7, "completed", "b")),
  ]);
  assert.deepEqual(seen, [
    "reconnecting 7:- 8:- failure",
    "reconnecting 7:- 8:- failure",
    "polling 7:queued 8:completed.",
    "polling 7:rendering 8:completed.",
    "live 7:rendering 8:completed.",
    "live 7:completed. 8:completed.",
  ]);
  assert.deepEqual(asked, [EVENTS(7, 8), EVENTS(7, 8), LIST(7, 8), LIST(7), EVENTS(7)]);
});

test("a gateway without such streams is polled at once, until all are final", async () => {
  const none = json(404, problem(404, "route_not_found", false));
  const { seen, asked } = await watch([7, 8], [
    none,
    listed('"a"', item(7, "queued"), item(8, LOST)),
    (response) => void response.writeHead(304, { ETag: '"a"' }).end(),
    listed('"b"', item(7, "cancelled")),
  ]);
  assert.deepEqual(seen, [
    "polling 7:queued 8:-!session_not_found.",
    "polling 7:queued 8:-!session_not_found.",
    "polling 7:cancelled. 8:-!session_not_found.",
  ]);
  assert.equal(asked.length, 4);
});

test("one that fails is as old as its last answer, although the list is unchanged", async () => {
  const list = (tag: string, ...items: unknown[]): Reply =>
    json(200, { items }, { ETag: tag, "Cache-Control": "max-age=0", "Cache-Status": "rfgw; hit; ttl=-45" });
  const { pages } = await watch([7, 8], [
    json(404, problem(404, "route_not_found", false)),
    list('"a"', item(7, "queued"), item(8, "queued")),
    listed('"b"', item(7, DOWN), item(8, "queued")),
    (response) => void response.writeHead(304, { ETag: '"b"' }).end(),
    listed('"c"', item(7, "rejected"), item(8, "rejected")),
  ]);
  const [first, failing, unchanged] = pages.map(({ items }) => items.map(({ asOf }) => asOf ?? 0));
  assert.ok(first && failing && unchanged);
  assert.equal(failing[0], first[0]);
  assert.equal(unchanged[0], first[0]);
  assert.ok(unchanged[1]! > first[1]! + 40_000, "the other is known to be right");
});

test("ids that nobody can watch are thrown, as the list has it", async () => {
  const wrong = json(422, problem(422, "invalid_request", false));
  const { thrown, asked } = await watch([0], [wrong, wrong]);
  assert.ok(thrown instanceof PollError && thrown.problem?.code === "invalid_request");
  assert.deepEqual(asked, [EVENTS(0), LIST(0)]);
});

test("ids come and go while it runs: nothing is told twice, nothing is lost", async () => {
  const { seen, asked, headers } = await watch(
    [7, 8],
    [
      silent(says(7, "rendering", "a"), says(8, "queued", "b")),
      silent(says(9, "queued", "c")),
      silent(": as it was\n\n"),
      stream(says(8, "completed", "d"), says(7, "completed", "e"), says(9, "completed", "f")),
    ],
    (page, { items, connection }) => {
      const { length } = items;
      const told = items.every(({ session }) => session);
      if (length === 2 && told && page.ids[1] === 8) page.set([9, 7, 8]);
      else if (length === 3 && told && connection === "live" && page.ids[0] === 9) page.set([7, 9]);
      else if (length === 2 && told && page.ids[1] === 9) page.set([8, 7, 9]);
    },
  );
  assert.deepEqual(asked, [EVENTS(7, 8), EVENTS(9, 7, 8), EVENTS(7, 9), EVENTS(8, 7, 9)]);
  assert.deepEqual(headers.map((it) => it["last-event-id"]), [undefined, "b", "c", "c"]);
  assert.deepEqual(seen, [
    "live 7:rendering 8:-",
    "live 7:rendering 8:queued",
    "live 9:- 7:rendering 8:queued",
    "live 9:queued 7:rendering 8:queued",
    "live 7:rendering 9:queued",
    "live 8:queued 7:rendering 9:queued", // what it was is remembered as long as the id tells it
    "live 8:completed. 7:rendering 9:queued",
    "live 8:completed. 7:completed. 9:queued",
    "live 8:completed. 7:completed. 9:completed.",
  ]);
});

test("what is no longer watched is forgotten with the next event, and asked for anew", async () => {
  const { seen, asked } = await watch(
    [7, 8],
    [
      silent(says(7, "rendering", "a"), says(8, "completed", "b")),
      silent(says(7, "encoding", "c")),
      stream(says(8, "completed", "d"), says(7, "completed", "e")),
    ],
    (page, { items: [first, second] }) => {
      if (second?.isFinal && page.ids.length === 2 && first?.session?.progress.phase === "rendering") page.set([7]);
      if (page.ids.length === 1 && first?.session?.progress.phase === "encoding") page.set([7, 8]);
    },
  );
  assert.deepEqual(asked, [EVENTS(7, 8), EVENTS(7), EVENTS(7, 8)]);
  assert.ok(seen.includes("live 7:encoding 8:-"), String(seen));
});

test("other ids while it polls are polled at once", async () => {
  const none = json(404, problem(404, "route_not_found", false));
  const { asked } = await watch(
    [7],
    [none, listed('"a"', item(7, "queued")), listed('"b"', item(7, "completed"), item(8, "completed"))],
    (page) => page.ids.length === 1 && page.set([7, 8]),
  );
  assert.deepEqual(asked, [EVENTS(7), LIST(7), LIST(7, 8)]);
});

test("other ids that are set while the last event is taken in are watched, too", async () => {
  const over = stream(says(7, "rendering"), event("end", { reason: "final" }));
  const { paths } = await serving([over, stream(says(8, "completed"))], async (url) => {
    const requests: Request[] = []; // Node.js passes no abort on to one that is collected
    const gateway = createClient(url, {
      fetch: (request) => {
        requests.push(request);
        request.signal.addEventListener("abort", () => page.set([8]), { once: true });
        return fetch(request);
      },
    });
    const page = gateway.watchSessions([7]);
    for await (const _ of page);
  });
  assert.deepEqual(paths, [EVENTS(7), EVENTS(8)]);
});

test("a page without ids waits for some", async () => {
  const { seen, asked } = await watch([], [stream(says(7, "completed"))], (page) => {
    if (page.ids.length === 0) setImmediate(() => page.set([7]));
  });
  assert.deepEqual(seen, ["reconnecting", "live 7:completed."]);
  assert.deepEqual(asked, [EVENTS(7)]);
});

test("an aborted signal ends it without an error: before, streaming, waiting, without ids", async () => {
  const early = await watch([7], [], () => {}, { signal: AbortSignal.abort() });
  assert.deepEqual([early.seen, early.asked, early.thrown], [[], [], null]);
  const cases: [ids: number[], replies: Reply[], options: WatchOptions][] = [
    [[7], [silent(says(7, "rendering"))], {}],
    [[7], [stream("retry: 86400000\n\n", says(7, "rendering"))], { wait: undefined }],
    [[], [], {}],
  ];
  for (const [ids, replies, options] of cases) {
    const stop = new AbortController();
    const { signal } = stop;
    const leave = () => setImmediate(() => stop.abort());
    const { thrown } = await watch(ids, replies, leave, { ...options, signal });
    assert.equal(thrown, null);
    assert.equal(getEventListeners(signal, "abort").length, 0);
  }
});

test("so many failures in a row as are allowed are waited out, and no more", async () => {
  const { thrown, asked } = await watch([7], Array(40).fill(hangUp), () => {}, { maxFailures: 9 });
  assert.ok(thrown instanceof PollError);
  assert.equal(asked.length, 9);
});

test("who stops looking closes the connection", async () => {
  let closed = () => {};
  const gone = new Promise<void>((resolve) => (closed = resolve));
  const left: Reply = (response) => {
    response.on("close", closed);
    silent(says(7, "rendering"))(response);
  };
  await serving([left], async (url) => {
    for await (const _ of createClient(url).watchSessions([7])) break;
    await gone;
  });
});
