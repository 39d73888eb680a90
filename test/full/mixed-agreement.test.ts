// Goal: Patroni's nodes and ours agree on who is synchronous, on slots and on history, whoever leads, and fail over in both directions
// without losing an acknowledged row.
// Method: two nodes of ours and one of Patroni's, synchronous; the leadership goes round by switchover, then by the death of a host.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { findPatroni, insteadOfOurs, type Patroni, Patronictl } from "../harness/patroni.ts";
import { until } from "../harness/wait.ts";

const found = findPatroni();
if (typeof found === "string") console.log(`skipped: Patroni: ${found}`);
const patroni = found as Patroni;

const ROUND = ["ours1", "theirs", "ours2", "theirs", "ours1"] as const;
const ANSWER_WITHIN_MS = 60_000;
/** Patroni's own cycles, and a slot that a standby makes only once it follows. */
const AGREED_WITHIN_MS = 30_000;
/** The old leader's lease, its patience of another ttl where it left no mark, and the rest. */
const TAKEN_OVER_WITHIN_MS = 50_000;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("a synchronous cluster of Patroni's node and ours", () => {
  test(
    "whoever leads: one sync state, the same slots, the same history",
    async () => {
      await TestCluster.with(mixed({ synchronous_mode: true, slots: { keep_me: { type: "physical" } } }), async (cluster) => {
        await cluster.untilHealthy();
        const writer = await cluster.writer();
        const ctl = new Patronictl(patroni, cluster);
        for (const [index, name] of ROUND.entries()) {
          const leader = await cluster.untilHealthy();
          if (leader.name !== name) {
            await synchronous(cluster, leader, name);
            const answer = await leader.api("/switchover", {
              method: "POST",
              body: { leader: leader.name, candidate: name },
              timeoutMs: ANSWER_WITHIN_MS,
            });
            expect(answer).toMatchObject({ status: 200, text: `Successfully switched over to "${name}"` });
            await cluster.untilHealthy();
          }
          await agreeOn(cluster, cluster.node(name), ctl, index);
        }
        const lines = JSON.parse((await cluster.key("history"))?.value ?? "[]") as readonly (readonly unknown[])[];
        expect(lines.map((line) => line.length)).toEqual(lines.map(() => 5));
        expect(writer.overlaps()).toEqual([]);
        expect(await writer.lost(cluster.node(ROUND.at(-1) ?? ""))).toEqual([]);
      });
    },
    5 * 60_000,
  );

  for (const first of ["theirs", "ours1"] as const) {
    test(
      `${first} leads and its host dies: no acknowledged row is lost`,
      async () => {
        await TestCluster.with({ ...mixed({ synchronous_mode: true }), start: false }, async (cluster) => {
          const dying = cluster.node(first);
          dying.start();
          await cluster.untilHealthy({ nodes: [dying] });
          for (const node of cluster.others(dying)) node.start();
          await cluster.untilHealthy();
          const writer = await cluster.writer();
          await until("somebody is synchronous", async () => (await cluster.syncStandbys()).length > 0, { withinMs: AGREED_WITHIN_MS });
          await writer.afterNow(ANSWER_WITHIN_MS);
          const [heir] = await cluster.syncStandbys();
          await dying.killHost();
          const taken = await writer.afterNowBy((name) => name !== first, TAKEN_OVER_WITHIN_MS);
          expect(taken.node).toBe(heir ?? "");
          dying.start();
          const leader = await cluster.untilHealthy();
          expect(leader.name).toBe(taken.node);
          expect(writer.overlaps()).toEqual([]);
          expect(await writer.lost(leader)).toEqual([]);
        });
      },
      3 * 60_000,
    );
  }
});

function mixed(dynamic: { readonly [key: string]: unknown }) {
  const network = (index: number) => ({ host: "127.0.0.1", prefix: index === 2 ? insteadOfOurs(patroni) : [] });
  return { nodes: ["ours1", "ours2", "theirs"], network, dynamic };
}

/** Waits until `name` may take over from `leader`; asks for two synchronous standbys where it may not otherwise. */
async function synchronous(cluster: TestCluster, leader: ClusterNode, name: string): Promise<void> {
  if ((await cluster.syncStandbys()).includes(name)) return;
  await cluster.patchConfig({ synchronous_node_count: 2 });
  const is = async () => (await cluster.syncStandbys()).includes(name);
  await until(`${name} is synchronous to ${leader.name}`, is, { withinMs: AGREED_WITHIN_MS, everyMs: 100 });
}

/** Every node's view of the cluster, and what the store and the leader's server say, are one. */
async function agreeOn(cluster: TestCluster, leader: ClusterNode, ctl: Patronictl, switchovers: number): Promise<void> {
  const others = cluster.others(leader);
  await until(
    `all agree under ${leader.name}`,
    async () => {
      const sync = JSON.parse((await cluster.key("sync"))?.value ?? "{}") as { leader?: string; sync_standby?: string | null };
      expect(sync.leader).toBe(leader.name);
      const standbys = (sync.sync_standby ?? "").split(",").filter((name) => name !== "");
      expect(standbys.length).toBeGreaterThan(0);
      for (const node of others) expect(await node.health("/sync")).toBe(standbys.includes(node.name) ? 200 : 503);
      const slots = await cluster.sql<{ name: string }>(leader, "select slot_name as name from pg_replication_slots order by 1");
      expect(slots.map(({ name }) => name)).toEqual([...others.map(({ name }) => name), "keep_me"].sort());
      const views = await Promise.all(
        cluster.nodes.map(async (node) => {
          const { members } = await cluster.list([node]);
          return members.map(({ name, role, state, timeline }) => ({ name, role, state, timeline }));
        }),
      );
      for (const view of views) expect(view).toEqual(views[0] ?? []);
      const histories = await Promise.all(cluster.nodes.map(async (node) => (await node.api("/history")).json));
      for (const history of histories) expect(history).toEqual(histories[0]);
      expect(histories[0]).toHaveLength(switchovers);
      const rows = await ctl.list();
      expect(rows.find((row) => row["Role"] === "Leader")?.["Member"]).toBe(leader.name);
      return true;
    },
    { withinMs: AGREED_WITHIN_MS, everyMs: 200 },
  );
}
