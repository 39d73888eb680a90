// Goal: a major upgrade comes to its end although supervisors are killed in each of its phases; it can be given up in the midst of
// pg_upgrade, and with copied files taken back after the new version has served; no acknowledged row is lost that the way back does not name.
// Method: three nodes of PostgreSQL 13 in one life. What a phase waits for is held (a client's backend that does not end, a file that cannot be
// read), the supervisor gets SIGKILL, the DCS says that the phase was that one, and it is started again.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync } from "node:fs";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { until } from "../harness/wait.ts";
import { withConnection } from "../harness/writer.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 1_200_000;
const WITHIN_MS = 600_000;
const PATIENT = { withinMs: WITHIN_MS };
let cluster: TestCluster;
let ctl: CtlTool;
let old: string;

beforeAll(async () => {
  old = postgres13();
  cluster = await TestCluster.shared({ nodes: 3, extra: () => ({ postgresql: { bin_dir: old } }) });
  ctl = ownCtl(cluster);
  await cluster.untilHealthy(PATIENT);
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

interface Shown {
  readonly id: string;
  readonly phase: string;
  readonly node: string;
  readonly cloned: readonly string[];
  readonly message: string | null;
}

async function shown(): Promise<Shown> {
  return JSON.parse((await cluster.key("upgrade"))?.value ?? "{}") as Shown;
}

const ORDER = ["check", "stop", "drain", "upgrade", "clone", "done"];

/** In that phase, or behind it already: no phase has to last until somebody looks. */
async function untilPhase(phase: string): Promise<Shown> {
  const seen = await until(
    `the upgrade is in phase ${phase}`,
    async () => {
      const now = await shown();
      return now.phase === "failed" || ORDER.indexOf(now.phase) >= ORDER.indexOf(phase) ? now : null;
    },
    { withinMs: WITHIN_MS, everyMs: 20 },
  );
  expect({ phase: seen.phase, message: seen.message }).not.toMatchObject({ phase: "failed" });
  return seen;
}

/** The supervisor gets SIGKILL in that phase, which is still the one when it is dead; what held it is let go, and it is started again. */
async function killedIn(phase: string, node: ClusterNode, letGo: () => void = () => undefined): Promise<void> {
  await untilPhase(phase);
  await node.killSupervisor();
  expect((await shown()).phase).toBe(phase);
  letGo();
  node.start();
}

/** The file as it was before the upgrade can neither be read nor written: the node's own file stays as it is. Returns what ends that. */
async function holdFile(node: ClusterNode): Promise<() => void> {
  const kept = `${node.configPath}.before-upgrade-${(await shown()).id}`;
  const isThere = existsSync(kept);
  if (isThere) renameSync(kept, `${kept}.away`);
  mkdirSync(kept);
  return () => {
    rmdirSync(kept);
    if (isThere) renameSync(`${kept}.away`, kept);
  };
}

/** A client's backend that does not end: the server does not stop, however fast it is told to, until the test lets it go. */
async function withStuckClient(node: ClusterNode, body: (letGo: () => void) => Promise<void>): Promise<void> {
  await withConnection(node, async (sql) => {
    const [row] = (await sql.unsafe("select pg_backend_pid() as pid")) as readonly { readonly pid: number }[];
    const pid = row?.pid ?? 0;
    expect(pid).toBeGreaterThan(1);
    process.kill(pid, "SIGSTOP");
    let isStuck = true;
    const letGo = (): void => {
      if (isStuck) process.kill(pid, "SIGCONT");
      isStuck = false;
    };
    try {
      await body(letGo);
    } finally {
      letGo();
    }
  });
}

/** From `stop` to behind `drain`: the primary's supervisor dies in both, a replica's in the second. */
async function killedWhileAllStop(leader: ClusterNode, ask: () => Promise<void>): Promise<void> {
  const [replica, other] = cluster.others(leader) as [ClusterNode, ClusterNode];
  await withStuckClient(other, async (letGoOther) => {
    await withStuckClient(leader, async (letGo) => {
      await ask();
      await killedIn("stop", leader, letGo);
    });
    await killedIn("drain", leader);
    await killedIn("drain", replica, letGoOther);
  });
}

async function asked(...words: readonly string[]): Promise<void> {
  const answer = await ctl.run(["upgrade", ...words, "--force", "--no-wait"]);
  expect([answer.status, answer.text]).toEqual([0, expect.any(String)]);
}

async function untilVersion(version: number): Promise<ClusterNode> {
  const leader = await cluster.untilHealthy(PATIENT);
  const versions = await Promise.all(
    cluster.nodes.map(async (node) => Math.floor(((await node.status())["server_version"] as number) / 10_000)),
  );
  expect(versions).toEqual([version, version, version]);
  return leader;
}

const rows = async (node: ClusterNode): Promise<readonly number[]> =>
  (await cluster.sql<{ n: number }>(node, "select n from kept order by n")).map(({ n }) => n);
const foldersOf = (node: ClusterNode): readonly string[] =>
  readdirSync(node.place.folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name.startsWith("data"))
    .map(({ name }) => name.replace(/-\d{8}-\d{6}$/, ""))
    .sort();

scenario("one that is given up while pg_upgrade runs leaves the old data, its server and its programs as they were", async () => {
  const leader = await cluster.untilHealthy(PATIENT);
  await cluster.sql(leader, "create table kept as select generate_series(1, 10) as n");
  const identifier = (await cluster.key("initialize"))?.value;
  await asked("--run", "--mode", "link", "--to-bin-dir", postgresBinDir());
  await untilPhase("upgrade");
  await until("pg_upgrade has begun to link", async () => leader.log.includes("pg_upgrade (link)"), { withinMs: WITHIN_MS, everyMs: 20 });
  await leader.killSupervisor();
  await asked("--rollback");
  leader.start();
  expect(await untilPhase("done")).toMatchObject({ message: "undone: the data is what it was before" });
  expect(await untilVersion(13)).toBe(leader);
  expect(await rows(leader)).toHaveLength(10);
  expect((await cluster.key("initialize"))?.value).toBe(identifier as string);
  expect((leader.config["postgresql"] as Tree)["bin_dir"]).toBe(old);
  expect(foldersOf(leader).filter((name) => name !== "data.matriarch")).toEqual(["data"]);
});

scenario("supervisors are killed in each phase, and the upgrade goes on where it was", async () => {
  const leader = await cluster.untilHealthy(PATIENT);
  const [replica, other] = cluster.others(leader) as [ClusterNode, ClusterNode];
  const attempts = (): number => leader.log.split("pg_upgrade (copy)").length - 1;
  await killedWhileAllStop(leader, () => asked("--run", "--mode", "copy", "--to-bin-dir", postgresBinDir()));
  const letGo = await holdFile(other);
  for (const before of [0, 1]) {
    await until(`attempt ${before + 1} runs pg_upgrade`, async () => attempts() > before, { withinMs: WITHIN_MS, everyMs: 20 });
    await killedIn("upgrade", leader);
  }
  await killedIn("clone", leader);
  await killedIn("clone", replica, letGo);
  await untilPhase("done");
  expect(await untilVersion(15)).toBe(leader);
  expect(await rows(leader)).toHaveLength(10);
});

scenario(
  "killed in each phase of the way back, too: what was copied is taken back after the new version has served, as it was at the upgrade",
  async () => {
    const leader = await cluster.untilHealthy(PATIENT);
    const [replica, other] = cluster.others(leader) as [ClusterNode, ClusterNode];
    await cluster.sql(leader, "insert into kept values (11)");
    const [letGoLeader, letGoOther] = [await holdFile(leader), await holdFile(other)];
    await killedWhileAllStop(leader, () => asked("--rollback"));
    // The old data is in its place again, and the node's file does not fit it yet.
    await until("the way back meets the node's file", async () => leader.log.includes("EISDIR"), { withinMs: WITHIN_MS, everyMs: 20 });
    await killedIn("upgrade", leader, letGoLeader);
    await killedIn("clone", leader);
    await killedIn("clone", replica, letGoOther);
    await untilPhase("done");
    expect(await untilVersion(13)).toBe(leader);
    expect(await rows(leader)).toHaveLength(10);
    expect((leader.config["postgresql"] as Tree)["bin_dir"]).toBe(old);
    expect(foldersOf(leader)).toContain("data.upgraded");
    const again = await ctl.run(["upgrade", "--rollback", "--force"]);
    expect([again.status, again.text]).toEqual([1, expect.stringContaining("it was taken back already")]);
  },
);
