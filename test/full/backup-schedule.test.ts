// Goal: scheduled backups go on through deaths and failovers: taken by one replica at a time and never by the leader; one that dies is
// noticed and made up by another.
// Method: three nodes with the real pgBackRest and its TLS servers in one life; a schedule of every second keeps one under way nearly always.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { BackupServers } from "../harness/backup-servers.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { findPgBackRest, TestRepository } from "../harness/pgbackrest.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 900_000;
const WITHIN_MS = 400_000;
const PATIENT = { withinMs: WITHIN_MS };
const BEGINS = "backup: incr begins from this standby";
const DONE = "backup: incr is done: ";
const found = findPgBackRest();
const missing = "missing" in found ? found.missing : null;
let cluster: TestCluster;
let repository: TestRepository;
let servers: BackupServers | null = null;

if (missing !== null) process.stderr.write(`skipped, for pgBackRest cannot be had: ${missing}\n`);

afterAll(async () => {
  await TestCluster.stopAll();
  servers?.stop();
  repository?.remove();
}, LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

/** Who takes one now. */
function untilUnderWay(): Promise<ClusterNode> {
  return until(
    "a backup is under way",
    async () => {
      const claim = await cluster.key("backup_run");
      return claim === null ? null : cluster.node(String((JSON.parse(claim.value) as Tree)["node"]));
    },
    PATIENT,
  );
}

/** Backups begun by the node since it has been the leader of this moment. */
function begunAsLeader(leader: ClusterNode): number {
  const promoted = leader.log.lastIndexOf("promoted self to leader");
  return leader.log.slice(Math.max(0, promoted)).split(BEGINS).length - 1;
}

describe.skipIf(missing !== null)("scheduled backups", () => {
  beforeAll(async () => {
    if ("missing" in found) return;
    repository = new TestRepository(found.path);
    cluster = await TestCluster.shared({ nodes: 3, start: false, dynamic: { loop_wait: 1 } });
    servers = await BackupServers.start(repository, cluster.nodes);
    for (const node of cluster.nodes) {
      node.editConfig((config) => {
        config["pgbackrest"] = { ...(config["pgbackrest"] as Tree), schedule: { incr: "* * * * * *", retry_after: 2 } };
      });
      node.start();
    }
  }, LIMIT_MS);

  scenario("are taken by the replicas one after the other, and never by the leader", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    const replicas = cluster.others(leader);
    const count = (words: string) => replicas.reduce((sum, { log }) => sum + log.split(words).length - 1, 0);
    await until("three are done", () => count(DONE) >= 3, PATIENT);
    expect(begunAsLeader(leader)).toBe(0);
    // pgBackRest would have refused a second one at the same time.
    expect(replicas.some(({ log }) => log.includes("backup: incr failed"))).toBe(false);
    expect(count(BEGINS) - count(DONE)).toBeLessThanOrEqual(1);
  });

  scenario("one whose host dies is noticed, and made up by the other replica", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    const taker = await untilUnderWay();
    const [other] = cluster.others(leader, taker);
    if (other === undefined) throw new Error("there are three");
    const from = other.log.length;
    await taker.killHost();
    const told = () => [leader, other].some(({ log }) => log.includes(`backup: incr, which ${taker.name} took, is lost`));
    await until("somebody says that it is lost", told, PATIENT);
    await other.untilLogs(DONE, { ...PATIENT, from });
    expect(begunAsLeader(leader)).toBe(0);
    const shown = await ownCtl(cluster).run(["backups"]);
    expect([shown.status, shown.text]).toEqual([0, expect.stringMatching(new RegExp(`last \\S+ on ${other.name} at `))]);
    taker.start();
    await cluster.untilHealthy(PATIENT);
  });

  scenario("after a failover they go on on a replica of the new leader, which takes none", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    await untilUnderWay();
    await leader.killHost();
    const next = await cluster.untilLeader({ ...PATIENT, among: cluster.others(leader) });
    const [other] = cluster.others(leader, next);
    if (other === undefined) throw new Error("there are three");
    const from = other.log.length;
    await other.untilLogs(BEGINS, { ...PATIENT, from });
    await other.untilLogs(DONE, { ...PATIENT, from: other.log.indexOf(BEGINS, from) });
    expect(begunAsLeader(next)).toBe(0);
    leader.start();
    await cluster.untilHealthy(PATIENT);
  });
});
