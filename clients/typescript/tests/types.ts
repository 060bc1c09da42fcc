/** What the types promise. Never run: a promise that is broken does not compile. */

import {
  createClient,
  isProblem,
  type Code,
  type Phase,
  type Problem,
  type ProblemPage,
  type Session,
} from "renderfarm-gateway-client";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** The names of all members within T that are any, unknown or optional; never if there are none. */
type Vague<T, Name = "itself"> = 0 extends 1 & T
  ? Name
  : unknown extends T
    ? Name
    : T extends readonly (infer Item)[]
      ? Vague<Item, Name>
      : T extends object
        ? { [K in keyof T]-?: {} extends Pick<T, K> ? K : Vague<T[K], K> }[keyof T]
        : never;

function holds<_T extends true>(): void {}

holds<Equal<Vague<Session>, never>>();
holds<Equal<Vague<Problem>, never>>();
holds<Equal<Vague<ProblemPage>, never>>();
// The measure itself measures.
holds<Equal<Vague<{ a: { b: unknown }[] }>, "b">>();
holds<Equal<Vague<{ a: { b: any } | null }>, "b">>();
holds<Equal<Vague<{ a: 1; b?: 2 }>, "b">>();

holds<Equal<Session["title"], string | null>>();
holds<Equal<Session["progress"]["phase"], Phase>>();
holds<Equal<Problem["code"], Code>>();
// Unions of words, not text.
holds<Equal<string extends Phase ? "text" : "words", "words">>();
holds<Equal<string extends Code ? "text" : "words", "words">>();

export async function parts(): Promise<void> {
  const gateway = createClient("https://gateway.example");
  const { data } = await gateway.getSession(1005, { fields: ["title", "progress"] });
  if (data) {
    holds<Equal<typeof data, Pick<Session, "title" | "progress">>>();
    // @ts-expect-error: it was not asked for
    data.state;
  }
  // Not only where the options are written down at the call.
  const fields = ["title"] as const;
  const options = { fields, signal: AbortSignal.timeout(1000) };
  const { data: kept } = await gateway.getSession(1005, options);
  if (kept) holds<Equal<typeof kept, Pick<Session, "title">>>();
  const { data: list } = await gateway.getSessions([1005], options);
  if (list) {
    holds<Equal<(typeof list.items)[number]["session"], Pick<Session, "title"> | null>>();
    holds<Equal<(typeof list.items)[number]["problem"], Problem | null>>();
  }
  // @ts-expect-error: there is no such field
  await gateway.getSession(1005, { fields: ["name"] });
  // @ts-expect-error: there is no such field
  await gateway.getSessions([1005], { fields: ["name"] });
}

export async function answers(): Promise<void> {
  const gateway = createClient("https://gateway.example");
  const { data, error, response } = await gateway.getSession(1005, {
    signal: AbortSignal.timeout(1000),
  });
  response.headers.get("cache-status")?.startsWith("rfgw");
  if (data) {
    holds<Equal<typeof data.title, string | null>>();
    holds<Equal<typeof data.progress.phase, Phase>>();
    // @ts-expect-error: null has no length
    data.title.length;
    // @ts-expect-error: there is no such member
    data.name;
    // @ts-expect-error: there is no such phase
    data.progress.phase === "paused";
    // @ts-expect-error: data and error exclude one another
    error.code;
  } else {
    holds<Equal<Vague<typeof error>, never>>();
    holds<Equal<typeof error.code, Code>>();
    error.code === "session_not_found";
    // @ts-expect-error: there is no such code
    error.code === "session_lost";
  }

  const meaning = await gateway.getProblem("session_not_found");
  if (meaning.data) holds<Equal<typeof meaning.data, ProblemPage>>();
  // @ts-expect-error: there is no such code
  await gateway.getProblem("session_lost");

  // @ts-expect-error: an id is a number
  await gateway.getSession("1005");
  // @ts-expect-error: there is no such path
  await gateway.http.GET("/nowhere");
  const { data: health } = await gateway.http.GET("/health/ready");
  health?.status satisfies "ok" | undefined;

  const list = await gateway.getSessions([1, 2]);
  if (list.data) holds<Equal<Vague<typeof list.data>, never>>();
  for await (const { items } of gateway.pollSessions([1, 2])) {
    holds<Equal<(typeof items)[number]["session"], Session | null>>();
  }
  for await (const session of gateway.pollSession(1005)) holds<Equal<typeof session, Session>>();
  for await (const { session, failure, connection } of gateway.watchSession(1005)) {
    holds<Equal<typeof session, Session | null>>();
    holds<Equal<typeof connection, "live" | "polling" | "reconnecting">>();
    failure?.problem?.code satisfies Code | undefined;
  }
  const page = gateway.watchSessions([1, 2]);
  page.set([...page.ids, 3]);
  for await (const { items, connection } of page) {
    holds<Equal<(typeof items)[number]["session"], Session | null>>();
    holds<Equal<typeof connection, "live" | "polling" | "reconnecting">>();
    items[0]?.failure?.problem?.code satisfies Code | undefined;
  }
}

export function narrows(caught: unknown): string {
  // @ts-expect-error: nothing is known yet
  caught.code;
  if (isProblem(caught, "session_not_attached", "overloaded")) {
    holds<Equal<typeof caught.code, "session_not_attached" | "overloaded">>();
  }
  // @ts-expect-error: there is no such code
  isProblem(caught, "session_lost");
  return isProblem(caught) ? (caught.code satisfies Code) : "no problem document";
}
