// Goal: the floors follow the store's word and the members, each change is told, and a store that is away is asked again.
// Method: a memory store whose gate makes the faults, and a clock moved by hand.

import { expect, test } from "bun:test";
import { PATRONI_REMEMBERED_MS } from "../../../lib/core/time-limits.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { PATRONI_LIMITS } from "../../../lib/model/dynamic-config.ts";
import { ms, seconds } from "../../../lib/model/units.ts";
import { TimeLimits } from "../../../lib/runtime/time-limits.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { cluster, member } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

function bench() {
  const clock = new ManualClock();
  const log = recordingLog();
  const store = new MemoryStore({ cluster: new MemoryCluster({ clock, minTtl: seconds(4) }), clock });
  return { clock, log, store, limits: new TimeLimits({ store, clock, log, self: "a", initial: PATRONI_LIMITS }) };
}

test("until the store has answered the floors stay as they were; one that is away is asked again, one that has answered is not", async () => {
  const { log, store, limits } = bench();
  store.gate = () => ({ kind: "refuse" });
  await limits.ask();
  expect(limits.current).toEqual(PATRONI_LIMITS);
  let asked = 0;
  store.gate = () => {
    asked += 1;
    return { kind: "pass" };
  };
  await limits.ask();
  await limits.ask();
  expect(asked).toBe(1);
  expect(limits.current).toEqual({ ttlFloorMs: seconds(4), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) });
  expect(log.lines.filter((line) => line.includes("keeps a ttl of 4 s"))).toHaveLength(1);
});

test("a silent store holds a cycle up for two seconds, not for its whole deadline", async () => {
  const { clock, store, limits } = bench();
  store.cutOff();
  const asking = limits.ask();
  await clock.advance(2_000);
  await asking;
  expect(limits.current).toEqual(PATRONI_LIMITS);
});

test("a store that refuses to tell is asked once, and the strictest floors stay", async () => {
  const { clock, log } = bench();
  let asked = 0;
  const refusing = {
    limits: async () => {
      asked += 1;
      return { ok: false as const, error: { kind: "rejected" as const, reason: "Permission denied" } };
    },
  };
  const limits = new TimeLimits({ store: refusing, clock, log, self: "a", initial: PATRONI_LIMITS });
  await limits.ask();
  await limits.ask();
  expect(asked).toBe(1);
  expect(limits.current).toEqual(PATRONI_LIMITS);
  expect(log.lines.join("\n")).toContain("Permission denied");
});

test("when a Patroni appears the floor is 20 s again, and is told; when it has been gone for long enough, the store's", async () => {
  const { clock, log, limits } = bench();
  await limits.ask();
  const ours = [member("a"), member("b")];
  limits.note(cluster({ members: ours }));
  expect(limits.current.ttlFloorMs).toBe(seconds(4));
  limits.note(cluster({ members: [...ours, member("p", { product: null })] }));
  expect(limits.current).toEqual(PATRONI_LIMITS);
  expect(log.lines.filter((line) => line.includes("a Patroni is in the cluster (p): ttl is at least 20 s"))).toHaveLength(1);
  await clock.advance(PATRONI_REMEMBERED_MS - 1);
  limits.note(cluster({ members: ours }));
  expect(limits.current).toEqual(PATRONI_LIMITS);
  await clock.advance(ms(1));
  limits.note(cluster({ members: ours }));
  expect(limits.current.ttlFloorMs).toBe(seconds(4));
  expect(log.lines.filter((line) => line.includes("no Patroni is in the cluster any more"))).toHaveLength(1);
});
