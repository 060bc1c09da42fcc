/** A reader of sessions over openapi-generator's typescript-fetch client, at the address given. */

import assert from "node:assert/strict";

import { Configuration, ProblemFromJSON, ResponseError, SessionsApi } from "./made/index.js";

const [, , basePath] = process.argv;
assert.ok(basePath, "give the address of a gateway over the sandbox farm");
const sessions = new SessionsApi(new Configuration({ basePath }));

const found = await sessions.getSessionRaw({ id: 42 });
const session = await found.value();
assert.equal(session.title satisfies string | null, "Sandbox session 42");
assert.equal(session.progress.phase, "completed");
assert.match(found.raw.headers.get("cache-status") ?? "", /^rfgw; /);

try {
  await sessions.getSession({ id: 300001 });
  assert.fail("there is no such session");
} catch (error) {
  assert.ok(error instanceof ResponseError, String(error));
  const problem = ProblemFromJSON(await error.response.json());
  assert.equal(problem.code, "session_not_found");
  console.log("read, and told apart", problem.code);
}
