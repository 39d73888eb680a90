// Goal: the groups of one Citus cluster may be Patroni's or ours: events and rows of pg_dist_node mean the same to both.
// Method: a coordinator of one kind and workers of the other, with the stand-in for the extension (docs/mpp.md), over one Consul.

import { describe, expect, test } from "bun:test";
import { addressOf, CitusCluster, DATABASE, DistributedWriter } from "../harness/citus-cluster.ts";
import { ownCtl, patronictl } from "../harness/ctl-tools.ts";
import { findPatroni, insteadOfOurs, type Patroni } from "../harness/patroni.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 240_000;
const WITHIN_MS = 60_000;

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

/** All groups, and one of them, as patronictl lists them. */
async function listedAlike(citus: CitusCluster): Promise<void> {
  const section = { citus: { group: 0, database: DATABASE } };
  const [ours, theirs] = [ownCtl(citus.coordinator, {}, section), patronictl(patroni, citus.coordinator, {}, section)];
  for (const words of [
    ["list"],
    ["topology"],
    ["list", "-f", "json"],
    ["list", "-f", "tsv"],
    ["list", "-f", "yaml"],
    ["list", "--group", "1"],
  ]) {
    // Positions move on between two looks.
    const same = async () => {
      const [shown, wanted] = await Promise.all([ours.run(words), theirs.run(words)]);
      if (shown.text !== wanted.text) throw new Error(`\n${shown.text}\n${wanted.text}`);
      return true;
    };
    await until(`ctl ${words.join(" ")} shows what patronictl shows`, same, { withinMs: WITHIN_MS, everyMs: 500 });
  }
  expect(await ours.run(["switchover", "--force"])).toMatchObject({
    status: 1,
    text: expect.stringContaining("For Citus clusters the --group must me specified"),
  });
}

describe.skipIf(typeof found === "string")("a Citus cluster of Patroni's nodes and ours", () => {
  for (const theirs of ["coordinators", "workers"] as const) {
    test(
      `with Patroni's ${theirs}: a switchover of the workers holds the queries and moves the row`,
      async () => {
        const citus = await CitusCluster.start({
          coordinators: ["c1"],
          workers: ["w1", "w2"],
          prefixes: { [theirs]: insteadOfOurs(patroni) },
        });
        try {
          await citus.during(async () => {
            const coordinator = await citus.coordinator.untilHealthy();
            const leader = await citus.worker.untilHealthy();
            const [other = leader] = citus.worker.others(leader);
            const id = await citus.untilRegistered(coordinator, leader);
            await citus.untilVoter(other);
            await citus.sql(coordinator, "CREATE EXTENSION dblink SCHEMA public");
            await citus.sql(leader, "CREATE TABLE written (n int)");
            await listedAlike(citus);
            const before = (await citus.calls(coordinator)).length;
            const writer = new DistributedWriter(coordinator);
            await until("the first rows", () => writer.written > 3, { withinMs: WITHIN_MS });
            const body = { leader: leader.name, candidate: other.name };
            expect(await leader.api("/switchover", { method: "POST", body, timeoutMs: WITHIN_MS })).toMatchObject({ status: 200 });
            expect(await citus.untilRegistered(coordinator, other)).toBe(id);
            const { written } = writer;
            await until("more rows", () => writer.written > written + 3, { withinMs: WITHIN_MS });
            await writer.stop();
            expect(writer.failures).toEqual([]);
            const [held] = (await citus.calls(coordinator)).slice(before);
            expect(held).toBe(`update ${id} to ${addressOf(leader).replace(":", "-demoted:")}`);
          });
        } finally {
          await citus.stop();
        }
      },
      LIMIT_MS,
    );
  }
});
