// Goal: WAL on a disk of its own and tablespaces are upgraded with their cluster, and everything of it comes back with a rollback, before the new
// version has served and after. Method: two nodes of PostgreSQL 13, each with its WAL behind a link and a tablespace elsewhere; there with
// copies and back, killed in the midst of pg_upgrade with links and back, and there.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { lstatSync, mkdirSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { majorOf, postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 1_200_000;
const PATIENT = { withinMs: 600_000 };
const next = postgresBinDir();
const major = majorOf(next);
let store: OutsideStore;
let cluster: TestCluster;
let ctl: CtlTool;

const walOf = (node: ClusterNode): string => join(node.place.folder, "disk/wal");
const spaceOf = (node: ClusterNode): string => join(node.place.folder, "space");

beforeAll(async () => {
  const bin_dir = postgres13();
  // One node starts alone: of two members of a Raft it could not write.
  store = await startOutsideStore();
  const extra = () => ({ postgresql: { bin_dir } });
  cluster = await TestCluster.shared({ nodes: 2, outside: store, start: false, dynamic: { loop_wait: 1 }, extra });
  ctl = ownCtl(cluster);
  const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
  for (const node of [first, second]) {
    for (const folder of [dirname(walOf(node)), spaceOf(node)]) {
      mkdirSync(folder);
      give(folder, node.place.user);
    }
    const mapping = { "tablespace-mapping": `${spaceOf(first)}=${spaceOf(node)}` };
    node.editConfig((config: Tree) => {
      const { initdb } = config["bootstrap"] as { initdb: unknown[] };
      initdb.push({ waldir: walOf(node) });
      Object.assign(config["postgresql"] as Tree, { basebackup: [{ waldir: walOf(node) }, ...(node === first ? [] : [mapping])] });
    });
  }
  first.start();
  await cluster.untilLeader({ ...PATIENT, among: [first] });
  // Before there is a replica: on one machine it would make it in the same folder.
  await cluster.sql(first, `create tablespace elsewhere location '${spaceOf(first)}'`);
  await cluster.sql(first, "create table kept tablespace elsewhere as select generate_series(1, 100) as n");
  second.start();
  await cluster.untilHealthy(PATIENT);
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  await store?.stop();
}, LIMIT_MS);

function scenario(title: string, body: (leader: ClusterNode, replica: ClusterNode) => Promise<void>): void {
  test(
    title,
    () =>
      cluster.during(async () => {
        const [leader, replica] = cluster.nodes as [ClusterNode, ClusterNode];
        expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
        await body(leader, replica);
      }),
    LIMIT_MS,
  );
}

async function done(...words: readonly string[]): Promise<string> {
  const answer = await ctl.run(["upgrade", ...words, "--force"]);
  expect([answer.status, answer.text]).toEqual([0, expect.any(String)]);
  return answer.text;
}

/** Both serve this version, with these rows in the tablespace of their own and WAL where it was from the beginning. */
async function expectServing(version: number, rows: number): Promise<void> {
  const [leader, replica] = cluster.nodes as [ClusterNode, ClusterNode];
  expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
  for (const node of [leader, replica]) {
    const query = `select current_setting('server_version_num')::int / 10000 as major, count(*)::int as n,
      (select spcname::text from pg_tablespace where oid = (select reltablespace from pg_class where relname = 'kept')) as place from kept`;
    expect(await cluster.sql(node, query)).toEqual([{ major: version, n: rows, place: "elsewhere" }]);
    expect(readlinkSync(join(node.dataDir, "pg_wal"))).toBe(walOf(node));
  }
}

/** What there is beside the data directory or in that folder, without the digits that differ. */
const names = (folder: string): readonly string[] =>
  readdirSync(folder)
    .map((name) => name.replace(/-\d{8}-\d{6}$/, "").replace(/^(PG_\d+)_\d+$/, "$1"))
    .sort();

scenario(
  "with copies it is there under the new version, and everything old stays; taken back, everything old serves again",
  async (leader, replica) => {
    await done("--run", "--mode", "copy", "--to-bin-dir", next);
    await expectServing(major, 100);
    expect([names(spaceOf(leader)), names(dirname(walOf(leader)))]).toEqual([
      ["PG_13", `PG_${major}`],
      ["wal", "wal.before-upgrade"],
    ]);
    expect([names(spaceOf(replica)), names(dirname(walOf(replica)))]).toEqual([[`PG_${major}`], ["wal"]]);
    await cluster.sql(leader, "insert into kept values (101)");

    await done("--rollback");
    await expectServing(13, 100);
    expect([names(spaceOf(leader)), names(dirname(walOf(leader)))]).toEqual([
      ["PG_13", `PG_${major}`],
      ["wal", "wal.upgraded"],
    ]);
    expect(names(spaceOf(replica))).toEqual(["PG_13"]);
  },
);

scenario(
  "what an earlier one has left is named before anything is done; killed while it links and given up, nothing of it is left",
  async (leader) => {
    const refused = await ctl.run(["upgrade", "--run", "--to-bin-dir", next, "--force"]);
    expect([refused.status, refused.text]).toEqual([1, expect.stringContaining("is there already, of version")]);
    for (const folder of [leader.place.folder, dirname(walOf(leader)), spaceOf(leader)])
      for (const name of readdirSync(folder))
        if (name.includes(".upgraded-") || name.startsWith(`PG_${major}_`)) rmSync(join(folder, name), { recursive: true });

    await done("--run", "--to-bin-dir", next, "--no-wait");
    const begun = leader.log.split("pg_upgrade (link)").length;
    await until(
      "pg_upgrade has begun",
      async () => leader.log.split("pg_upgrade (link)").length > begun || names(spaceOf(leader)).length > 1,
      {
        ...PATIENT,
        everyMs: 20,
      },
    );
    await leader.killSupervisor();
    await done("--rollback", "--no-wait");
    leader.start();
    await until("it is undone", async () => JSON.parse((await cluster.key("upgrade"))?.value ?? "{}").phase === "done", PATIENT);
    await expectServing(13, 100);
    expect([names(spaceOf(leader)), names(dirname(walOf(leader)))]).toEqual([["PG_13"], ["wal"]]);
  },
);

scenario("with links it is there under the new version; nobody deletes what was put aside by copying over it", async (leader, replica) => {
  await done("--run", "--to-bin-dir", next);
  await expectServing(major, 100);
  expect(lstatSync(join(leader.dataDir, "pg_tblspc")).isDirectory()).toBe(true);
  expect((await ctl.run(["switchover", "--candidate", replica.name, "--force"])).status).toBe(0);
  await cluster.untilHealthy(PATIENT);
  const answer = await leader.api("/reinitialize", { method: "POST", body: {} });
  // Refused before PostgreSQL is stopped for it.
  expect([answer.status, answer.text]).toEqual([503, expect.stringContaining("has data in the same tablespaces")]);
  await cluster.untilHealthy(PATIENT);
  expect(names(spaceOf(leader))).toEqual(["PG_13", `PG_${major}`]);
});
