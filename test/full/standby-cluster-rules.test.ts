// Goal: what a standby cluster changes and what it does not: permanent slots by their cluster_type, synchronous_mode without effect, and
// two clusters that change places through an archive alone, without a commit lost and without a rewind.
// Method: two clusters of real nodes over the store of the tests with one archive, driven by ctl and REST; what servers and logs show.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { give, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { SlotSight } from "../harness/slot-sight.ts";
import { StandbySite } from "../harness/standby-site.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 120_000;
const WITHIN_MS = 40_000;
const SLOTS = {
  on_primary: { type: "physical", cluster_type: "primary" },
  on_standby: { type: "physical", cluster_type: "standby" },
  events: { type: "logical", database: "postgres", plugin: "test_decoding", cluster_type: "primary" },
  anywhere: { type: "physical" },
};
let archive: string;
let both: StandbySite;

beforeAll(async () => {
  archive = mkdtempSync(join(tmpdir(), "archive-"));
  give(archive, serverUser());
  const parameters = {
    wal_level: "logical",
    archive_mode: "on",
    archive_command: `cp %p ${archive}/%f.part && mv ${archive}/%f.part ${archive}/%f`,
  };
  const dynamic = { synchronous_mode: true, slots: SLOTS, postgresql: { parameters } };
  both = await StandbySite.shared({ nodes: ["s1", "s2"], dynamic, standbyCluster: { recovery_min_apply_delay: "10ms" } });
  await both.main.patchConfig({ slots: SLOTS, postgresql: { parameters } });
  const restart = { method: "POST", body: { restart_pending: true }, timeoutMs: 60_000 };
  await until("m1 waits for a restart", async () => (await both.source.status())["pending_restart"] === true, { withinMs: WITHIN_MS });
  expect((await both.source.api("/restart", restart)).status).toBe(200);
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  if (archive !== undefined) rmSync(archive, { recursive: true, force: true });
}, LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => both.during(body), LIMIT_MS);
}

const restoring = () => `cp ${archive}/%f %p`;

/** Every node has the slots of the other members and these. */
async function untilSlots(cluster: TestCluster, names: readonly string[]): Promise<void> {
  const slots = new SlotSight(cluster);
  for (const node of cluster.nodes) await slots.until(node, [...cluster.others(node).map(({ name }) => name), ...names]);
}

async function statusOf(cluster: TestCluster): Promise<{ readonly optime: number }> {
  return JSON.parse((await cluster.key("status"))?.value ?? "{}") as { optime: number };
}

scenario("permanent slots are made where their cluster_type says", async () => {
  await both.untilStandbys();
  await untilSlots(both.main, ["anywhere", "events", "on_primary", "site"]);
  await untilSlots(both.site, ["anywhere", "on_standby"]);
});

scenario("a switchover of a standby cluster asks for no synchronous standby, whatever synchronous_mode says", async () => {
  const leader = await both.untilStandbys();
  const [other] = both.site.others(leader) as [ClusterNode];
  const answer = await leader.api("/switchover", { method: "POST", body: { leader: leader.name }, timeoutMs: 30_000 });
  expect([answer.status, answer.text]).toEqual([200, `Successfully switched over to "${other.name}"`]);
  expect(await both.untilStandbys()).toBe(other);
  expect(await both.site.key("sync")).toBeNull();
});

scenario("after all of its nodes were down, the standby leader has the settings of one again", async () => {
  await both.untilStandbys();
  await Promise.all(both.site.nodes.map((node) => node.terminate()));
  for (const node of both.site.nodes) node.start();
  const leader = await both.untilStandbys();
  const delay = async () => (await both.setting(leader, "recovery_min_apply_delay")) === "10ms";
  await until("its delay", delay, { withinMs: WITHIN_MS });
});

scenario(
  "two clusters change places through the archive alone, down to the shutdown checkpoint: the demoted one needs no rewind",
  async () => {
    const { main, site, source } = both;
    const leader = await both.untilStandbys();
    await both.untilCopied();
    await site.patchConfig({ standby_cluster: { host: null, port: null, primary_slot_name: null, restore_command: restoring() } });
    const fromArchive = async () => (await leader.status())["replication_state"] === "in archive recovery";
    await until("the site lives from the archive", fromArchive, { withinMs: WITHIN_MS });
    await main.sql(source, "INSERT INTO t VALUES (1000)");

    const demoted = await both.ctlOf(main, ["demote-cluster", "--force", "--restore-command", restoring()]);
    expect(demoted).toMatchObject({ status: 0, text: expect.stringContaining(" cluster is successfully demoted\n") });
    expect(source.log).toMatch(/archived [0-9A-F]{24}, which ends with the shutdown checkpoint/);
    const { optime } = await statusOf(main);
    const has = async () => ((await leader.status())["xlog"] as { replayed_location: number }).replayed_location >= optime;
    await until("the site has the shutdown checkpoint", has, { withinMs: WITHIN_MS });
    await untilSlots(main, ["anywhere", "on_standby", "site"]);

    const promoted = await both.ctl("promote-cluster", "--force");
    expect(promoted).toMatchObject({ status: 0, text: expect.stringContaining(" cluster is successfully promoted\n") });
    expect(await site.untilHealthy()).toBe(leader);
    expect(await site.sql(leader, "SELECT n FROM t WHERE n = 1000")).toEqual([{ n: 1000 }]);
    await untilSlots(site, ["anywhere", "events", "on_primary"]);
    const branched = async () => (JSON.parse((await site.key("history"))?.value ?? "[]") as readonly (readonly [number, number])[]).at(-1);
    const [, at] = (await until("the history of the site", branched, { withinMs: WITHIN_MS })) ?? [];
    expect(at).toBeGreaterThanOrEqual(optime);

    await site.sql(leader, "INSERT INTO t VALUES (2000)");
    await site.sql(leader, "SELECT pg_switch_wal()");
    const arrived = async () => (await main.sql(source, "SELECT 1 FROM t WHERE n = 2000")).length === 1;
    await until("the demoted cluster has what the other one writes", arrived, { withinMs: WITHIN_MS, everyMs: 200 });
    expect(source.log).not.toContain("pg_rewind");
    expect(await source.health("/standby-leader")).toBe(200);
  },
);
