// Goal: a cluster goes from Consul to a Raft of the nodes' own and back, under a writer, and changes its leader by the store that it is
// in. Method: three real nodes; while no supervisor holds a member of the Raft, workers/raft-node.ts does, with the same folder, as docs/move-dcs.md says.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { addressAmongMembers } from "../harness/cluster-store.ts";
import { Consul } from "../harness/consul.ts";
import { startCtl } from "../harness/ctl-tools.ts";
import { OutsideConsul } from "../harness/outside-store.ts";
import { RaftProcess } from "../harness/raft-processes.ts";
import { serverStarts } from "../harness/server-starts.ts";
import { RAFT_PASSWORD, raftStoreClient } from "../harness/store-sight.ts";

const LIMIT_MS = 300_000;
let consul: OutsideConsul;
let cluster: TestCluster;
let standIns: readonly RaftProcess[];

beforeAll(async () => {
  consul = new OutsideConsul(await Consul.start());
  cluster = await TestCluster.shared({ outside: consul, dynamic: { loop_wait: 1, maximum_lag_on_failover: 2000000 } });
  await cluster.untilHealthy();
  const { uid, gid } = cluster.node(0).place.user;
  const prefix = uid === null || gid === null ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  standIns = cluster.nodes.map(
    (node) =>
      new RaftProcess({ address: addressAmongMembers(node.place), folder: raftFolder(node), partners: () => partnersOf(node), prefix }),
  );
}, LIMIT_MS);
afterAll(async () => {
  await Promise.all((standIns ?? []).map((member) => member.kill()));
  await TestCluster.stopAll();
  await consul?.stop();
});

function raftFolder(node: ClusterNode): string {
  return join(node.place.folder, "raft");
}

function partnersOf(node: ClusterNode): readonly string[] {
  return cluster.others(node).map(({ place }) => addressAmongMembers(place));
}

function raftSection(node: ClusterNode): Tree {
  return {
    raft: {
      self_addr: addressAmongMembers(node.place),
      partner_addrs: partnersOf(node),
      data_dir: raftFolder(node),
      password: RAFT_PASSWORD,
    },
  };
}

function use(node: ClusterNode, section: Tree): void {
  node.editConfig((config: Tree) => {
    delete config["raft"];
    delete config["consul"];
    Object.assign(config, section);
  });
}

function standInOf(node: ClusterNode): RaftProcess {
  const standIn = standIns[cluster.nodes.indexOf(node)];
  if (standIn === undefined) throw new Error(`${node.name} has no stand-in`);
  return standIn;
}

function fileWith(name: string, section: Tree): string {
  const file = join(cluster.folder, name);
  writeFileSync(file, JSON.stringify({ scope: cluster.scope, ...section }), { mode: 0o600 });
  return file;
}

test(
  "the state of a living cluster is exported, and put in its place again only on request and in pause",
  () =>
    cluster.during(async () => {
      await cluster.untilHealthy();
      const config = fileWith("over-consul.yml", consul.client.section);
      const run = async (...args: readonly string[]) => {
        const command = startCtl(config, args);
        return [await command.status, command.text] as const;
      };
      const file = join(cluster.folder, "demo.json");
      expect(await run("export", "-o", file)).toEqual([0, ""]);
      expect(await run("import", file)).toEqual([1, expect.stringContaining("--replace puts this in its place")]);
      expect(await run("import", file, "--replace", "--force")).toEqual([1, expect.stringContaining("ctl pause --wait first")]);
      await cluster.patchConfig({ maximum_lag_on_failover: 3000000, pause: true });
      expect(await run("import", file, "--replace", "--force")).toEqual([0, expect.stringContaining("it stays in pause until ctl resume")]);
      const imported = JSON.parse((await cluster.key("config"))?.value ?? "{}") as Tree;
      expect([imported["maximum_lag_on_failover"], imported["pause"]]).toEqual([2000000, true]);
      expect(JSON.parse(readFileSync(file, "utf8")).keys).not.toHaveProperty("leader");
      expect((await run("resume", "--wait"))[0]).toBe(0);
      await cluster.untilHealthy();
    }),
  LIMIT_MS,
);

test(
  "a cluster goes from Consul to its own Raft and back, without a restart of PostgreSQL and without a lost write",
  () =>
    cluster.during(async () => {
      const overConsul = fileWith("over-consul.yml", consul.client.section);
      const overRaft = fileWith("over-raft.yml", raftStoreClient(cluster.nodes.map(({ place }) => addressAmongMembers(place))).section);
      const leader = await cluster.untilHealthy();
      const before = await serverStarts(cluster);
      const writer = await cluster.writer();

      for (const standIn of standIns) standIn.start();
      const there = startCtl(overConsul, ["move-dcs", "--to", overRaft, "--yes"]);
      await there.says("Now stop the supervisor on each node");
      for (const node of cluster.nodes) await node.terminate();
      await there.says("Now start the supervisor on each node");
      for (const node of cluster.nodes) {
        await standInOf(node).terminate();
        use(node, raftSection(node));
        node.start();
      }
      expect([await there.status, there.text]).toEqual([0, expect.stringContaining("Success: demo is decided by raft")]);
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(await serverStarts(cluster)).toEqual(before);
      const change = startCtl(overRaft, ["switchover", "--force"]);
      expect([await change.status, change.text]).toEqual([0, expect.stringContaining("Successfully switched over to ")]);
      const second = await cluster.untilHealthy();
      expect(second).not.toBe(leader);
      const between = await serverStarts(cluster);

      const back = startCtl(overRaft, ["move-dcs", "--to", overConsul, "--yes"]);
      await back.says("Now stop the supervisor on each node");
      for (const node of cluster.nodes) {
        await node.terminate();
        standInOf(node).start();
      }
      await back.says("Now start the supervisor on each node");
      for (const node of cluster.nodes) {
        use(node, consul.client.section);
        node.start();
      }
      expect([await back.status, back.text]).toEqual([0, expect.stringContaining("Success: demo is decided by consul")]);
      expect(await cluster.untilHealthy()).toBe(second);
      expect(await serverStarts(cluster)).toEqual(between);
      await writer.afterNowBy(second.name, 20_000);
      expect(writer.overlaps()).toEqual([]);
      expect(await writer.lost(second)).toEqual([]);
    }),
  LIMIT_MS,
);
