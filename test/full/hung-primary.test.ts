// Goal: a primary whose PostgreSQL hangs costs as much as one that crashed and does not come back: primary_start_timeout. What keeps us from
// asking it is told, and an operator's restart gets through to it all the same.
// Method: a real cluster under a writer; all processes of the leader's PostgreSQL are stopped by a signal, or its socket is taken away.

import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ProcessFacts, sendSignal, serverDirectory, serverProcesses } from "../../lib/postgres/processes.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { TTL_S } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

/** Nothing is judged by it. */
const PATIENT = { withinMs: 120_000 };

afterAll(() => TestCluster.stopAll());

const DYNAMIC = { ttl: TTL_S, loop_wait: 1, retry_timeout: 3, primary_start_timeout: 5, synchronous_mode: true };

test("a primary that hangs is stopped and its lock given to a replica; nothing that was confirmed is lost, and it comes back as a replica", async () => {
  await TestCluster.with({ dynamic: DYNAMIC }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    await until("a synchronous standby", async () => (await cluster.syncStandbys()).length > 0, PATIENT);
    const writer = await cluster.writer();
    const stopped = serverPids(leader);
    for (const pid of stopped) process.kill(pid, "SIGSTOP");
    const next = await cluster.untilLeader({ ...PATIENT, among: cluster.others(leader) });
    await writer.afterNowBy(next.name, PATIENT.withinMs);
    expect(leader.log).toContain("PostgreSQL runs, but has not answered for");
    expect(leader.log).toContain("has served nobody for longer than primary_start_timeout, and a replica can take over");
    // Those of before are ended, not left to go on some day.
    expect(serverPids(leader).filter((pid) => stopped.includes(pid))).toEqual([]);
    await cluster.untilHealthy(PATIENT);
    expect(writer.overlaps()).toEqual([]);
    expect(await writer.lost(await cluster.untilLeader())).toEqual([]);
  });
}, 400_000);

test("a primary whose socket was taken away is asked over TCP, which is told; a restart makes it again", async () => {
  await TestCluster.with({ nodes: 1, dynamic: DYNAMIC }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    const socket = join(leader.place.folder, `.s.PGSQL.${leader.place.postgresPort}`);
    const pid = leader.postmasterPid();
    rmSync(socket);
    await endOurBackends(cluster, leader);
    await leader.untilLogs("is gone: it is asked over TCP", PATIENT);
    await until("it is the primary", async () => (await leader.health("/primary")) === 200, PATIENT);
    expect(leader.postmasterPid()).toBe(pid);
    expect((await restart(leader)).status).toBe(200);
    expect(leader.postmasterPid()).not.toBe(pid);
    expect(existsSync(socket)).toBe(true);
  });
}, 400_000);

test("a primary whose postmaster.pid was removed is asked where it listens, for as long as it runs", async () => {
  await TestCluster.with({ nodes: 1, dynamic: DYNAMIC }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    // PostgreSQL looks after its file once a minute from its start on, and ends without it.
    expect((await restart(leader)).status).toBe(200);
    const pid = leader.postmasterPid();
    await until("it is the primary", async () => (await leader.health("/primary")) === 200, PATIENT);
    rmSync(join(leader.dataDir, "postmaster.pid"));
    const from = leader.log.length;
    await endOurBackends(cluster, leader);
    await until("it is the primary", async () => (await leader.health("/primary")) === 200, PATIENT);
    expect(leader.log.slice(from)).not.toContain("PostgreSQL ended unasked");
    expect(serverPids(leader)).toContain(Number(pid));
  });
}, 400_000);

test("where PostgreSQL lets us in no more it is told, and a restart that an operator asks for is done and mends what it can", async () => {
  await TestCluster.with({ nodes: 1, dynamic: DYNAMIC }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    const pid = leader.postmasterPid();
    writeFileSync(join(leader.dataDir, "pg_hba.conf"), "local all all reject\nhost all all 0.0.0.0/0 reject\n");
    // The postmaster reads it a moment later, and this session goes on: its own end and ours come from it, when nobody gets in any more.
    await cluster.sql(leader, "select pg_reload_conf()");
    await until(
      "nobody gets in",
      () =>
        cluster.sql(leader, "select 1").then(
          () => null,
          () => true,
        ),
      PATIENT,
    );
    for (const each of serversOf(leader)) if (/ postgres postgres /.test(commandOf(each.pid))) sendSignal(each, "SIGTERM");
    await leader.untilLogs("PostgreSQL runs, but cannot be asked: ", PATIENT);
    expect((await restart(leader)).status).toBe(200);
    expect(leader.postmasterPid()).not.toBe(pid);
    await cluster.untilHealthy(PATIENT);
  });
}, 400_000);

function restart(node: ClusterNode): Promise<{ readonly status: number }> {
  return node.api("/restart", { method: "POST", body: {}, timeoutMs: PATIENT.withinMs });
}

/** The product asks on connections that it keeps: those are ended, so that it has to come in again. */
async function endOurBackends(cluster: TestCluster, node: ClusterNode): Promise<void> {
  await cluster.sql(node, "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'matriarch'");
}

function serverPids(node: ClusterNode): readonly number[] {
  return serversOf(node).map(({ pid }) => pid);
}

function serversOf(node: ClusterNode): readonly ProcessFacts[] {
  const directory = serverDirectory(node.dataDir);
  return directory === null ? [] : serverProcesses(directory);
}

/** As PostgreSQL shows it: `postgres: CLUSTER: USER DATABASE FROM STATE`. */
function commandOf(pid: number): string {
  return existsSync(`/proc/${pid}/cmdline`) ? readFileSync(`/proc/${pid}/cmdline`, "latin1") : "";
}
