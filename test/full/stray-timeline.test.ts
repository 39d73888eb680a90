// Goal: where the archive has the history of a timeline that nobody leads, as after a promotion by hand, an operator is told what to do.
// Method: two real nodes with one archive, in pause; the log of the one that was promoted.

import { afterAll, expect, test } from "bun:test";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

/** Nothing is judged by it. */
const PATIENT = { withinMs: 120_000 };
const TOLD = "take 00000002.history out of the archive";

afterAll(() => TestCluster.stopAll());

test("the log names the file of the archive that leads a replica away from its leader, and without it the replica comes back", async () => {
  const dynamic = { loop_wait: 1, postgresql: { parameters: { archive_mode: "on" } } };
  await TestCluster.with({ nodes: 2, start: false, dynamic }, async (cluster) => {
    const archive = join(cluster.folder, "wal");
    for (const node of cluster.nodes) {
      node.archiveInto(archive);
      node.start();
    }
    const leader = await cluster.untilHealthy(PATIENT);
    const [replica] = cluster.others(leader) as [ClusterNode];
    await cluster.patchConfig({ pause: true });
    const paused = async () => (await replica.status())["pause"] === true && (await leader.status())["pause"] === true;
    await until("both know of the pause", paused, PATIENT);
    await cluster.sql(replica, "SELECT pg_promote()");
    await until("the archive has its history", () => existsSync(join(archive, "00000002.history")), PATIENT);
    const from = replica.log.length;
    await cluster.patchConfig({ pause: null });
    await replica.untilLogs(TOLD, { ...PATIENT, from });
    for (const name of readdirSync(archive)) if (name.startsWith("00000002")) rmSync(join(archive, name));
    expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
    await cluster.sql(leader, "CREATE TABLE after AS SELECT 1 AS n");
    await until("it has what the leader writes", async () => (await cluster.sql(replica, "SELECT n FROM after")).length === 1, PATIENT);
  });
}, 400_000);
