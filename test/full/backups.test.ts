// Goal: a cluster and the real pgBackRest: the stanza is there with the cluster, a backup can be taken from whoever leads, replicas and
// another cluster are made of the repository.
// Method: three nodes and one repository, step by step in one life; a second cluster is restored from it to a point in time.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { ownCtl } from "../harness/ctl-tools.ts";
import { backedUpCluster, pgBackRestMissing, type TestRepository } from "../harness/pgbackrest.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 600_000;
const WITHIN_MS = 240_000;
const PATIENT = { withinMs: WITHIN_MS };
const missing = pgBackRestMissing();
let cluster: TestCluster;
let repository: TestRepository;

afterAll(async () => {
  await TestCluster.stopAll();
  repository?.remove();
}, LIMIT_MS);

/** Rows of `ctl backups`. */
async function backups(): Promise<readonly Tree[]> {
  const answer = await ownCtl(cluster).run(["backups", "-f", "json"]);
  expect(answer.status).toBe(0);
  return JSON.parse(answer.text) as readonly Tree[];
}

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

describe.skipIf(missing !== null)("a cluster with a repository", () => {
  beforeAll(async () => {
    if (missing !== null) return;
    ({ cluster, repository } = await backedUpCluster({ nodes: 3, dynamic: { loop_wait: 1 } }));
  }, LIMIT_MS);

  scenario("has its stanza when it is founded, and no backup yet", async () => {
    const leader = await cluster.untilLeader(PATIENT);
    expect(leader.log).toContain("stanza demo: created");
    expect(JSON.parse(repository.run(leader, "--output=json", "info"))[0].status).toMatchObject({ code: 2, message: "no valid backups" });
    const answer = await ownCtl(cluster).run(["backups"]);
    expect(answer.status).toBe(0);
    expect(answer.text).toContain("pgBackRest says: no valid backups");
  });

  scenario("a new primary is checked against the stanza, and a backup can be taken from it", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    await cluster.sql(leader, "CREATE TABLE t AS SELECT 1 AS n");
    await repository.backUp(leader, "full");
    await leader.killHost();
    const next = await cluster.untilLeader(PATIENT);
    expect(next).not.toBe(leader);
    leader.start();
    await cluster.untilHealthy(PATIENT);
    // By the callback, beside the loop: the segment that it waits for is of the new timeline.
    await until(
      "the archive has the new timeline",
      () => JSON.parse(repository.run(next, "--output=json", "info"))[0].archive[0].max.startsWith("00000002"),
      {
        withinMs: WITHIN_MS,
      },
    );
    await cluster.sql(next, "INSERT INTO t VALUES (2)");
    await repository.backUp(next, "incr");
    expect(await backups()).toMatchObject([{ Type: "full" }, { Type: "incr" }]);
  });

  scenario("a new replica is made of the repository, and streams", async () => {
    const [node] = cluster.others(await cluster.untilHealthy(PATIENT)) as [ClusterNode];
    const copies = () => node.log.split("replica has been created using pgbackrest").length - 1;
    const before = copies();
    await node.terminate();
    rmSync(node.dataDir, { recursive: true });
    node.start();
    await cluster.untilHealthy(PATIENT);
    expect(copies()).toBe(before + 1);
    expect(await cluster.sql<{ n: number }>(node, "SELECT n FROM t ORDER BY n")).toEqual([{ n: 1 }, { n: 2 }]);
  });

  scenario("another cluster is founded from the repository at a point in time, with the backup that was complete by then", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    const [row] = await cluster.sql<{ at: string }>(leader, "SELECT clock_timestamp()::text AS at");
    await cluster.sql(leader, "INSERT INTO t VALUES (3)");
    // A backup behind the target must not be chosen.
    repository.run(leader, "--type=incr", "backup");
    const at = row?.at ?? "";
    const labels = (await backups()).map(({ Backup }) => String(Backup));
    await TestCluster.with({ nodes: ["copy"], scope: "copy", start: false }, async (copy) => {
      const node = copy.node(0);
      repository.equip(node);
      node.editConfig((config) => {
        const bootstrap = config["bootstrap"] as Tree;
        const { command } = (config["postgresql"] as Tree)["pgbackrest"] as Tree;
        const recovery = (config["postgresql"] as Tree)["recovery_conf"] as Tree;
        // It reads the archive of the other, and must not write into it.
        Object.assign((config["postgresql"] as Tree)["parameters"] as Tree, { archive_mode: "off" });
        delete bootstrap["post_bootstrap"];
        bootstrap["method"] = "point_in_time";
        bootstrap["point_in_time"] = {
          command,
          before: at,
          recovery_conf: { ...recovery, recovery_target_time: at, recovery_target_timeline: "latest" },
        };
        (config["postgresql"] as Tree)["callbacks"] = {};
      });
      node.start();
      await copy.untilLeader(PATIENT);
      expect(await copy.sql<{ n: number }>(node, "SELECT n FROM t ORDER BY n")).toEqual([{ n: 1 }, { n: 2 }]);
      expect(node.log).toContain(`restoring ${labels[1]}`);
    });
  });

  scenario("the hook can be repeated, and does nothing for a replica", async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    const hook = (...words: readonly string[]) => {
      const [program = "", ...args] = [process.execPath, "run", "scripts/backrest.ts", leader.configPath, "stanza", ...words];
      const done = spawnSync(program, args, {
        encoding: "utf8",
        ...(leader.place.user.uid === null ? {} : { uid: leader.place.user.uid, gid: leader.place.user.gid ?? 0 }),
      });
      return [done.status, done.stdout, done.stderr];
    };
    expect(hook("on_role_change", "primary", "demo")).toEqual([0, "stanza demo: checked\n", ""]);
    expect(hook("on_role_change", "replica", "demo")).toEqual([0, "", ""]);
  });
});
