/** A reader of sessions over openapi-generator's typescript-fetch client, at the address given. */

import assert from "node:assert/strict";

import { Configuration, ProblemFromJSON, ResponseError, SessionPartFromJSON, SessionsApi } from "./made/index.js";

const [, , basePath] = process.argv;
assert.ok(basePath, "give the address of a gateway over the sandbox farm");
const sessions = new SessionsApi(new Configuration({ basePath }));

const found = await sessions.getSessionRaw({ id: 42 });
const session = await found.value();
assert.equal(session.title satisfies string | null, "Sandbox session 42");
assert.equal(session.progress.phase, "completed");
assert.match(found.raw.headers.get("cache-status") ?? "", /^rfgw; /);

const tag = found.raw.headers.get("etag") ?? "";
const unchanged = await sessions.getSessionRaw({ id: 42, ifNoneMatch: tag }).catch((error) => error);
assert.ok(unchanged instanceof ResponseError, String(unchanged));
assert.equal(unchanged.response.status, 304);

const { items } = await sessions.getSessions({ ids: [42, 300001] });
assert.equal(items[0]?.session?.id, 42);
assert.equal(items[1]?.problem?.code, "session_not_found");

const cut = await sessions.getSessionRaw({ id: 42, fields: ["title"] });
const part = SessionPartFromJSON(await cut.raw.json());
assert.deepEqual([part.title satisfies string | null | undefined, part.state], [session.title, undefined]);

try {
  await sessions.getSession({ id: 300001 });
  assert.fail("there is no such session");
} catch (error) {
  assert.ok(error instanceof ResponseError, String(error));
  const problem = ProblemFromJSON(await error.response.json());
  assert.equal(problem.code, "session_not_found");
  console.log("read, and told apart", problem.code);
}
