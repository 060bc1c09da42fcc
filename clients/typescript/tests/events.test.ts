/** The event stream's grammar, as the HTML standard writes it (section 9.2.6), in tables of text. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser, MOST, type ServerEvent } from "../dist/events.js";

/** What a stream tells that comes in these pieces. */
function read(...pieces: (string | Uint8Array)[]): ServerEvent[] {
  const parser = new EventParser();
  const bytes = pieces.map((it) => (typeof it === "string" ? new TextEncoder().encode(it) : it));
  return bytes.flatMap((piece) => parser.push(piece));
}
const said = (...events: ServerEvent[]) => events.map(({ type, data, id }) => [type, data, id]);

const GRAMMAR: [what: string, stream: string, told: string[][]][] = [
  ["an event has a type, an id and data", "event: a\nid: 1\ndata: x\n\n", [["a", "x", "1"]]],
  ["without a type it is a message", "data: x\n\n", [["message", "x", ""]]],
  ["lines end with LF, CR or CRLF", "event: a\rdata: x\r\ndata: y\n\r\n", [["a", "x\ny", ""]]],
  ["one CR after another ends an event", "data: x\r\rdata: y\r\r", [["message", "x", ""], ["message", "y", ""]]],
  ["data of several lines are joined", "data: x\ndata\ndata: y\n\n", [["message", "x\n\ny", ""]]],
  ["empty data are data", "data\n\n", [["message", "", ""]]],
  ["without data there is no event, and its type is forgotten", "event: a\n\ndata: x\n\n", [["message", "x", ""]]],
  ["one blank after the colon goes, a second stays", "data:x\ndata:  y\n\n", [["message", "x\n y", ""]]],
  ["a colon in a value is part of it", "data: a:b\n\n", [["message", "a:b", ""]]],
  ["comments and unknown fields mean nothing", ": hello\nfoo: bar\n:\ndata: x\n\n", [["message", "x", ""]]],
  ["names are exact", "Data: x\n data: y\n\n", []],
  ["an id holds until another comes", "id: 1\ndata: x\n\ndata: y\n\nid\ndata: z\n\n", [["message", "x", "1"], ["message", "y", "1"], ["message", "z", ""]]],
  ["an id with NUL is none", "id: 1\nid: a\0b\ndata: x\n\n", [["message", "x", "1"]]],
  ["a byte order mark is no part of it", "\uFEFFdata: x\n\n", [["message", "x", ""]]],
  ["but only at the start", "data: x\n\n\uFEFFdata: y\n\n", [["message", "x", ""]]],
  ["what the stream ends within is not told", "data: x\n\ndata: y\n", [["message", "x", ""]]],
  ["other scripts are read as UTF-8", "data: é 日本 🎬\n\n", [["message", "é 日本 🎬", ""]]],
];

for (const [what, stream, told] of GRAMMAR) {
  test(what, () => assert.deepEqual(said(...read(stream)), told));
}

test("wherever the bytes are cut, the events are the same", () => {
  for (const [what, stream, told] of GRAMMAR) {
    const bytes = new TextEncoder().encode(stream);
    const single = [...bytes].map((byte) => Uint8Array.of(byte));
    assert.deepEqual(said(...read(...single)), told, `${what}, byte by byte`);
    for (let at = 0; at <= bytes.length; at++) {
      assert.deepEqual(said(...read(bytes.slice(0, at), bytes.slice(at))), told, `${what}, at ${at}`);
    }
  }
});

test("an event that ends with CR is told before anything follows", () => {
  assert.deepEqual(said(...read("data: x\r\r")), [["message", "x", ""]]);
});

test("only a number tells when to come back", () => {
  const retries = read("retry: 3000\n\ndata: x\n\nretry: 1s\nretry: -1\nretry:\ndata: y\n\n");
  assert.deepEqual(retries.map(({ retry }) => retry), [3000, 3000]);
  assert.equal(read("data: x\n\n")[0]?.retry, undefined);
});

test("an event has a bound, in one line or in many, and what no line ends is bounded too", () => {
  const longest = `data: ${"x".repeat(MOST - 6)}`;
  assert.equal(read(longest, "\n\n")[0]?.data.length, MOST - 6);
  const beyond: [what: string, pieces: string[]][] = [
    ["one line", [longest, "x"]],
    ["one line in pieces", Array(9).fill("x".repeat(MOST / 8))],
    ["a comment", [`:${"x".repeat(MOST)}`]],
    ["many lines", Array(9).fill(`data:${"x".repeat(MOST / 8)}\n`)],
  ];
  for (const [what, pieces] of beyond) {
    assert.throws(() => read(...pieces), RangeError, what);
  }
  const many = Array(9).fill(`data:${"x".repeat(MOST / 8)}\n\n`);
  assert.equal(read(...many).length, 9, "each has its own");
});

test("a long line that comes in many pieces is looked at once", () => {
  const { split, matchAll } = String.prototype;
  let looked = 0;
  const count = <A extends unknown[], R>(of: (this: string, ...given: A) => R) =>
    function (this: string, ...given: A): R {
      looked += this.length;
      return of.apply(this, given);
    };
  const piece = "x".repeat(1000);
  const pieces = ["data: ", ...Array<string>(2000).fill(piece), "\n\n"];
  try {
    String.prototype.split = count(split) as typeof split;
    String.prototype.matchAll = count(matchAll) as typeof matchAll;
    assert.equal(read(...pieces)[0]?.data.length, 2_000_000);
  } finally {
    Object.assign(String.prototype, { split, matchAll });
  }
  assert.ok(looked >= 2_000_000 && looked < 2 * 2_000_000, String(looked));
});
