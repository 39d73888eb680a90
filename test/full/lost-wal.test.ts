// Goal: a member whose WAL is lost says so and is copied again where the configuration allows it, and not before an operator's word where
// it does not. Method: the leader's host dies, its pg_wal is emptied while it is away, and it comes back beside another leader.

import { afterAll, expect, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { TTL_S } from "../harness/times.ts";

/** Nothing is judged by it. */
const PATIENT = { withinMs: 120_000 };
const DYNAMIC = { ttl: TTL_S, loop_wait: 1, retry_timeout: 3 };

afterAll(() => TestCluster.stopAll());

async function losesItsWal(cluster: TestCluster): Promise<ClusterNode> {
  const leader = await cluster.untilHealthy();
  await leader.killHost();
  await cluster.untilLeader({ ...PATIENT, among: cluster.others(leader) });
  const folder = join(leader.dataDir, "pg_wal");
  for (const name of readdirSync(folder)) if (/^[0-9A-F]{24}$/.test(name)) rmSync(join(folder, name));
  leader.start();
  return leader;
}

test("with remove_data_directory_on_rewind_failure it is copied again", async () => {
  const extra = () => ({ postgresql: { remove_data_directory_on_rewind_failure: true } });
  await TestCluster.with({ nodes: 2, witnesses: 1, dynamic: DYNAMIC, extra }, async (cluster) => {
    const lost = await losesItsWal(cluster);
    await cluster.untilHealthy(PATIENT);
    expect(lost.log).toContain("the local end of WAL cannot be read");
    expect(lost.log).toContain("the data directory is replaced by a copy");
  });
}, 400_000);

test("without it the directory stays, with what is wrong in the log, until an operator has it made anew", async () => {
  await TestCluster.with({ nodes: 2, witnesses: 1, dynamic: DYNAMIC }, async (cluster) => {
    const lost = await losesItsWal(cluster);
    await lost.untilLogs(/ERROR: rewind: .*(could not locate|could not open).*(.|\n)*ERROR: rewind: /, PATIENT);
    expect(lost.log).not.toContain("the data directory is replaced by a copy");
    const answer = await lost.api("/reinitialize", { method: "POST", body: { force: true } });
    expect(answer.status).toBe(200);
    await cluster.untilHealthy(PATIENT);
  });
}, 400_000);
