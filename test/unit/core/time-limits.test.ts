// Checks how low the dynamic configuration's times may be: the store's word, unless a Patroni is among the members.

import { expect, test } from "bun:test";
import { limitsBeside, PATRONI_REMEMBERED_MS, tracePatroni } from "../../../lib/core/time-limits.ts";
import { PATRONI_LIMITS, RAFT_LIMITS } from "../../../lib/model/dynamic-config.ts";
import { ms } from "../../../lib/model/units.ts";
import { member } from "./observations.ts";

const patroni = member("p", { product: null });
const at = (now: number) => ({ self: "a", now: ms(now) });

test("members that name their product leave the store's floors in force", () => {
  const trace = tracePatroni(null, [member("a"), member("b")], at(0));
  expect(trace).toBeNull();
  expect(limitsBeside(RAFT_LIMITS, trace)).toEqual(RAFT_LIMITS);
});

test("a member that names none is a Patroni: every floor is at least what that makes of less", () => {
  const trace = tracePatroni(null, [member("a"), patroni], at(5));
  expect(trace).toEqual({ names: ["p"], lastSeenAt: ms(5) });
  expect(limitsBeside(RAFT_LIMITS, trace)).toEqual(PATRONI_LIMITS);
  const long = { ...PATRONI_LIMITS, ttlFloorMs: ms(60_000) };
  expect(limitsBeside(long, trace)).toEqual(long);
});

test("the own key says nothing: it may be what another program left under this name", () => {
  expect(tracePatroni(null, [member("a", { product: null })], at(0))).toBeNull();
});

test("a Patroni whose key is gone counts until it has surely stopped itself", () => {
  const seen = tracePatroni(null, [patroni], at(1000));
  expect(tracePatroni(seen, [member("b")], at(1000 + PATRONI_REMEMBERED_MS - 1))).toEqual(seen);
  expect(tracePatroni(seen, [member("b")], at(1000 + PATRONI_REMEMBERED_MS))).toBeNull();
  expect(PATRONI_REMEMBERED_MS).toBeGreaterThanOrEqual(2 * PATRONI_LIMITS.ttlFloorMs);
});
