/** The watcher against a server that streams by script, over a real port. It never really waits. */

import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import {
  createClient,
  PollError,
  type Watched,
  type WatchOptions,
} from "renderfarm-gateway-client";

import { sleep, within } from "../dist/abort.js";
import { connect } from "../dist/stream.js";
import {
  event,
  hangUp,
  json,
  polled,
  problem,
  serving,
  silent,
  stream,
  told,
  type Reply,
} from "./scripted.js";

interface Heard {
  seen: string[];
  watched: Watched[];
  waits: number[];
  asked: string[];
  headers: IncomingHttpHeaders[];
  thrown: unknown;
}

const short = ({ connection, session, failure }: Watched) =>
  [connection, session?.progress.phase ?? "-", failure ? (failure.problem?.code ?? "failure") : ""]
    .join(" ")
    .trim();

/** Watches a server that gives these answers in turn; seconds are what the watcher meant to wait. */
async function watch(
  replies: Reply[],
  options: WatchOptions = {},
  look: (watched: Watched) => void = () => {},
): Promise<Heard> {
  const heard: Heard = { seen: [], watched: [], waits: [], asked: [], headers: [], thrown: null };
  const { paths, headers } = await serving(replies, async (url) => {
    const gateway = createClient(url, { headers: { "X-API-Key": "k" } });
    const all = gateway.watchSession(1005, {
      wait: async (milliseconds) => void heard.waits.push(milliseconds / 1000),
      maxFailures: 20,
      ...options,
    });
    try {
      for await (const watched of all) {
        heard.watched.push(watched);
        heard.seen.push(short(watched));
        look(watched);
      }
    } catch (error) {
      heard.thrown = error;
    }
  });
  return { ...heard, asked: paths, headers };
}

const EVENTS = "/sessions/1005/events";
const ONE = "/sessions/1005";

test("a session is told live, until it has ended", async () => {
  const { seen, asked, headers, thrown } = await watch([
    stream(told("rendering", '"a"'), told("encoding", '"b"'), told("completed", '"c"')),
  ]);
  assert.deepEqual(seen, ["live rendering", "live encoding", "live completed"]);
  assert.deepEqual([asked, thrown], [[EVENTS], null]);
  assert.equal(headers[0]?.accept, "text/event-stream");
  assert.equal(headers[0]?.["x-api-key"], "k", "the client's own header fields go along");
  assert.equal(headers[0]?.["last-event-id"], undefined);
});

test("the gateway's own end ends it, whatever the phase", async () => {
  const { seen, asked } = await watch([stream(told("rendering", "a"), event("end", {}))]);
  assert.deepEqual([seen, asked.length], [["live rendering"], 1]);
});

test("a stream that breaks off is taken up where it was, when it asks for it, and spread", async ({ mock }) => {
  mock.method(Math, "random", () => 0.5);
  const { seen, headers, waits } = await watch([
    stream(told("rendering", '"a"')),
    stream("retry: 8000\n\n", told("encoding", '"b"')),
    stream(told("completed", '"c"')),
  ]);
  assert.deepEqual(seen, [
    "live rendering",
    "reconnecting rendering",
    "live rendering",
    "live encoding",
    "reconnecting encoding",
    "live encoding",
    "live completed",
  ]);
  assert.deepEqual(headers.map((it) => it["last-event-id"]), [undefined, '"a"', '"b"']);
  assert.deepEqual(waits, [3 * 0.75, 8 * 0.75]);
});

test("204 says that nothing more will come", async () => {
  const { asked, thrown } = await watch([
    stream(told("rendering", "a")),
    (response) => void response.writeHead(204).end(),
  ]);
  assert.deepEqual([asked.length, thrown], [2, null]);
});

test("a problem on the way is told, and the next session takes it back", async () => {
  const farm = problem(502, "upstream_unreachable", true);
  const { seen } = await watch([
    stream(
      told("rendering", "a"),
      event("problem", farm),
      told("rendering", "a"),
      told("completed", "b"),
    ),
  ]);
  assert.deepEqual(seen, [
    "live rendering",
    "live rendering upstream_unreachable",
    "live rendering",
    "live completed",
  ]);
});

test("a problem on the way that will not pass is thrown", async () => {
  const lost = problem(404, "session_not_found", false);
  const { thrown, asked } = await watch([stream(told("rendering", "a"), event("problem", lost))]);
  assert.ok(thrown instanceof PollError);
  assert.deepEqual([thrown.problem?.code, asked.length], ["session_not_found", 1]);
});

test("a session that is not there is thrown at once, as polls have it", async () => {
  const lost = json(404, problem(404, "session_not_found", false));
  const { thrown, asked, waits } = await watch([lost, lost]);
  assert.ok(thrown instanceof PollError && thrown.problem?.code === "session_not_found");
  assert.deepEqual([asked, waits], [[EVENTS, ONE], []]);
});

test("a gateway without streams is polled at once", async () => {
  const none = json(404, problem(404, "route_not_found", false));
  const { seen, asked } = await watch([none, polled("rendering", "a"), polled("completed", "b")]);
  assert.deepEqual(seen, ["polling rendering", "polling completed"]);
  assert.deepEqual(asked, [EVENTS, ONE, ONE]);
});

test("a refused stream waits as long as Retry-After asks, and then polls take over", async () => {
  const full = json(429, problem(429, "rate_limited", true), { "Retry-After": "30" });
  const { seen, waits, asked } = await watch([full, full, polled("completed", "a")]);
  assert.deepEqual(seen, [
    "reconnecting - rate_limited",
    "reconnecting - rate_limited",
    "polling completed",
  ]);
  assert.deepEqual(waits, [30, 30]);
  assert.deepEqual(asked, [EVENTS, EVENTS, ONE]);
});

test("a proxy that holds a stream back is found out, and polled through", async () => {
  const { seen, asked } = await watch(
    [silent(), silent(), polled("rendering", "a"), polled("completed", "b")],
    { silence: { first: 0.5, later: 60 } }, // enough for what is sent to arrive
  );
  assert.deepEqual(seen.slice(2), ["polling rendering", "polling completed"]);
  assert.deepEqual(asked, [EVENTS, EVENTS, ONE, ONE]);
});

test("a page in place of a stream is no stream", async () => {
  const portal: Reply = (response) =>
    void response.writeHead(200, { "Content-Type": "text/html" }).end("data: x\n\n");
  const { asked } = await watch([portal, polled("completed", "a")]);
  assert.deepEqual(asked, [EVENTS, ONE]);
});

test("a stream whose data are no JSON is given up", async () => {
  const torn = stream("event: session\ndata: {\n\n");
  const { seen, asked } = await watch([torn, stream(told("completed", "a"))]);
  assert.deepEqual(seen, ["reconnecting - failure", "live completed"]);
  assert.equal(asked.length, 2);
});

test("a stream that falls silent is left for another", async () => {
  const { seen, headers } = await watch(
    [silent(told("rendering", "a")), stream(told("completed", "b"))],
    { silence: { first: 60, later: 0.02 } },
  );
  assert.deepEqual(seen, [
    "live rendering",
    "reconnecting rendering failure",
    "live rendering",
    "live completed",
  ]);
  assert.equal(headers[1]?.["last-event-id"], "a");
});

test("a stream is live before it has news", async () => {
  const stop = new AbortController();
  const { seen } = await watch(
    [stream(told("rendering", "a")), silent(": nothing new\n\n")],
    { signal: stop.signal },
    ({ connection }) => {
      lives += connection === "live" ? 1 : 0;
      if (lives === 2) stop.abort();
    },
  );
  assert.deepEqual(seen, ["live rendering", "reconnecting rendering", "live rendering"]);
});
let lives = 0;

test("after a minute of polls a stream is tried again, one time at first", async () => {
  const slow = Array.from({ length: 9 }, (_, n) => polled("rendering", `"${n}"`, 10));
  const { seen, asked } = await watch([
    hangUp,
    hangUp,
    ...slow, // between them 8 waits, of max-age 10 less 2 of age each: 64 seconds
    hangUp,
    polled("rendering", '"x"'),
    polled("completed", '"y"'),
  ]);
  const streams = asked.flatMap((path, at) => (path === EVENTS ? [at] : []));
  assert.deepEqual(streams, [0, 1, 11]);
  assert.equal(seen.at(-1), "polling completed");
});

test("polls last longer each time, ten minutes at most, and a stream that comes starts anew", async () => {
  const polls = (count: number) =>
    Array.from({ length: count }, (_, n) => polled("rendering", `"${n}"`, 100)); // 98 s of waits
  const periods = [2, 3, 4, 6, 8, 8]; // of 60, 120, 240, 480, 600 and 600 seconds
  const { asked, waits } = await watch([
    hangUp,
    ...periods.flatMap((count) => [hangUp, ...polls(count)]),
    stream(told("rendering", "a")),
    hangUp,
    hangUp,
    ...polls(2),
    stream(told("completed", "b")),
  ], { maxFailures: Infinity });
  const lengths = asked.map((path) => (path === EVENTS ? "|" : ".")).join("").split("|");
  assert.deepEqual(lengths.map(({ length }) => length), [0, 0, ...periods, 0, 0, 2, 0]);
  assert.ok(waits.length > 0);
});

test("a signal that lives long has one listener at a time, however many requests there were", async () => {
  const stop = new AbortController();
  const most: number[] = [];
  const polls = Array.from({ length: 100 }, (_, n) => polled("rendering", `"${n}"`));
  await watch([hangUp, hangUp, ...polls], { signal: stop.signal }, ({ session }) => {
    most.push(getEventListeners(stop.signal, "abort").length);
    if (session && most.length > 60) stop.abort();
  });
  assert.ok(most.length > 60 && Math.max(...most) <= 1, String(most));
  assert.equal(getEventListeners(stop.signal, "abort").length, 0);
});

test("a wait leaves no listener on a signal that lives on, whether it has passed or was ended", async () => {
  const stop = new AbortController();
  await sleep(0, stop.signal);
  assert.equal(getEventListeners(stop.signal, "abort").length, 0);
  const waiting = sleep(2 ** 31 - 1, stop.signal);
  assert.equal(getEventListeners(stop.signal, "abort").length, 1);
  stop.abort();
  await waiting;
  assert.equal(getEventListeners(stop.signal, "abort").length, 0);
});

test("what is over leaves no timer: it would hold a program that has ended for a minute", async () => {
  /** Node.js has it since 17.3, its types for 18 do not. */
  const node = process as unknown as { getActiveResourcesInfo(): string[] };
  const timers = () => node.getActiveResourcesInfo().filter((it) => it === "Timeout").length;
  const before = timers();
  const stop = new AbortController();
  const waiting = sleep(2 ** 31 - 1, stop.signal);
  const reading = within(3600, new Promise(() => {}), stop.signal);
  assert.equal(timers(), before + 2);
  stop.abort();
  await waiting;
  await assert.rejects(reading);
  assert.equal(await within(3600, Promise.resolve(1), undefined), 1);
  await assert.rejects(within(3600, Promise.reject(new Error("lost")), undefined));
  assert.equal(timers(), before);
});

test("a stream that is given up is not left open", async () => {
  let closed = 0;
  const left: Reply = (response) => {
    response.on("close", () => (closed += 1));
    silent(told("rendering", "a"))(response);
  };
  await watch([left, left, stream(told("completed", "b"))], { silence: { first: 60, later: 0.02 } });
  assert.equal(closed, 2);
});

test("an answer that is no stream, or that comes too late, has its body left", async () => {
  const left: string[] = [];
  const answer = (type: string) => ({
    data: new ReadableStream({ cancel: () => void left.push(type) }), // says nothing
    response: new Response("", { headers: { "Content-Type": type } }),
  });
  const silence = { first: 0.02, later: 60 };
  const page = connect(async () => answer("text/html"), "", silence, undefined);
  await assert.rejects(page.next(), PollError);
  let come = () => {};
  const late = new Promise<void>((resolve) => (come = resolve));
  const open = () => late.then(() => answer("text/event-stream"));
  await assert.rejects(connect(open, "", silence, undefined).next(), PollError);
  come();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(left, ["text/html", "text/event-stream"]);
});

test("a stream says that it is nothing to keep, but not where that is refused", async () => {
  /** As in Cloudflare Workers. */
  class Refusing extends Request {
    constructor(input: RequestInfo | URL, init?: RequestInit) {
      if (init?.cache) throw new Error("The 'cache' field on 'RequestInitializerDict' is not implemented.");
      super(input, init);
    }
  }
  const caches: RequestCache[] = [];
  const fetch = async ({ cache }: Request): Promise<Response> => {
    caches.push(cache);
    return new Response(told("completed", "a"), { headers: { "Content-Type": "text/event-stream" } });
  };
  for (const own of [Request, Refusing]) {
    const gateway = createClient("http://127.0.0.1", { fetch, Request: own });
    for await (const { session } of gateway.watchSession(1005)) assert.equal(session?.id, 1005);
  }
  assert.deepEqual(caches, ["no-store", "default"]);
});

test("the stream that is tried again is kept when it comes", async () => {
  const slow = polled("rendering", '"a"', 100);
  const { seen } = await watch([hangUp, hangUp, slow, slow, stream(told("completed", "b"))]);
  assert.deepEqual(seen.slice(-2), ["live rendering", "live completed"]);
});

test("what was last known stays on show through failures, with its age", async () => {
  const before = Date.now();
  const { watched } = await watch([
    stream(told("rendering", "a")),
    hangUp,
    hangUp,
    hangUp,
    polled("completed", "b"),
  ]);
  for (const { session, asOf } of watched) {
    assert.equal(session?.id, 1005);
    assert.ok(asOf !== null && asOf >= before - 2000 && asOf <= Date.now());
  }
  assert.ok(watched.at(-1)!.asOf! <= Date.now() - 2000, "its Age is taken off");
});

test("an event without an id does not forget what the reader has", async () => {
  const { headers } = await watch([
    stream(told("rendering", "a")),
    stream(event("problem", problem(502, "upstream_unreachable", true))),
    stream(told("completed", "b")),
  ]);
  assert.deepEqual(headers.map((given) => given["last-event-id"]), [undefined, "a", "a"]);
});

test("failures that others lie between are no row", async () => {
  const well = (id: string) => stream(told("rendering", id));
  const replies = [hangUp, well("a"), hangUp, well("b"), hangUp, stream(told("completed", "c"))];
  const { thrown, asked } = await watch(replies, { maxFailures: 2 });
  assert.deepEqual([thrown, asked.length], [null, 6]);
});

test("so many failures in a row as are allowed are waited out, ever longer, and no more", async () => {
  const { thrown, asked, waits } = await watch(Array(40).fill(hangUp), { maxFailures: 9 });
  assert.ok(thrown instanceof PollError && thrown.cause instanceof TypeError);
  assert.equal(asked.length, 9);
  assert.ok(waits.at(-1)! > waits[0]! * 4, String(waits));
});

test("an aborted signal ends it without an error: before, while streaming, in a wait", async () => {
  const early = await watch([], { signal: AbortSignal.abort() });
  assert.deepEqual([early.seen, early.asked, early.thrown], [[], [], null]);

  const stop = new AbortController();
  const streaming = await watch([silent(told("rendering", "a"))], { signal: stop.signal }, () =>
    setImmediate(() => stop.abort()),
  );
  assert.deepEqual([streaming.seen, streaming.thrown], [["live rendering"], null]);

  const leave = new AbortController();
  const waiting = await watch(
    [stream("retry: 86400000\n\n", told("rendering", "a"))],
    { signal: leave.signal, wait: undefined },
    ({ connection }) => void (connection === "reconnecting" && setImmediate(() => leave.abort())),
  );
  assert.deepEqual([waiting.asked.length, waiting.thrown], [1, null]);
});

test("who stops looking closes the connection, even after a collection of garbage", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  await new Promise<void>((gone) => {
    const server = createServer((_, response) => {
      silent(told("rendering", "a"))(response);
      response.on("close", () => server.close(() => gone()));
    });
    server.listen(0, "127.0.0.1", async () => {
      const { port } = server.address() as AddressInfo;
      for await (const _ of createClient(`http://127.0.0.1:${port}`).watchSession(1005)) {
        for (let turn = 0; turn < 5; turn++) {
          await new Promise((resolve) => setTimeout(resolve, 5));
          collect();
        }
        break;
      }
    });
  });
});
