// Goal: a node whose neighbours are lost for good goes on with its own data after `raft recover`, and they come back as new ones.
// Method: a real cluster; two of three hosts killed and emptied; the real command on the third.

import { afterAll, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { runRaftCommand } from "../harness/raft-command.ts";
import { raftStatuses } from "../harness/raft-sight.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

test("on a node whose two neighbours are lost: its PostgreSQL leads again with every row, and a neighbour that comes back empty follows it", async () => {
  await TestCluster.with(
    { store: "raft", dynamic: { ttl: 5, loop_wait: 1, retry_timeout: 2, synchronous_mode: true } },
    async (cluster) => {
      const leader = await cluster.untilHealthy();
      const writer = await cluster.writer();
      await writer.afterNow(5_000);
      const [first, second] = cluster.others(leader) as [ClusterNode, ClusterNode];
      await Promise.all([first, second].map((node) => node.killHost()));
      await until("it has stepped down", async () => (await leader.health("/primary")) !== 200, { withinMs: 15_000 });
      expect(await leader.terminate()).toBe(0);
      for (const node of [first, second]) {
        rmSync(join(node.place.folder, "raft"), { recursive: true });
        rmSync(node.dataDir, { recursive: true });
      }
      const { uid, gid } = leader.place.user;
      const user = uid === null || gid === null ? {} : { uid, gid };
      const env = { PATH: process.env["PATH"] ?? "", HOME: leader.place.folder };
      const said = await runRaftCommand(["-c", leader.configPath, "recover", "--force"], { env, ...user });
      expect(said).toMatchObject({ status: 0, complaints: "" });
      leader.start();
      expect(await cluster.untilLeader({ withinMs: 30_000 })).toBe(leader);
      expect(await writer.lost(leader)).toEqual([]);
      first.start();
      await cluster.untilHealthy({ nodes: [leader, first] });
      const ids = (await raftStatuses(cluster.nodes)).map(({ cluster: id }) => id);
      expect(ids).toHaveLength(2);
      expect(new Set(ids).size).toBe(1);
      await until(
        "its data names the new Raft",
        () => readFileSync(join(leader.dataDir, "matriarch.raft"), "utf8").includes(ids[0] ?? "?"),
        {
          withinMs: 10_000,
        },
      );
      expect(existsSync(`${join(leader.place.folder, "raft")}.before-recover`)).toBe(true);
    },
  );
}, 120_000);
