/** The poller against a server that answers by script, over a real port. It never really waits. */

import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { createClient, isProblem, PollError, type PollOptions } from "renderfarm-gateway-client";

type Reply = { status: number; headers?: Record<string, string>; body?: unknown } | "hang up";

const session = (phase: string, tag?: string, headers = {}): Reply => ({
  status: 200,
  headers: { ...(tag ? { ETag: tag } : {}), "Cache-Control": "max-age=5", Age: "2", ...headers },
  body: { id: 1005, progress: { phase } },
});
const unchanged = (headers = {}): Reply => ({
  status: 304,
  headers: { ETag: '"a"', "Cache-Control": "max-age=5", Age: "1", ...headers },
});
const problem = (status: number, code: string, retryable: boolean, headers = {}): Reply => ({
  status,
  headers: { "Content-Type": "application/problem+json", ...headers },
  body: { title: "Title", detail: "Detail.", status, code, retryable },
});

interface Watched {
  phases: string[];
  waits: number[];
  asked: IncomingHttpHeaders[];
  failures: PollError[];
  thrown: unknown;
}

/** Polls a server that gives these answers in turn; seconds are what the poller meant to wait. */
async function watch(
  replies: Reply[],
  options: PollOptions = {},
  seen: () => void = () => {},
): Promise<Watched> {
  const watched: Watched = { phases: [], waits: [], asked: [], failures: [], thrown: undefined };
  const left = [...replies];
  const server = createServer((request, response) => {
    watched.asked.push(request.headers);
    const reply = left.shift();
    if (reply === undefined || reply === "hang up") return void request.socket.destroy();
    const body = typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body);
    response.writeHead(reply.status, reply.headers).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const gateway = createClient(`http://127.0.0.1:${port}`);
    const polled = gateway.pollSession(1005, {
      wait: async (milliseconds) => void watched.waits.push(milliseconds / 1000),
      onFailure: (failure) => watched.failures.push(failure),
      ...options,
    });
    for await (const { progress } of polled) {
      watched.phases.push(progress.phase);
      seen();
    }
  } catch (error) {
    watched.thrown = error;
  } finally {
    server.closeAllConnections();
    server.close();
  }
  return watched;
}

test("a session is told on every change, until it has ended", async () => {
  const { phases, asked, thrown } = await watch([
    session("rendering", '"a"'),
    unchanged(),
    { status: 304 },
    session("encoding", '"b"'),
    session("completed", '"c"'),
  ]);
  assert.deepEqual(phases, ["rendering", "encoding", "completed"]);
  const tags = asked.map((headers) => headers["if-none-match"]);
  assert.deepEqual(tags, [undefined, '"a"', '"a"', '"a"', '"b"']);
  assert.equal(thrown, undefined);
});

test("no request asks past what the gateway keeps, whatever fetch would add to it", async () => {
  const { asked } = await watch([session("rendering", '"a"'), unchanged(), session("completed")]);
  const wishes = asked.map((headers) => headers["cache-control"]);
  assert.deepEqual(wishes, ["max-age=0", "max-age=0", "max-age=0"]);
});

test("the wait is what is left of the freshness, on 304 too, and never less than a second", async () => {
  const { waits } = await watch([
    session("rendering", '"a"'),
    unchanged(),
    unchanged({ Age: "30" }),
    session("queued", '"b"', { "Cache-Control": "no-store" }),
    session("queued", '"c"', { "Cache-Control": "max-age=0" }),
    session("rejected"),
  ]);
  assert.deepEqual(waits, [3, 4, 1, 5, 1]);
});

test("a wait fits into a timer", async () => {
  const { waits } = await watch([
    session("queued", '"a"', { "Cache-Control": "max-age=31536000" }),
    session("completed"),
  ]);
  assert.deepEqual(waits, [(2 ** 31 - 1) / 1000]);
});

test("the same session twice is told once where 304 is lost on the way, and twice without a tag", async () => {
  const same = session("rendering", '"a"');
  const tagged = await watch([same, same, session("completed", '"b"')]);
  assert.deepEqual(tagged.phases, ["rendering", "completed"]);
  const bare = await watch([session("rendering"), session("rendering"), session("completed")]);
  assert.deepEqual(bare.phases, ["rendering", "rendering", "completed"]);
});

test("each of the phases that end a session ends the loop", async () => {
  for (const phase of ["completed", "cancelled", "rejected"]) {
    const { phases, asked, thrown } = await watch([session(phase, '"a"')]);
    assert.deepEqual([phases, asked.length, thrown], [[phase], 1, undefined]);
  }
});

test("a problem that will pass is waited out as Retry-After asks, and told", async () => {
  const { phases, waits, failures } = await watch([
    problem(409, "session_not_attached", true, { "Retry-After": "5" }),
    problem(503, "upstream_unavailable", true, { "Retry-After": "300" }),
    session("completed"),
  ]);
  assert.deepEqual(phases, ["completed"]);
  assert.deepEqual(waits, [5, 300]);
  const codes = failures.map((failure) => failure.problem?.code);
  assert.deepEqual(codes, ["session_not_attached", "upstream_unavailable"]);
});

test("a problem that will not pass is thrown at once", async () => {
  const { waits, thrown } = await watch([problem(404, "session_not_found", false)]);
  assert.ok(thrown instanceof PollError);
  assert.equal(thrown.message, "Title: Detail.");
  assert.ok(isProblem(thrown.problem, "session_not_found"));
  assert.equal(thrown.response?.status, 404);
  assert.deepEqual(waits, []);
});

test("failures in a row are tried ever more seldom and given up after a bound", async () => {
  const replies: Reply[] = Array(30).fill("hang up");
  const { waits, failures, asked, thrown } = await watch(replies, { maxFailures: 9 });
  assert.equal(asked.length, 9);
  assert.equal(failures.length, 8);
  assert.ok(thrown instanceof PollError && thrown.retryable && thrown.response === undefined);
  assert.ok(thrown.cause instanceof TypeError, "what fetch says is kept");
  assert.equal(waits[0], 1);
  assert.ok(waits[5]! >= 16 && waits[5]! <= 32, String(waits));
  assert.ok(waits[7]! >= 30 && waits[7]! <= 60, String(waits));
});

test("an answer between failures starts the count anew", async () => {
  const { phases, waits } = await watch(
    ["hang up", session("rendering", '"a"'), "hang up", unchanged(), session("completed")],
    { maxFailures: 2 },
  );
  assert.deepEqual(phases, ["rendering", "completed"]);
  assert.deepEqual(waits, [1, 3, 1, 4]);
});

test("an error page is waited out if it is the server's, and thrown if it is the client's", async () => {
  const page = { headers: { "Content-Type": "text/html" }, body: "<h1>Sorry</h1>" };
  const passing = await watch([{ status: 502, ...page }, { status: 429, ...page }, session("completed")]);
  assert.deepEqual(passing.phases, ["completed"]);
  assert.equal(passing.failures[0]?.problem, undefined);
  const lasting = await watch([{ status: 403, ...page }]);
  assert.ok(lasting.thrown instanceof PollError);
  assert.equal(lasting.thrown.message, "HTTP 403 without a problem document");
});

test("a page in place of a session is waited out", async () => {
  const portal: Reply = { status: 200, body: "<h1>Sign in</h1>" };
  const { phases, failures } = await watch([portal, session("completed")]);
  assert.deepEqual(phases, ["completed"]);
  assert.equal(failures.length, 1);
});

test("an aborted signal ends the loop without an error", async () => {
  const early = await watch([session("rendering")], { signal: AbortSignal.abort() });
  assert.deepEqual([early.asked.length, early.thrown], [0, undefined]);

  const stop = new AbortController();
  const late = await watch([session("rendering"), session("rendering")], {
    signal: stop.signal,
    wait: async () => stop.abort(),
  });
  assert.deepEqual([late.phases, late.asked.length, late.thrown], [["rendering"], 1, undefined]);
});

test("an aborted signal ends a wait that is under way", async () => {
  const stop = new AbortController();
  const failing = { signal: stop.signal, onFailure: () => queueMicrotask(() => stop.abort()) };
  const day = problem(503, "overloaded", true, { "Retry-After": "86400" });
  const { asked, thrown } = await watch([day], { ...failing, wait: undefined });
  assert.deepEqual([asked.length, thrown], [1, undefined]);
});

test("a signal aborted while a session is looked at ends the loop", async () => {
  const stop = new AbortController();
  const day = session("queued", '"a"', { "Cache-Control": "max-age=86400" });
  const options = { signal: stop.signal, wait: undefined };
  const { asked, thrown } = await watch([day, day], options, () => stop.abort());
  assert.deepEqual([asked.length, thrown], [1, undefined]);
});

test("an aborted signal ends a request that is under way", async () => {
  const stop = new AbortController();
  const gateway = createClient("http://127.0.0.1", {
    fetch: (request) =>
      new Promise((_, reject) => {
        request.signal.addEventListener("abort", () => reject(request.signal.reason));
        stop.abort();
      }),
  });
  const onFailure = (failure: PollError) => assert.fail(failure);
  const turn = await gateway.pollSession(1005, { signal: stop.signal, onFailure }).next();
  assert.deepEqual(turn, { done: true, value: undefined });
});

test("several are told whenever one has changed, until all have ended or will never come", async () => {
  const item = (id: number, phase: string) => ({ id, session: { id, progress: { phase } }, problem: null });
  const lost = { id: 9, session: null, problem: { status: 404, retryable: false } };
  const list = (tag: string, first: string, second: string): Reply => ({
    status: 200,
    headers: { ETag: tag, "Cache-Control": "max-age=5" },
    body: { items: [item(7, first), item(8, second), lost] },
  });
  const replies = [
    list('"a"', "rendering", "queued"),
    unchanged(),
    list('"b"', "completed", "queued"),
    list('"c"', "completed", "rejected"),
  ];
  const asked: (string | undefined)[] = [];
  const answers: number[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    const reply = replies.shift() as Exclude<Reply, string>;
    response.writeHead(reply.status, reply.headers).end(JSON.stringify(reply.body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const phases: (string | undefined)[][] = [];
  const polled = createClient(`http://127.0.0.1:${port}`).pollSessions([7, 8, 9], {
    wait: async () => {},
    onAnswer: (asOf) => answers.push(asOf),
  });
  for await (const { items } of polled) phases.push(items.map((it) => it.session?.progress.phase));
  server.close();
  assert.deepEqual(phases, [
    ["rendering", "queued", undefined],
    ["completed", "queued", undefined],
    ["completed", "rejected", undefined],
  ]);
  assert.equal(asked[0], "/sessions?ids=7,8,9");
  assert.equal(answers.length, 4, "an answer without news is an answer too");
});
