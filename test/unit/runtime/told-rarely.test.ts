// Goal: what waits for an operator does not fill the log. Method: the loop itself over a memory store, with a clock that the test moves.

import { expect, test } from "bun:test";
import { ms, revision } from "../../../lib/model/units.ts";
import { unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import { HaLoop } from "../../../lib/runtime/ha-loop.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { primaryStatus } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

test("why a failed upgrade waits is told once, and again once a minute, however often the loop looks", async () => {
  const bench = new Bench();
  const context = await bench.node("replica", "b");
  context.postgres.inspect = async () => ({ dataDirectory: { kind: "valid", majorVersion: 17 }, process: { kind: "none" } });
  context.state.local.systemIdentifier = primaryStatus().systemIdentifier;
  const { revision: _, ...value } = { ...unreadableUpgrade(revision(1)), id: "20260131-120000", node: "a", message: "no room for it" };
  const written = await context.store.values.setUpgradeValue(value, null, { deadline: ms(Number.MAX_SAFE_INTEGER) });
  expect(written.ok).toBe(true);
  await refreshCluster(context);
  const log = { ...recordingLog(), heartbeat: () => undefined };
  const loop = new HaLoop({ ...context, log });
  const told = (): number => log.lines.filter((line) => /^INFO: .*no room for it/.test(line)).length;
  const after = async (times: number): Promise<number> => {
    for (let time = 0; time < times; time += 1) {
      expect(await loop.cycle()).toMatchObject({ kind: "wait" });
      await bench.clock.advance(5_000);
    }
    return told();
  };
  expect([await after(1), await after(11), await after(1), await after(11), await after(1)]).toEqual([1, 1, 2, 2, 3]);
});
