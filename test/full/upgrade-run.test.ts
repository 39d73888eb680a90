// Goal: `ctl upgrade --run` takes a cluster of PostgreSQL 13 to the installed version, with its data, its access rules and its replicas, and
// tells how long nobody could write. Method: three real nodes, a client that writes all the time, and the operator's one command.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";

const LIMIT_MS = 900_000;
let cluster: TestCluster;
let ctl: CtlTool;

beforeAll(async () => {
  const bin_dir = postgres13();
  cluster = await TestCluster.shared({ nodes: 3, extra: () => ({ postgresql: { bin_dir } }) });
  ctl = ownCtl(cluster);
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

async function serverVersions(): Promise<readonly number[]> {
  return Promise.all(cluster.nodes.map(async (node) => Math.floor(((await node.status())["server_version"] as number) / 10_000)));
}

test(
  "three nodes are upgraded with links: same data, new programs in every file, access rules and settings kept",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const next = postgresBinDir();
      await cluster.sql(leader, "create table kept as select generate_series(1, 1000) as n");
      await cluster.sql(leader, "alter system set work_mem = '5MB'");
      const identifier = (await cluster.key("initialize"))?.value;
      const rules = readFileSync(`${leader.dataDir}/pg_hba.conf`, "utf8");
      const writer = await cluster.writer();

      const plan = await ctl.run(["upgrade", "--run", "--plan", "--to-bin-dir", next]);
      expect([plan.status, plan.text]).toEqual([0, expect.stringContaining("Nothing was changed.")]);
      const done = await ctl.run(["upgrade", "--run", "--to-bin-dir", next, "--force"]);
      expect([done.status, done.text]).toEqual([0, expect.stringMatching(/Upgrade [0-9-]+: done\n$/)]);

      const after = await cluster.untilHealthy();
      expect(after.name).toBe(leader.name);
      await writer.afterNowBy(leader.name, 20_000);
      const gaps = writer.acknowledged.slice(1).map((row, at) => row.ackedAt - (writer.acknowledged[at]?.ackedAt ?? row.ackedAt));
      // The figure is for a quiet machine: what a busy one takes is told, and judged by nobody.
      process.stderr.write(`write outage of the upgrade: ${Math.round(Math.max(...gaps))} ms\n`);
      expect(await writer.lost(leader)).toEqual([]);
      await writer.stop();

      expect(await serverVersions()).toEqual([15, 15, 15]);
      expect((await cluster.key("initialize"))?.value).not.toBe(identifier as string);
      expect(await cluster.sql(leader, "select count(*)::int as rows, current_setting('work_mem') as mem from kept")).toEqual([
        { rows: 1000, mem: "5MB" },
      ]);
      expect(await cluster.sql(leader, "select count(*)::int as n from pg_stats where tablename = 'kept'")).toEqual([{ n: 1 }]);
      for (const node of cluster.nodes) {
        expect((node.config["postgresql"] as Tree)["bin_dir"]).toBe(next);
        expect(readdirSync(node.place.folder).filter((name) => name.startsWith("node.yml.before-upgrade-"))).toHaveLength(1);
      }
      const kept = readdirSync(leader.place.folder).find((name) => name.startsWith("data.before-upgrade-"));
      expect(existsSync(`${leader.place.folder}/${kept}/global/pg_control.old`)).toBe(true);
      expect(readFileSync(`${leader.dataDir}/pg_hba.conf`, "utf8")).toBe(rules);
      const back = await ctl.run(["upgrade", "--rollback", "--force"]);
      expect([back.status, back.text]).toEqual([1, expect.stringContaining("shares its files with the old data")]);
    }),
  LIMIT_MS,
);
