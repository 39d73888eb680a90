// Goal: `ctl restore` brings a cluster back to a point in time and keeps the old data, which `--undo` takes into use again.
// Method: one node with the real pgBackRest; three nodes, failures and deaths are in test/full/restore.test.ts.

import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { dirname } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { findPgBackRest, TestRepository } from "../harness/pgbackrest.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 300_000;
const PATIENT = { withinMs: 120_000 };
const found = findPgBackRest();
const missing = "missing" in found ? found.missing : null;

if (missing !== null) process.stderr.write(`skipped, for pgBackRest cannot be had: ${missing}\n`);

afterAll(() => TestCluster.stopAll(), LIMIT_MS);

describe.skipIf(missing !== null)("ctl restore", () => {
  test(
    "says what it would do, restores to the point in time, and keeps the old data",
    async () => {
      if ("missing" in found) return;
      const repository = new TestRepository(found.path);
      try {
        await TestCluster.with({ nodes: 1, start: false, dynamic: { loop_wait: 1 } }, async (cluster) => {
          const node = cluster.node(0);
          const ctl = ownCtl(cluster);
          const rows = async () => (await cluster.sql<{ n: number }>(node, "SELECT n FROM t ORDER BY n")).map(({ n }) => n);
          repository.equip(node);
          node.start();
          await cluster.untilLeader(PATIENT);
          const early = await ctl.run(["restore", "--latest", "--yes"]);
          expect([early.status, early.text]).toEqual([1, expect.stringContaining("there is no backup: no valid backups")]);
          await cluster.sql(node, "CREATE TABLE t AS SELECT 1 AS n");
          await repository.backUp(node, "full");
          await cluster.sql(node, "INSERT INTO t VALUES (2)");
          const [row] = await cluster.sql<{ at: string }>(
            node,
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00') AS at",
          );
          await cluster.sql(node, "INSERT INTO t VALUES (3)");
          await repository.archive(cluster, node);
          const at = row?.at ?? "";
          const plan = await ctl.run(["restore", "--to", at, "--plan"]);
          expect(plan.status).toBe(0);
          expect(plan.text).toContain(`recovered to ${at}; what was committed later is not in it`);
          expect(await rows()).toEqual([1, 2, 3]);

          const restored = await ctl.run(["restore", "--to", at, "--yes"]);
          expect([restored.status, restored.text]).toEqual([0, expect.stringContaining(": done\n")]);
          await cluster.untilHealthy(PATIENT);
          expect(await rows()).toEqual([1, 2]);
          expect((await cluster.list()).members[0]?.timeline).toBe(2);
          // What recovered archived nothing; what it left to be archived is, once the node leads.
          const archived = () => readdirSync(repository.folder, { recursive: true }).some((name) => /00000002\.history/.test(String(name)));
          await until("the new timeline is in the archive", archived, PATIENT);
          const beside = () =>
            readdirSync(dirname(node.dataDir)).flatMap((name) => /^data\.(before-restore|restored)-[0-9-]+$/.exec(name)?.[1] ?? []);
          expect(beside()).toEqual(["before-restore"]);

          await cluster.sql(node, "INSERT INTO t VALUES (4)");
          const back = await ctl.run(["restore", "--undo", "--yes"]);
          expect([back.status, back.text]).toEqual([0, expect.stringContaining(": taken back\n")]);
          await cluster.untilHealthy(PATIENT);
          expect(await rows()).toEqual([1, 2, 3]);
          expect([beside(), (await cluster.list()).members[0]?.timeline]).toEqual([["restored"], 3]);
          // Its timeline is in the archive, and what is written goes there.
          await repository.archive(cluster, node);
          const late = await ctl.run(["restore", "--undo", "--yes"]);
          expect([late.status, late.text]).toEqual([1, expect.stringContaining("it was taken back already")]);
        });
      } finally {
        repository.remove();
      }
    },
    LIMIT_MS,
  );
});
