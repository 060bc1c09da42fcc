/** A reader of sessions over hey-api's client and zod's schemas, at the address given. */

import assert from "node:assert/strict";

import { client } from "./made/client.gen.js";
import { getSession, getSessions } from "./made/sdk.gen.js";
import type { Session } from "./made/types.gen.js";
import { zSession } from "./made/zod.gen.js";
import { getPart, Item } from "./part.js";

const [, , baseUrl] = process.argv;
assert.ok(baseUrl, "give the address of a gateway over the sandbox farm");
client.setConfig({ baseUrl });

const { data, response } = await getSession({ path: { id: 42 } });
assert.equal(data?.title satisfies string | null | undefined, "Sandbox session 42");
assert.equal(data?.progress.phase, "completed");
assert.ok(zSession.safeParse(data).success);
assert.match(response?.headers.get("cache-status") ?? "", /^rfgw; /);

const headers = { "If-None-Match": response?.headers.get("etag") ?? "" };
const unchanged = await getSession({ path: { id: 42 }, headers });
assert.deepEqual([unchanged.response?.status, unchanged.data], [304, undefined]);

const list = await getSessions({ query: { ids: [42, 300001] } });
assert.equal(list.data?.items[0]?.session?.id, 42);
assert.equal(list.data?.items[1]?.problem?.code, "session_not_found");

const part = await getPart(baseUrl, 42);
assert.deepEqual(part satisfies Pick<Session, "title" | "state">, { title: data?.title, state: data?.state });
const cut = await getSessions({ query: { ids: [42, 300001], fields: ["title", "state"] } });
const items = cut.data?.items.map((item) => Item.parse(item));
assert.deepEqual(items?.map(({ session }) => session), [part, null]);
const whole = (body: unknown) => zSession.parseAsync(body);
await assert.rejects(
  getSession({ path: { id: 42 }, query: { fields: ["title"] }, responseValidator: whole }),
  /invalid_type/,
);

const refused = await getSession({ path: { id: 300001 } });
assert.equal(refused.response?.status, 404);
assert.equal(refused.error?.code, "session_not_found");
console.log("read, and told apart", refused.error?.code);
