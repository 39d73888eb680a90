// Goal: a copied logical slot is called safe only from when on the primary keeps the catalogs that it needs.
// Method: the facts of both sides, step by step.

import { expect, test } from "bun:test";
import { slotSafety } from "../../../lib/core/slots-safety.ts";

const primary = (physicalXmin: number | null, logical: Readonly<Record<string, number>>) => ({
  physicalXmin,
  logicalXmin: new Map(Object.entries(logical)),
});
const local = (slots: Readonly<Record<string, number>>) => new Map(Object.entries(slots));
const copied = new Map([["events", null]]);

test("a copy is unsafe until the standby's feedback is on the primary, and safe once it is as far as the primary's slot was then", () => {
  const before = slotSafety(copied, primary(null, { events: 700 }), local({ events: 700 }));
  expect(before).toEqual({ unsafe: copied, safe: [] });
  // The feedback came after the primary's slot had moved on: the catalogs in between may be gone.
  const held = slotSafety(copied, primary(700, { events: 720 }), local({ events: 700 }));
  expect(held).toEqual({ unsafe: new Map([["events", 720]]), safe: [] });
  expect(slotSafety(held.unsafe, primary(719, { events: 900 }), local({ events: 719 })).safe).toEqual([]);
  expect(slotSafety(held.unsafe, primary(720, { events: 900 }), local({ events: 720 }))).toEqual({ unsafe: new Map(), safe: ["events"] });
  expect(slotSafety(copied, primary(700, { events: 700 }), local({ events: 700 })).safe).toEqual(["events"]);
});

test("feedback that holds less than the primary's slot does is not enough", () => {
  expect(slotSafety(copied, primary(701, { events: 700 }), local({ events: 700 }))).toEqual({ unsafe: copied, safe: [] });
});

test("transaction numbers are compared across their wraparound", () => {
  expect(slotSafety(copied, primary(4_294_967_290, { events: 5 }), local({ events: 4 })).unsafe).toEqual(new Map([["events", 5]]));
  expect(slotSafety(copied, primary(4_294_967_290, { events: 5 }), local({ events: 6 })).safe).toEqual(["events"]);
});

test("what is gone on either side is never called safe", () => {
  expect(slotSafety(copied, primary(1, { events: 1 }), local({}))).toEqual({ unsafe: new Map(), safe: [] });
  expect(slotSafety(copied, primary(1, {}), local({ events: 1 }))).toEqual({ unsafe: copied, safe: [] });
});
