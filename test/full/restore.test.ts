// Goal: a restore of a whole cluster comes to its end although whoever has a part in it dies at any step; until then nobody else leads, and
// no directory is lost.
// Method: three nodes with the real pgBackRest in one life; hosts and supervisors are killed in the phases that the DCS shows.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { backedUpCluster, pgBackRestMissing, type TestRepository } from "../harness/pgbackrest.ts";
import { PROMPT } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 900_000;
const WITHIN_MS = 400_000;
const PATIENT = { withinMs: WITHIN_MS };
const missing = pgBackRestMissing();
let cluster: TestCluster;
let repository: TestRepository;
let ctl: CtlTool;

afterAll(async () => {
  await TestCluster.stopAll();
  repository?.remove();
}, LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

interface Shown {
  readonly phase: string;
  readonly node: string;
  readonly cloned: readonly string[];
  readonly message: string | null;
}

async function shown(): Promise<Shown> {
  return JSON.parse((await cluster.key("restore"))?.value ?? "{}") as Shown;
}

async function untilPhase(...phases: readonly string[]): Promise<Shown> {
  return await until(
    `the restore is in phase ${phases.join(" or ")}`,
    async () => {
      const now = await shown();
      return phases.includes(now.phase) ? now : null;
    },
    { withinMs: WITHIN_MS, everyMs: 20 },
  );
}

async function rowsOf(node: ClusterNode): Promise<readonly number[]> {
  return (await cluster.sql<{ n: number }>(node, "SELECT n FROM t ORDER BY n")).map(({ n }) => n);
}

/** Every node has these rows, and the two others stream from the leader. */
async function expectRows(rows: readonly number[]): Promise<ClusterNode> {
  const leader = await cluster.untilHealthy(PATIENT);
  for (const node of cluster.nodes)
    await until(`the rows of ${node.name}`, async () => JSON.stringify(await rowsOf(node)) === JSON.stringify(rows), PATIENT);
  return leader;
}

function directoriesBeside(node: ClusterNode, word: string): readonly string[] {
  return readdirSync(dirname(node.dataDir)).filter((name) => name.startsWith(`${basename(node.dataDir)}.${word}-`));
}

/** Value: what it says. */
async function ask(...words: readonly string[]): Promise<string> {
  const answer = await ctl.run(["restore", ...words, "--yes", "--no-wait"]);
  expect([answer.status, answer.text]).toEqual([0, expect.any(String)]);
  return answer.text;
}

/** Commits a row and takes a full backup behind it. */
async function commitAndBackUp(n: number): Promise<ClusterNode> {
  const leader = await cluster.untilHealthy(PATIENT);
  await cluster.sql(leader, `INSERT INTO t VALUES (${n})`);
  await repository.backUp(leader, "full");
  return leader;
}

describe.skipIf(missing !== null)("a restore of three nodes", () => {
  beforeAll(async () => {
    if (missing !== null) return;
    ({ cluster, repository } = await backedUpCluster({ nodes: 3, dynamic: { ...PROMPT, loop_wait: 1 } }));
    ctl = ownCtl(cluster);
    await cluster.sql(await cluster.untilLeader(PATIENT), "CREATE TABLE t (n int)");
  }, LIMIT_MS);

  scenario(
    "to a point in time: the leader has the old data aside and leads on a new timeline, and the others are copies of it",
    async () => {
      const leader = await commitAndBackUp(1);
      await cluster.sql(leader, "INSERT INTO t VALUES (2)");
      const [row] = await cluster.sql<{ at: string }>(
        leader,
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00') AS at",
      );
      await cluster.sql(leader, "INSERT INTO t VALUES (3)");
      await repository.archive(cluster, leader);
      const before = (await cluster.list()).members[0]?.timeline ?? 0;
      const done = await ctl.run(["restore", "--to", row?.at ?? "", "--yes"]);
      expect([done.status, done.text]).toEqual([0, expect.stringContaining("Take a new full backup now")]);
      expect(await expectRows([1, 2])).toBe(leader);
      expect((await cluster.list()).members[0]?.timeline).toBeGreaterThan(before);
      expect(directoriesBeside(leader, "before-restore").length).toBe(1);
      expect((await shown()).cloned.length).toBe(2);
    },
  );

  scenario("its host dies while it restores: nobody else leads, and it goes on when it is back", async () => {
    const leader = await commitAndBackUp(4);
    await ask("--latest");
    await untilPhase("restore");
    await leader.killHost();
    await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: WITHIN_MS });
    for (const other of cluster.others(leader)) {
      const from = other.log.length;
      await other.untilLogs(` on '${leader.name}': PostgreSQL stays stopped`, { ...PATIENT, from });
      expect(other.postmasterPid()).toBeNull();
    }
    expect(await cluster.key("leader")).toBeNull();
    leader.start();
    await untilPhase("done");
    expect(await expectRows([1, 2, 4])).toBe(leader);
    expect(directoriesBeside(leader, "before-restore").length).toBe(2);
  });

  scenario("its supervisor dies as soon as it leads, and a replica's while it copies: both go on", async () => {
    const leader = await commitAndBackUp(5);
    await ask("--latest");
    await untilPhase("clone");
    await leader.killSupervisor();
    const [replica] = cluster.others(leader);
    if (replica === undefined) throw new Error("there are three");
    await replica.killHost();
    leader.start();
    replica.start();
    await untilPhase("done");
    await expectRows([1, 2, 4, 5]);
  });

  scenario("to a time that the archive does not reach, it fails, waits for an operator, and is undone", async () => {
    const leader = await commitAndBackUp(8);
    // Nothing is committed by then: the archive ends before it.
    const [late] = await cluster.sql<{ at: string }>(
      leader,
      "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00') AS at",
    );
    const vain = await ctl.run(["restore", "--to", late?.at ?? "", "--yes"]);
    expect([vain.status, vain.text]).toEqual([1, expect.stringContaining("ctl restore --retry or --undo")]);
    const failed = await ctl.run(["restore", "--status"]);
    expect([failed.status, failed.text]).toEqual([
      1,
      expect.stringContaining("recovery ended before configured recovery target was reached"),
    ]);
    const undone = await ctl.run(["restore", "--undo", "--yes"]);
    expect([undone.status, undone.text]).toEqual([0, expect.stringContaining("undone: the data is what it was before")]);
    expect(await expectRows([1, 2, 4, 5, 8])).toBe(leader);
    await cluster.sql(leader, "DELETE FROM t WHERE n = 8");
  });

  scenario("undone in the middle, it leaves the cluster as it was, with what was restored beside it", async () => {
    const leader = await commitAndBackUp(6);
    await ask("--latest");
    await untilPhase("restore");
    await leader.killSupervisor();
    await ask("--undo");
    leader.start();
    expect((await untilPhase("done")).message).toContain("undone");
    await expectRows([1, 2, 4, 5, 6]);
    const refused = await ctl.run(["restore", "--undo", "--yes"]);
    expect([refused.status, refused.text]).toEqual([1, expect.stringContaining("that is not possible any more")]);
  });

  scenario("abandoned, its node being lost, the others go on with the old data, and the node comes back as their replica", async () => {
    const leader = await commitAndBackUp(7);
    await ask("--latest");
    await untilPhase("restore");
    await leader.killHost();
    expect(await ask("--abandon")).toContain("abandoned: the other members go on with the old data\n");
    const next = await cluster.untilLeader({ ...PATIENT, among: cluster.others(leader) });
    expect(await rowsOf(next)).toEqual([1, 2, 4, 5, 6, 7]);
    leader.start();
    expect(await expectRows([1, 2, 4, 5, 6, 7])).toBe(next);
  });

  scenario(
    "taken back after it has led, a supervisor being killed on the way, everybody has the data from before on a newer timeline",
    async () => {
      const leader = await commitAndBackUp(9);
      const before = await rowsOf(leader);
      const done = await ctl.run(["restore", "--latest", "--yes"]);
      expect([done.status, done.text]).toEqual([0, expect.stringContaining(": done")]);
      expect(await expectRows(before)).toBe(leader);
      await cluster.sql(leader, "INSERT INTO t VALUES (10)");
      const kept = directoriesBeside(leader, "restored").length;
      const timeline = (await cluster.list()).members[0]?.timeline ?? 0;
      await ask("--undo");
      await untilPhase("restore", "clone", "done");
      await leader.killSupervisor();
      leader.start();
      expect(await untilPhase("done")).toMatchObject({ direction: "back", message: null });
      expect(await expectRows(before)).toBe(leader);
      expect((await cluster.list()).members[0]?.timeline).toBeGreaterThan(timeline);
      expect(directoriesBeside(leader, "restored")).toHaveLength(kept + 1);
      await repository.archive(cluster, leader);
    },
  );
});
