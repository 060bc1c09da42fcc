/** The package against a running gateway over the sandbox farm, at GATEWAY_URL. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import { createClient, isProblem } from "renderfarm-gateway-client";

const url = process.env["GATEWAY_URL"];
assert.ok(url, "set GATEWAY_URL to the address of a gateway over the sandbox farm");
const gateway = createClient(url);

test("a session is read, with its cache fields", async () => {
  const { data, error, response } = await gateway.getSession(42);
  assert.ok(data, JSON.stringify(error));
  assert.equal(data.id, 42);
  assert.equal(data.title, "Sandbox session 42");
  assert.equal(data.progress.phase, "completed");
  assert.match(response.headers.get("etag") ?? "", /^"[^"]+"$/);
  assert.match(response.headers.get("cache-status") ?? "", /^rfgw; /);
  assert.match(response.headers.get("cache-control") ?? "", /max-age=\d+/);
});

test("an unchanged session is a 304 without a body", async () => {
  const first = await gateway.getSession(42);
  const tag = first.response.headers.get("etag") ?? "";
  const headers = { "If-None-Match": tag, "Cache-Control": "max-age=0" };
  const again = await gateway.getSession(42, { headers });
  assert.equal(again.response.status, 304);
  assert.equal(again.response.headers.get("etag"), tag);
  assert.match(again.response.headers.get("cache-status") ?? "", /^rfgw; hit/);
  assert.equal(again.data, undefined);
});

test("the poller sees a session move, and a problem that will not pass", async () => {
  const parts: number[] = [];
  for await (const session of gateway.pollSession(1005)) {
    parts.push(session.partsRendered ?? -1);
    if (parts.length === 3) break;
  }
  assert.deepEqual(parts, [...new Set(parts)].sort((a, b) => a - b), "it only goes up");
  await assert.rejects(
    gateway.pollSession(300001).next(),
    (error: Error & { problem?: unknown }) => isProblem(error.problem, "session_not_found"),
  );
});

test("a poll of what is kept and fresh is a hit, and costs the farm no call", async () => {
  const heard: Response[] = [];
  const watching = createClient(url, {
    fetch: async (request) => {
      const response = await fetch(request);
      heard.push(response);
      return response;
    },
  });
  const stop = new AbortController();
  const wait = async () => {
    if (heard.length === 3) stop.abort();
    // Anything younger than a second is good enough for `no-cache` too, and would prove nothing.
    while (Number((await gateway.getSession(1002)).response.headers.get("age")) < 1) await pause(50);
  };
  const { response } = await gateway.getSession(1002);
  const before = await attempts();
  for await (const { id } of watching.pollSession(1002, { signal: stop.signal, wait })) {
    assert.equal(id, 1002);
  }
  assert.deepEqual(heard.map(({ status }) => status), [200, 304, 304]);
  for (const { headers } of heard) {
    assert.match(headers.get("cache-status") ?? "", /^rfgw; hit; ttl=\d/);
  }
  assert.equal(await attempts(), before);

  const tag = response.headers.get("etag") ?? "";
  const bare = await gateway.getSession(1002, { headers: { "If-None-Match": tag } });
  const status = bare.response.headers.get("cache-status") ?? "";
  assert.match(status, /^rfgw; fwd=request/, "without the field it is one");
});

/** How often the gateway has asked the farm. */
async function attempts(): Promise<number> {
  const series = await (await fetch(`${url}/metrics`)).text();
  const counts = series.matchAll(/^rfgw_upstream_attempts_total\{.*\} (\S+)$/gm);
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

test("what was not asked for is not sent, of one and of several", async () => {
  const part = { id: 42, title: "Sandbox session 42" };
  const { data } = await gateway.getSession(42, { fields: ["title", "id"] });
  assert.deepEqual(data, part);
  const list = await gateway.getSessions([42, 300003], { fields: ["title", "id"] });
  assert.deepEqual(list.data?.items.map(({ session }) => session), [part, null]);
  assert.ok(isProblem(list.data?.items[1]?.problem, "session_not_found"));
});

test("several sessions come at once, each with its own outcome", async () => {
  const { data } = await gateway.getSessions([42, 300003, 1008]);
  assert.deepEqual(data?.items.map(({ id, status }) => [id, status]), [[42, 200], [300003, 404], [1008, 200]]);
  assert.equal(data?.items[0]?.session?.title, "Sandbox session 42");
  assert.ok(isProblem(data?.items[1]?.problem, "session_not_found"));
  const all = [];
  for await (const { items } of gateway.pollSessions([42, 300003, 1008])) all.push(items.length);
  assert.deepEqual(all, [3], "nothing of it will change");
});

test("what a code means is read from where a problem's type points", async () => {
  const refused = await gateway.getSession(300002);
  assert.ok(refused.error);
  const { data, response } = await gateway.getProblem(refused.error.code);
  assert.ok(data);
  assert.equal(response.url, new URL(refused.error.type, refused.response.url).href);
  assert.deepEqual([data.code, data.status], ["session_not_found", 404]);
  assert.equal(data.remedy, refused.error.remedy);
});

test("the watcher sees a session move, and a problem that will not pass", async () => {
  const parts: number[] = [];
  for await (const { session, connection } of gateway.watchSession(1005)) {
    assert.equal(connection, "live");
    parts.push(session?.partsRendered ?? -1);
    if (parts.length === 3) break;
  }
  assert.deepEqual(parts, [...parts].sort((a, b) => a - b), "it only goes up");
  await assert.rejects(
    gateway.watchSession(300001).next(),
    (error: Error & { problem?: unknown }) => isProblem(error.problem, "session_not_found"),
  );
});

test("a page of sessions is watched over one stream, and other ids join it", async () => {
  const heard: string[] = [];
  const watching = createClient(url, {
    fetch: async (request) => {
      const response = await fetch(request);
      heard.push(`${new URL(request.url).pathname} ${response.status}`);
      return response;
    },
  });
  const page = watching.watchSessions([1005, 42, 300001]);
  const parts: number[] = [];
  let last;
  for await (const now of page) {
    last = now;
    assert.equal(now.connection, "live");
    const [moving] = now.items;
    const rendered = moving?.session?.partsRendered ?? -1;
    if (rendered !== parts.at(-1)) parts.push(rendered);
    if (parts.length === 3 && page.ids.length === 3) page.set([1008, ...page.ids]);
    if (now.items.length === 4 && now.items[0]?.session) break;
  }
  assert.deepEqual(last?.items.map(({ id, isFinal }) => [id, isFinal]), [
    [1008, true],
    [1005, false],
    [42, true],
    [300001, true],
  ]);
  assert.ok(isProblem(last?.items[3]?.failure?.problem, "session_not_found"));
  assert.deepEqual(heard, ["/sessions/events 200", "/sessions/events 200"]);
});

test("a page of ended sessions ends", async () => {
  const seen = [];
  for await (const { items } of gateway.watchSessions([42, 300001])) seen.push(items);
  assert.deepEqual(seen.at(-1)?.map(({ isFinal }) => isFinal), [true, true]);
});

test("the watcher of an ended session ends", async () => {
  const seen = [];
  for await (const { session } of gateway.watchSession(42)) seen.push(session?.progress.phase);
  assert.deepEqual(seen, ["completed"]);
});

test("problems are told apart by their code", async () => {
  const expected = [
    [300001, 404, "session_not_found", false],
    [301001, 409, "session_not_attached", true],
    [103001, 403, "session_forbidden", false],
    [2147483648, 422, "invalid_request", false],
    // Last: after it the gateway gives the farm a pause.
    [503001, 503, "upstream_unavailable", true],
  ] as const;
  for (const [id, status, code, retryable] of expected) {
    const { error, response } = await gateway.getSession(id);
    assert.ok(isProblem(error, code), `${id}: ${JSON.stringify(error)}`);
    assert.deepEqual([response.status, error.status, error.retryable], [status, status, retryable]);
    assert.equal(response.headers.get("content-type"), "application/problem+json");
    assert.equal(error.requestId, response.headers.get("x-request-id"));
    if (retryable) assert.ok(Number(response.headers.get("retry-after")) >= 1);
  }
});
