// Goal: on real servers too, who has too little of the cluster's WAL does not lead, a former leader is neither preferred nor in a hurry,
// and what has diverged is replaced only where that is allowed.
// Method: nodes that were away while the others went on are the only ones left; the store stands outside, each node by a way of its own.

import { afterAll, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { startOutsideStore } from "../harness/outside-store.ts";
import { staysTrue, until } from "../harness/wait.ts";
import { withWays } from "../harness/ways.ts";

afterAll(() => TestCluster.stopAll());

/** In seconds: time enough for a busy machine to renew a lease in. */
const DYNAMIC = { ttl: 12, loop_wait: 2, retry_timeout: 4 };
const TTL_MS = 12_000;
/** The end of a lease, what the store adds to it, and a start. Nothing is judged by it. */
const PATIENCE_MS = 120_000;

async function configure(node: ClusterNode, change: (config: Tree) => void): Promise<void> {
  node.editConfig(change);
  expect((await node.api("/reload", { method: "POST" })).status).toBe(202);
}

/** The position that members are measured by. */
async function optime(cluster: TestCluster): Promise<number> {
  return (JSON.parse((await cluster.key("status"))?.value ?? "{}") as { optime?: number }).optime ?? 0;
}

async function untilFree(cluster: TestCluster): Promise<void> {
  await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: PATIENCE_MS });
}

/** It says so in each cycle, and the lock stays free: the least that the next ones show is that nobody has second thoughts. */
async function staysReplica(cluster: TestCluster, node: ClusterNode, why: string): Promise<void> {
  await node.untilLogs(why, { withinMs: PATIENCE_MS });
  const holder = async () => (await cluster.key("leader"))?.value ?? null;
  await staysTrue(`${node.name} does not lead`, holder, { forMs: TTL_MS, everyMs: 100 });
  expect((await node.status())["role"]).toBe("replica");
}

test("too far behind the last published position, or on an older timeline: not promoted until an operator allows it; what fails to be rewound is copied where that is allowed; the history keeps as many lines as it may", async () => {
  const store = await startOutsideStore();
  try {
    await TestCluster.with({ outside: store, dynamic: { ...DYNAMIC, max_timelines_history: 1 } }, async (cluster) => {
      const first = await cluster.untilHealthy();
      const [late, other] = cluster.others(first) as [ClusterNode, ClusterNode];

      expect(await late.terminate()).toBe(0);
      const before = await optime(cluster);
      await cluster.sql(first, "create table missed as select repeat('x', 1000) as x from generate_series(1, 4000)");
      await until("the new position is published", async () => (await optime(cluster)) > before + 2 * 1_048_576, { withinMs: PATIENCE_MS });
      await Promise.all([first.killHost(), other.killHost()]);
      late.start();
      await untilFree(cluster);
      await staysReplica(cluster, late, "My wal position exceeds maximum replication lag");
      await cluster.patchConfig({ maximum_lag_on_failover: 64 * 1_048_576 });
      await cluster.untilLeader({ among: [late] });
      await cluster.patchConfig({ maximum_lag_on_failover: null, check_timeline: true });

      // The former leader has WAL that nobody else has, and its pg_rewind fails.
      const failing = join(first.place.folder, "failing-rewind");
      writeFileSync(failing, "#!/bin/sh\necho no rewind today >&2\nexit 1\n", { mode: 0o755 });
      const mark = join(first.dataDir, "of-the-old-data");
      writeFileSync(mark, "");
      first.editConfig((config) => {
        (config["postgresql"] as Tree)["bin_name"] = { pg_rewind: relative(postgresBinDir(), failing) };
      });
      first.start();
      await first.untilLogs("no rewind today", { withinMs: PATIENCE_MS });
      const attempts = () => first.log.split("no rewind today").length;
      const begun = attempts();
      await until("it is tried again", () => attempts() > begun, { withinMs: PATIENCE_MS });
      expect(existsSync(mark)).toBe(true);
      expect(first.log).not.toContain("the data directory is replaced");
      await configure(first, (config) => {
        (config["postgresql"] as Tree)["remove_data_directory_on_rewind_failure"] = true;
      });
      other.start();
      expect(await cluster.untilHealthy()).toBe(late);
      expect(existsSync(mark)).toBe(false);
      expect(first.log).toContain("the data directory is replaced by a copy");
      expect(other.log).toContain("running pg_rewind");

      // The second timeline ended, too: of two lines one is kept.
      expect(await other.terminate()).toBe(0);
      expect(
        (await late.api("/switchover", { method: "POST", body: { leader: late.name, candidate: first.name }, timeoutMs: 40_000 })).status,
      ).toBe(200);
      expect(await cluster.untilHealthy({ nodes: [first, late] })).toBe(first);
      const lines = async () => JSON.parse((await cluster.key("history"))?.value ?? "[]") as readonly (readonly unknown[])[];
      await until("the second timeline's end is published", async () => (await lines()).some(([timeline]) => timeline === 2), {
        withinMs: PATIENCE_MS,
      });
      expect((await lines()).map(([timeline]) => timeline)).toEqual([2]);
      expect((await first.api("/history")).json).toEqual(await lines());

      await Promise.all([first.killHost(), late.killHost()]);
      other.start();
      await untilFree(cluster);
      await staysReplica(cluster, other, "My timeline 2 is behind last known cluster timeline 3");
      first.start();
      late.start();
      const leader = await cluster.untilHealthy();
      expect([first, late]).toContain(leader);
    });
  } finally {
    await store.stop();
  }
}, 400_000);

test("a former leader leaves the others primary_race_backoff to go first, and its higher priority holds nobody back", async () => {
  const extra = (index: number): Tree => ({ tags: index === 0 ? { failover_priority: 2 } : { nofailover: true } });
  await withWays({ nodes: 2, dynamic: { ...DYNAMIC, primary_race_backoff: 120 }, extra, start: false }, async (cluster, ways) => {
    const [old, other] = cluster.nodes as [ClusterNode, ClusterNode];
    old.start();
    await cluster.untilLeader();
    other.start();
    expect(await cluster.untilHealthy()).toBe(old);

    await ways.close(0);
    await untilFree(cluster);
    const standsBy = async () => {
      const { role, state } = await old.status();
      return role === "replica" && state === "running";
    };
    await until("the former leader serves reads", standsBy, { withinMs: PATIENCE_MS });
    // Nobody else may lead, and still it does not at once.
    await ways.reopen(0);
    await old.untilLogs("this node led before: the others go first for primary_race_backoff (120 s)", { withinMs: PATIENCE_MS });
    expect(await cluster.key("leader")).toBeNull();

    // The former leader answers, has the same WAL and a higher priority.
    await configure(other, (config) => {
      config["tags"] = { failover_priority: 1 };
    });
    expect(await cluster.untilLeader()).toBe(other);
    expect(other.log).not.toContain("has equally tolerable WAL position and priority 2");
    expect(await cluster.untilHealthy()).toBe(other);
  });
}, 400_000);
