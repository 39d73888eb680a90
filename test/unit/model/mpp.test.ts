// The events of an MPP cluster, as they come from outside.

import { expect, test } from "bun:test";
import { readMppEvent } from "../../../lib/model/mpp.ts";

const EVENT = { type: "before_demote", group: 1, leader: "w1", timeout: 30, cooldown: 10.5 };

test("an event says what, which group, who, and for how long", () => {
  const read = readMppEvent({ ...EVENT, more: true });
  expect(read as unknown).toEqual({
    ok: true,
    value: { type: "before_demote", group: 1, leader: "w1", timeoutMs: 30_000, cooldownMs: 10_500 },
  });
});

test("a field that is missing or wrong is named", () => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ["type", "demote"],
    ["type", undefined],
    ["group", "1"],
    ["group", -1],
    ["group", 1.5],
    ["leader", ""],
    ["leader", "w".repeat(256)],
    ["leader", 7],
    ["timeout", 0],
    ["timeout", "30"],
    ["cooldown", 1e9],
    ["cooldown", null],
  ];
  for (const [name, value] of wrong) {
    const read = readMppEvent({ ...EVENT, [name]: value });
    expect(read.ok ? "accepted" : read.error).toStartWith(`${name} is not `);
  }
});
