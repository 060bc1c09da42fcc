import assert from "node:assert/strict";
import { test } from "node:test";

import { createClient } from "renderfarm-gateway-client";

const BASE = "https://gateway.example";

/** A gateway of this client, and the requests that it was sent. */
function asked(answer: () => Response) {
  const requests: Request[] = [];
  const fetch = (request: Request) => {
    requests.push(request);
    return Promise.resolve(answer());
  };
  return { gateway: createClient(BASE, { fetch }), requests };
}

test("a login is an address that leads back", () => {
  const { gateway } = asked(() => new Response());
  assert.equal(gateway.login(), `${BASE}/login?return_to=%2F`);
  assert.equal(
    gateway.login("https://site.example/a?b=c&d#e"),
    `${BASE}/login?return_to=https%3A%2F%2Fsite.example%2Fa%3Fb%3Dc%26d%23e`,
  );
});

test("what a visitor asks for has the cookie with it", async () => {
  const { gateway, requests } = asked(() => Response.json({ items: [] }));
  const { data } = await gateway.mySessions({ headers: { "X-Request-ID": "r-1" } });
  assert.deepEqual(data, { items: [] });
  assert.equal(requests[0]?.url, `${BASE}/me/sessions`);
  assert.equal(requests[0]?.credentials, "include");
  assert.equal(requests[0]?.headers.get("X-Request-ID"), "r-1");
});

test("attaching and logging out have no answer but that it is done", async () => {
  const { gateway, requests } = asked(() => new Response(null, { status: 204 }));
  for (const answer of [await gateway.attach(301001), await gateway.logout()]) {
    assert.equal(answer.error, undefined);
    assert.equal(answer.response.status, 204);
  }
  assert.deepEqual(
    requests.map(({ method, url, credentials }) => [method, url, credentials]),
    [
      ["PUT", `${BASE}/me/sessions/301001/attached`, "include"],
      ["POST", `${BASE}/logout`, "include"],
    ],
  );
});

test("who is not logged in is told so", async () => {
  const problem = { code: "login_required", status: 401 };
  const { gateway } = asked(() => Response.json(problem, { status: 401 }));
  const { data, error } = await gateway.mySessions();
  assert.equal(data, undefined);
  assert.equal(error?.code, "login_required");
});
