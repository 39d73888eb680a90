// Goal: every option of synchronous replication and every rule about who may lead does on real servers what docs/replication-modes.md says.
// Method: clusters of real nodes over the store of the tests, driven through PATCH /config, tags and the REST API; a watch over key and
// setting, and a client that writes every 10 ms.

import { afterAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { SyncWatch, syncKey, untilSync, waitedFor } from "../harness/sync-watch.ts";
import { staysTrue, until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const PATIENCE_MS = 60_000;
/** Nothing is judged by it: each step has its own, and a test that is cut off leaves its cluster beside the next one's. */
const LIMIT_MS = 400_000;
const PLACEHOLDER = "__patroni_strict_sync_replica_placeholder__";
const QUORUM = { ttl: 20, loop_wait: 5, retry_timeout: 5, synchronous_mode: "quorum" };

async function retag(node: ClusterNode, tags: Tree): Promise<void> {
  node.editConfig((config) => {
    config["tags"] = tags;
  });
  expect((await node.api("/reload", { method: "POST" })).status).toBe(202);
}

async function post(node: ClusterNode, path: string, body: Tree): Promise<readonly [number, string]> {
  const answer = await node.api(path, { method: "POST", body, timeoutMs: 40_000 });
  return [answer.status, answer.text];
}

function sorted(nodes: readonly ClusterNode[]): readonly string[] {
  return nodes.map(({ name }) => name).sort();
}

describe("while clients write, without a moment in which the key says more than PostgreSQL keeps", () => {
  test(
    "modes, numbers, tags and strictness change, and key and setting follow",
    async () => {
      await TestCluster.with({ nodes: ["pg-0", "pg-1", "pg-2"], dynamic: { ...QUORUM, synchronous_mode: "off" } }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        const [one, two] = cluster.others(leader) as [ClusterNode, ClusterNode];
        const [a = "", b = ""] = sorted([one, two]);
        const [nodeA, nodeB] = [cluster.node(a), cluster.node(b)];
        const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
        const watch = new SyncWatch(cluster);

        await cluster.patchConfig({ synchronous_mode: "quorum" });
        await untilSync(cluster, leader, { standbys: [a, b], quorum: 1 }, `ANY 1 ("${a}","${b}")`);
        await cluster.patchConfig({ synchronous_node_count: 2 });
        await untilSync(cluster, leader, { standbys: [a, b], quorum: 0 }, `ANY 2 ("${a}","${b}")`);
        // More than there are.
        await cluster.patchConfig({ synchronous_node_count: 3 });
        await cluster.patchConfig({ synchronous_node_count: 1, synchronous_mode: true });
        await until("one standby", async () => (await syncKey(cluster))?.standbys.length === 1, { withinMs: 10_000 });
        const [sync = ""] = (await syncKey(cluster))?.standbys ?? [];
        await untilSync(cluster, leader, { standbys: [sync], quorum: 0 }, `"${sync}"`);
        const [held, free] = sync === a ? [nodeA, nodeB] : [nodeB, nodeA];
        await retag(free, { sync_priority: 2 });
        await untilSync(cluster, leader, { standbys: [free.name], quorum: 0 }, `"${free.name}"`);
        await retag(free, { nosync: true });
        await untilSync(cluster, leader, { standbys: [held.name], quorum: 0 }, `"${held.name}"`);
        await cluster.patchConfig({ synchronous_mode: "quorum" });
        await untilSync(cluster, leader, { standbys: [held.name], quorum: 0 }, `ANY 1 ("${held.name}")`);
        await until("nosync is asynchronous", async () => (await free.health("/async")) === 200, { withinMs: 5_000 });
        expect(await free.health("/quorum")).toBe(503);
        await retag(free, {});
        await untilSync(cluster, leader, { standbys: [a, b], quorum: 1 }, `ANY 1 ("${a}","${b}")`);
        // One that may not lead is no voter while another may.
        await retag(free, { nofailover: true });
        await untilSync(cluster, leader, { standbys: [held.name], quorum: 0 }, `ANY 1 ("${held.name}")`);
        await retag(free, {});
        await untilSync(cluster, leader, { standbys: [a, b], quorum: 1 }, `ANY 1 ("${a}","${b}")`);

        await cluster.patchConfig({ synchronous_mode: "off" });
        await until("the key is gone", async () => ((await syncKey(cluster))?.leader ?? null) === null, { withinMs: 10_000 });
        await until("nobody is waited for", async () => (await waitedFor(cluster, leader)).setting === "", { withinMs: 10_000 });
        expect(await watch.stop()).toEqual([]);
        expect(await writer.lost(leader)).toEqual([]);
      });
    },
    LIMIT_MS,
  );

  test(
    "a standby whose replay stands still is not waited for under remote_apply, once it lags by maximum_lag_on_syncnode",
    async () => {
      const dynamic = { ...QUORUM, synchronous_mode: true, postgresql: { parameters: { synchronous_commit: "remote_apply" } } };
      await TestCluster.with({ dynamic }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        await until("one standby", async () => (await syncKey(cluster))?.standbys.length === 1, { withinMs: 10_000 });
        const [name = ""] = (await syncKey(cluster))?.standbys ?? [];
        const [other] = cluster.others(leader, cluster.node(name)) as [ClusterNode];
        // A replay that is paused by hand is resumed at once: the process itself stands still.
        const [replay] = await cluster.sql<{ pid: number }>(
          cluster.node(name),
          "select pid from pg_stat_activity where backend_type = 'startup'",
        );
        if (replay === undefined) throw new Error(`${name} replays nothing`);
        process.kill(replay.pid, "SIGSTOP");
        await cluster.patchConfig({ maximum_lag_on_syncnode: 1_000_000 });
        await cluster.sql(
          leader,
          "set synchronous_commit = local; create table big as select repeat('x', 1000) from generate_series(1, 5000)",
        );
        await untilSync(cluster, leader, { standbys: [other.name], quorum: 0 }, other.name);
        process.kill(replay.pid, "SIGCONT");
      });
    },
    LIMIT_MS,
  );

  test(
    "strict: alone nothing is acknowledged; the key keeps its voters, and one of them may still take over",
    async () => {
      await TestCluster.with({ dynamic: { ...QUORUM, synchronous_mode_strict: true, primary_start_timeout: 0 } }, async (cluster) => {
        const leader = await cluster.untilHealthy();
        const others = cluster.others(leader) as [ClusterNode, ClusterNode];
        const [a = "", b = ""] = sorted(others);
        await untilSync(cluster, leader, { standbys: [a, b], quorum: 1 }, `ANY 1 (${a},${b})`);
        const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
        await retag(others[1], { nosync: true });
        await untilSync(cluster, leader, { standbys: [others[0].name], quorum: 0 }, `ANY 1 (${others[0].name})`);
        // The supervisor brings it back as soon as it may.
        others[0].sigstop();
        others[0].killPostmaster();
        await untilSync(cluster, leader, { standbys: [others[0].name], quorum: 0 }, `ANY 1 (${PLACEHOLDER})`);
        await leader.untilLogs("No active replication connections from Patroni members and synchronous_mode_strict is requested", {
          withinMs: 5_000,
        });
        const before = writer.acknowledged.length;
        await staysTrue("nothing is acknowledged", () => (writer.acknowledged.length === before ? null : "a commit was"), { forMs: 2_000 });
        others[0].sigcont();
        await writer.afterNow(20_000);
        await untilSync(cluster, leader, { standbys: [others[0].name], quorum: 0 }, `ANY 1 (${others[0].name})`);
        expect(await cluster.untilHealthy()).toBe(leader);
        expect(await writer.lost(leader)).toEqual([]);
        expect(writer.acknowledged.filter(({ synchronousStandbyNames }) => synchronousStandbyNames === "")).toEqual([]);
      });
    },
    LIMIT_MS,
  );
});

describe("who may lead", () => {
  test(
    "a switchover goes to a voter only, a failover also elsewhere; a veto of pre_promote leaves the lead to another voter",
    async () => {
      await TestCluster.with({ dynamic: QUORUM, start: false }, async (cluster) => {
        // Where `armed` exists, whoever is the first to be elected is vetoed, and stays so.
        const [{ place }] = cluster.nodes as [ClusterNode];
        const [armed, elected] = [join(place.folder, "armed"), join(place.folder, "elected")];
        for (const node of cluster.nodes) {
          const script = join(node.place.folder, "veto.sh");
          const veto = `mkdir ${elected} 2>/dev/null && echo ${node.name} >${elected}/first\ntest "$(cat ${elected}/first)" != ${node.name}\n`;
          writeFileSync(script, `test -e ${armed} || exit 0\n${veto}`);
          node.editConfig((config) => {
            (config["postgresql"] as Tree)["pre_promote"] = `/bin/sh ${script}`;
          });
          node.start();
        }
        let leader = await cluster.untilHealthy();
        const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
        const watch = new SyncWatch(cluster);
        const voters = sorted(cluster.others(leader));
        await untilSync(cluster, leader, { standbys: voters, quorum: 1 }, `ANY 1 (${voters.join(",")})`);

        const [outsider, voter] = cluster.others(leader) as [ClusterNode, ClusterNode];
        await retag(outsider, { nosync: true });
        await untilSync(cluster, leader, { standbys: [voter.name], quorum: 0 }, `ANY 1 (${voter.name})`);
        expect(await post(outsider, "/switchover", { leader: leader.name, candidate: outsider.name })).toEqual([
          412,
          "candidate name does not match with sync_standby",
        ]);
        expect(await post(outsider, "/failover", { candidate: outsider.name })).toEqual([
          200,
          `Successfully failed over to "${outsider.name}"`,
        ]);
        expect(await cluster.untilHealthy()).toBe(outsider);
        leader = outsider;
        await untilSync(
          cluster,
          leader,
          { standbys: sorted(cluster.others(leader)), quorum: 1 },
          `ANY 1 (${sorted(cluster.others(leader)).join(",")})`,
        );

        // Without a candidate: whoever is elected first is vetoed, and the other one leads.
        const others = cluster.others(leader);
        writeFileSync(armed, "");
        const [status, text] = await post(leader, "/switchover", { leader: leader.name });
        const vetoed = cluster.node(readFileSync(join(elected, "first"), "utf8").trim());
        const [spared] = others.filter((node) => node !== vetoed) as [ClusterNode];
        expect(others).toContain(vetoed);
        expect([status, text]).toEqual([200, `Successfully switched over to "${spared.name}"`]);
        expect(await cluster.untilHealthy()).toBe(spared);
        expect(vetoed.log).toContain("pre_promote:");
        expect(await watch.stop()).toEqual([]);
        expect(writer.overlaps()).toEqual([]);
        expect(await writer.lost(spared)).toEqual([]);
      });
    },
    LIMIT_MS,
  );

  test(
    "of equals the higher failover_priority leads; priority 0 and nofailover never; the one who lost says why",
    async () => {
      const tags = [{}, { failover_priority: 1 }, { failover_priority: 2 }, { failover_priority: 0 }];
      const extra = (index: number): Tree => ({ tags: tags[index] as Tree });
      await TestCluster.with({ nodes: 4, dynamic: { ttl: 20, loop_wait: 5, retry_timeout: 5 }, extra, start: false }, async (cluster) => {
        const [first, low, high, never] = cluster.nodes as [ClusterNode, ClusterNode, ClusterNode, ClusterNode];
        first.start();
        if (cluster.store === "raft") for (const node of [low, high, never]) node.start();
        const leader = await cluster.untilLeader();
        if (cluster.store === "consul") for (const node of [low, high, never]) node.start();
        expect(await cluster.untilHealthy()).toBe(leader);
        if (leader !== first)
          expect(await post(leader, "/switchover", { leader: leader.name, candidate: first.name })).toMatchObject([
            200,
            expect.any(String),
          ]);
        expect(await cluster.untilHealthy()).toBe(first);
        // Only of equals priorities decide: who has just turned to the new leader may lack its last record.
        await until("all have the same WAL", async () => (await cluster.list([first])).members.every(({ lag = 0 }) => lag === 0), {
          withinMs: PATIENCE_MS,
        });
        expect(await first.terminate()).toBe(0);
        expect(await cluster.untilLeader({ withinMs: 15_000 })).toBe(high);
        await never.untilLogs("following a different leader because I am not allowed to promote", { withinMs: 5_000 });
        expect(await post(high, "/failover", { candidate: never.name })).toEqual([
          412,
          "failover is not possible: no good candidates have been found",
        ]);
        first.start();
        expect(await cluster.untilHealthy()).toBe(high);
        await retag(never, { failover_priority: 0, nofailover: false });
        await never.untilLogs(
          "Conflicting configuration between nofailover: False and failover_priority: 0. Defaulting to nofailover: False",
          {
            withinMs: 5_000,
          },
        );
        await until(
          "it may fail over now",
          async () =>
            (await cluster.list([high])).members.some(({ name, tags: shown }) => name === never.name && shown?.["nofailover"] === false),
          {
            withinMs: 10_000,
          },
        );
        expect(await post(high, "/failover", { candidate: never.name })).toEqual([200, `Successfully failed over to "${never.name}"`]);
      });
    },
    LIMIT_MS,
  );
});

test(
  "the host of the primary dies in quorum mode: an elected voter leads, and nothing acknowledged is lost",
  async () => {
    await TestCluster.with({ nodes: 4, dynamic: { ...QUORUM, loop_wait: 2, synchronous_node_count: 2 } }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const voters = sorted(cluster.others(leader));
      await untilSync(cluster, leader, { standbys: voters, quorum: 1 }, `ANY 2 (${voters.join(",")})`);
      const writer = await cluster.writer({ answerMaxMs: PATIENCE_MS });
      const watch = new SyncWatch(cluster);
      await writer.afterNow(5_000);
      const diedAt = performance.now();
      await leader.killHost();
      const next = cluster.node((await writer.afterNowBy((name) => name !== leader.name, 60_000)).node);
      await writer.afterNow(5_000);
      console.log(`${cluster.store}: the primary's host died in quorum mode: write gap ${Math.round(writer.longestGap(diedAt).ms)} ms`);
      expect(voters).toContain(next.name);
      expect(next.log).toContain("Got quorum vote from");
      const rest = sorted(cluster.others(leader, next));
      await untilSync(cluster, next, { standbys: rest, quorum: 0 }, `ANY 2 (${rest.join(",")})`);
      leader.start();
      expect(await cluster.untilHealthy()).toBe(next);
      expect(await watch.stop()).toEqual([]);
      expect(writer.overlaps()).toEqual([]);
      expect(await writer.lost(next)).toEqual([]);
      // The promotion waits for whoever comes; then each commit waits for a standby.
      expect(
        writer.acknowledged.filter(
          ({ sentAt, streaming, synchronousStandbyNames }) => sentAt > diedAt && streaming > 0 && synchronousStandbyNames === "",
        ),
      ).toEqual([]);
    });
  },
  LIMIT_MS,
);
