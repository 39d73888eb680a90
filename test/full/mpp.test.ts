// Goal: after the death of a worker's host, and after the coordinator has changed place, pg_dist_node is right again and queries go on.
// Method: two nodes in each group, with the stand-in for the extension (docs/mpp.md); SIGKILL of everything of a host, and switchovers.

import { expect, test } from "bun:test";
import { CitusCluster, DistributedWriter } from "../harness/citus-cluster.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 240_000;
/** The death of a host is noticed when its session ends. */
const WITHIN_MS = 60_000;

test(
  "a worker's host dies, the coordinator moves, and the rows follow each time",
  async () => {
    const citus = await CitusCluster.start({ coordinators: ["c1", "c2"], workers: ["w1", "w2"] });
    try {
      await citus.during(async () => {
        let coordinator = await citus.coordinator.untilHealthy();
        const worker = await citus.worker.untilHealthy();
        const [standby = worker] = citus.worker.others(worker);
        const id = await citus.untilRegistered(coordinator, worker);
        await citus.untilVoter(standby);
        await citus.sql(coordinator, "CREATE EXTENSION dblink SCHEMA public");
        await citus.sql(worker, "CREATE TABLE written (n int)");

        const writer = new DistributedWriter(coordinator);
        await until("the first rows", () => writer.written > 3, { withinMs: WITHIN_MS });
        await worker.killHost();
        expect((await citus.worker.untilLeader({ among: [standby], withinMs: WITHIN_MS })).name).toBe(standby.name);
        const { written } = writer;
        await until("rows on the new primary", () => writer.written > written + 3, { withinMs: WITHIN_MS });
        await writer.stop();
        worker.start();
        await citus.worker.untilHealthy();
        expect(await citus.untilRegistered(coordinator, standby)).toBe(id);
        const [{ n = 0 } = {}] = await citus.sql<{ n: number }>(standby, "SELECT count(DISTINCT n)::int AS n FROM written");
        // What was refused may have been written all the same; what was acknowledged has been.
        expect(n).toBeGreaterThanOrEqual(writer.written);

        const [next = coordinator] = citus.coordinator.others(coordinator);
        const isVoter = async () => (await citus.coordinator.key("0/sync"))?.value.includes(`"${next.name}"`);
        await until("the coordinator's standby has every commit", isVoter, { withinMs: WITHIN_MS });
        const body = { leader: coordinator.name, candidate: next.name };
        expect(await coordinator.api("/switchover", { method: "POST", body, timeoutMs: WITHIN_MS })).toMatchObject({ status: 200 });
        coordinator = await citus.coordinator.untilHealthy();
        expect(coordinator.name).toBe(next.name);
        expect(await citus.untilRegistered(coordinator, standby)).toBe(id);

        await citus.untilVoter(worker);
        const moving = new DistributedWriter(coordinator);
        await until("rows by the new coordinator", () => moving.written > 3, { withinMs: WITHIN_MS });
        const back = { leader: standby.name, candidate: worker.name };
        expect(await standby.api("/switchover", { method: "POST", body: back, timeoutMs: WITHIN_MS })).toMatchObject({ status: 200 });
        expect(await citus.untilRegistered(coordinator, worker)).toBe(id);
        await moving.stop();
        expect(moving.failures).toEqual([]);
      });
    } finally {
      await citus.stop();
    }
  },
  LIMIT_MS,
);
