// Goal: a running cluster goes from one store to another while its PostgreSQLs run on and a client writes; at no moment do nodes decide by
// two stores. Method: two real nodes over a Raft of its own process, then over a real Consul; supervisors are stopped and started as an
// operator would, one too early and one with the store that was left. The way there and back over members inside nodes is in test/full.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { startCtl } from "../harness/ctl-tools.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { serverStarts } from "../harness/server-starts.ts";

const LIMIT_MS = 300_000;
let raft: OutsideStore;
let consul: OutsideStore;
let cluster: TestCluster;

beforeAll(async () => {
  [raft, consul] = await Promise.all([startOutsideStore("raft"), startOutsideStore("consul")]);
  // The Raft keeps so short a ttl; Consul then holds to its own limit.
  cluster = await TestCluster.shared({
    nodes: 2,
    outside: raft,
    dynamic: { ttl: 3, loop_wait: 1, retry_timeout: 1, maximum_lag_on_failover: 2000000 },
  });
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  await Promise.all([raft.stop(), consul.stop()]);
});

function fileFor(store: OutsideStore): string {
  const file = join(cluster.folder, `${store.kind}.yml`);
  writeFileSync(file, JSON.stringify({ scope: cluster.scope, ...store.client.section }), { mode: 0o600 });
  return file;
}

function use(node: ClusterNode, store: OutsideStore): void {
  node.editConfig((config: Tree) => {
    delete config["raft"];
    delete config["consul"];
    Object.assign(config, store.client.section);
  });
}

test(
  "a cluster moves from the Raft to Consul: PostgreSQL and its clients go on, and whoever starts with the wrong store ends",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const [other] = cluster.others(leader) as [ClusterNode];
      const [before, timeline] = [await serverStarts(cluster), (await leader.status())["timeline"]];
      const writer = await cluster.writer();
      const [old, next] = [fileFor(raft), fileFor(consul)];
      const check = startCtl(old, ["move-dcs", "--to", next, "--check"]);
      expect([await check.status, check.text]).toEqual([0, expect.stringContaining("Nothing was changed.\n")]);

      const move = startCtl(old, ["move-dcs", "--to", next, "--yes"]);
      await move.says("Now stop the supervisor on each node");
      // Too early: the new store is reserved, so this one promotes nobody.
      await other.terminate();
      use(other, consul);
      other.start();
      expect(await other.exited).toBe(1);
      expect(other.log).toContain("system ID mismatch");
      await leader.terminate();
      await move.says("Now start the supervisor on each node");
      // Too late: the old store is sealed.
      leader.start();
      expect(await leader.exited).toBe(1);
      await writer.afterNowBy(leader.name, 20_000);

      use(leader, consul);
      for (const node of [other, leader]) node.start();
      expect([await move.status, move.text]).toEqual([0, expect.stringContaining("Success: demo is decided by consul")]);

      expect(await serverStarts(cluster)).toEqual(before);
      expect((await leader.status())["timeline"]).toBe(timeline);
      const sight = consul.sight();
      const key = async (name: string) => (await sight.key(cluster.path(name)))?.value ?? null;
      expect(await key("leader")).toBe(leader.name);
      expect(JSON.parse((await key("config")) ?? "{}")).toMatchObject({ maximum_lag_on_failover: 2000000 });
      expect(JSON.parse((await key("config")) ?? "{}")).not.toHaveProperty("pause");
      await sight.close();
      const again = startCtl(old, ["export"]);
      expect([await again.status, again.text]).toEqual([1, expect.stringContaining("was moved to another store")]);
      await writer.afterNowBy(leader.name, 20_000);
      expect(writer.overlaps()).toEqual([]);
      expect(new Set(writer.acknowledged.map(({ node }) => node))).toEqual(new Set([leader.name]));
      expect(await writer.lost(leader)).toEqual([]);
    }),
  LIMIT_MS,
);
