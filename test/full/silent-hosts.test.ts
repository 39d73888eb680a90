// Goal: the time from a silent host's last lease to the next write, often enough to trust it.
// Method: as in integration/silent-host.test.ts, again and again in one cluster of hosts; each round ends with a whole cluster.

import { afterAll, describe, expect, test } from "bun:test";
import { type HostCluster, watchLock, withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { ownMs } from "../harness/stall.ts";
import { until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

const ROUNDS = 8;
const SILENT_HOST_MAX_MS = 700;
const HOST_DEATH_MEDIAN_MAX_MS = 200;

const reason = whyNoNamespaces();
if (reason !== null) console.log(`skipped: hosts of their own: ${reason}`);

afterAll(() => HostNetwork.closeAll());

describe.skipIf(reason !== null)("silent hosts, again and again", () => {
  for (const loopWait of [1, 10]) {
    test(
      `at loop_wait ${loopWait}`,
      async () => {
        await withHostCluster({ nodes: 3, dynamic: { loop_wait: loopWait } }, async (hosts) => {
          const { cluster } = hosts;
          await cluster.untilHealthy();
          const writer = await cluster.writer();
          const times: { readonly total: number; readonly own: number }[] = [];
          for (let round = 0; round < ROUNDS; round++) times.push(await oneDeath(hosts, writer, round % 2 === 0 ? "killed" : "isolated"));
          const [total, own] = [sorted(times.map((time) => time.total)), sorted(times.map((time) => time.own))];
          console.log(`figure: silent host at loop_wait ${loopWait}: from the lock's end to the first write, ms: ${total.join(" ")}`);
          expect(own[Math.floor(own.length / 2)]).toBeLessThan(HOST_DEATH_MEDIAN_MAX_MS);
          expect(writer.overlaps()).toEqual([]);
        });
      },
      15 * 60_000,
    );
  }
});

function sorted(times: readonly number[]): readonly number[] {
  return times.map(Math.round).sort((left, right) => left - right);
}

/** `own`: without what the machine took away. */
async function oneDeath(hosts: HostCluster, writer: Writer, how: "killed" | "isolated") {
  const { cluster } = hosts;
  const leader = await cluster.untilHealthy();
  const lock = watchLock(cluster, leader);
  hosts.cut(leader);
  if (how === "killed") await leader.killHost();
  const gone = await lock;
  const taken = await writer.afterNowBy((name) => name !== leader.name, 10_000);
  // At once, so that the logs that are printed are those of this round.
  const own = ownMs(gone, taken.ackedAt);
  expect(own, `from the lock's end to the first write by ${taken.node}`).toBeLessThan(SILENT_HOST_MAX_MS);
  hosts.heal(leader);
  if (how === "killed") leader.start();
  const streams = async () => (await leader.status())["replication_state"] === "streaming";
  await until(`${leader.name} streams again`, streams, { withinMs: 60_000, everyMs: 50 });
  return { total: taken.ackedAt - gone, own };
}
