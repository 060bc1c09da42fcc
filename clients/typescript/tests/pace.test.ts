/** How long to wait, from header fields alone. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { ageOf, backOff, freshFor, Pace, retryAfter } from "../dist/pace.js";

const NOW = Date.parse("2010-04-06T08:59:33Z");

test("freshness is max-age minus Age", () => {
  const cases: [string | undefined, string | undefined, number | undefined][] = [
    ["public, max-age=5, stale-while-revalidate=30", "2", 3],
    ["max-age=5", undefined, 5],
    ["MAX-AGE = 5", "0", 5],
    ['max-age="5"', "0", 5],
    ["public,max-age=5", "9", -4],
    ["max-age=5", "soon", 5],
    ["s-maxage=9", "0", undefined],
    ["no-store", undefined, undefined],
    [undefined, "3", undefined],
  ];
  for (const [control, age, expected] of cases) {
    const headers = new Headers();
    if (control !== undefined) headers.set("Cache-Control", control);
    if (age !== undefined) headers.set("Age", age);
    assert.equal(freshFor(headers), expected, `${control}; Age: ${age}`);
  }
});

test("an answer is as old as Age tells, or a list as it has been stale", () => {
  const cases: [string | undefined, string, number][] = [
    ["7", "rfgw; hit; ttl=-2; detail=swr", 7],
    ["0", "rfgw; fwd=uri-miss; fwd-status=200; stored", 0],
    [undefined, "rfgw; hit; ttl=-45; detail=sie", 45],
    [undefined, "rfgw; hit; ttl=3", 0],
    [undefined, "rfgw; fwd=miss", 0],
  ];
  for (const [age, status, expected] of cases) {
    const headers = new Headers({ "Cache-Status": status });
    if (age !== undefined) headers.set("Age", age);
    assert.equal(ageOf(headers), expected, `${status}; Age: ${age}`);
  }
});

test("Retry-After is a number of seconds or a date", () => {
  const cases: [string, number][] = [
    ["5", 5],
    ["0", 0],
    ["Tue, 06 Apr 2010 08:59:53 GMT", 20],
    ["Tue, 06 Apr 2010 08:59:13 GMT", 0],
    ["-5", 0],
    ["soon", 0],
  ];
  for (const [text, expected] of cases) {
    assert.equal(retryAfter(new Headers({ "Retry-After": text }), NOW), expected, text);
  }
  assert.equal(retryAfter(new Headers(), NOW), 0);
});

test("tries in vain are doubled in distance up to a minute and spread by half", () => {
  const longest = [1, 2, 3, 6, 7, 50].map((tries) => backOff(tries, 0));
  assert.deepEqual(longest, [1, 2, 4, 32, 60, 60]);
  assert.equal(backOff(4, 1), 4);
});

test("a kept answer that is no longer fresh is asked for more and more seldom", () => {
  const pace = new Pace();
  const stale = new Headers({ "Cache-Control": "max-age=5", Age: "40" });
  const fresh = new Headers({ "Cache-Control": "max-age=5", Age: "1" });
  const waits = Array.from({ length: 12 }, () => pace.next(stale, false));
  assert.equal(waits[0], 1);
  assert.ok(waits.slice(7).every((wait) => wait >= 30 && wait <= 60), String(waits));
  assert.equal(pace.next(fresh, false), 4);
  assert.equal(pace.next(stale, false), 1, "a fresh answer starts anew");
});

test("what the gateway asks for anew meanwhile is asked for again at the usual rhythm", () => {
  const waits = (control: string, status: string, failed = false): number[] => {
    const pace = new Pace();
    const headers = new Headers({ "Cache-Control": control, "Cache-Status": status });
    return Array.from({ length: 9 }, () => pace.next(headers, failed));
  };
  const usual = Array<number>(9).fill(1);
  assert.deepEqual(waits("max-age=0", "rfgw; hit; ttl=-27"), usual, "a list");
  assert.deepEqual(waits("max-age=0", "rfgw; hit; ttl=0"), usual, "a list whose end is near");
  assert.deepEqual(waits("max-age=0", "rfgw; hit; ttl=-2; detail=swr"), usual);
  for (const status of [
    "rfgw; hit; ttl=-40; detail=sie",
    "rfgw; fwd=stale; fwd-status=502; detail=sie",
    "rfgw; fwd=miss",
    "rfgw",
  ]) {
    assert.ok((waits("max-age=0", status)[8] ?? 0) >= 30, status);
  }
  assert.ok((waits("max-age=0", "rfgw; hit; ttl=2", true)[8] ?? 0) >= 30, "a kept problem");
});
