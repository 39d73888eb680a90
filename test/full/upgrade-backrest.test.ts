// Goal: an upgrade takes the repository of pgBackRest along, forward and back; a stanza or statistics that cannot be made hold nothing up, are
// named with what to do by hand, and that is enough. Method: two nodes of PostgreSQL 13 with the real pgBackRest; then a repository that is
// not there, and an index whose function fails when it is analyzed.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { majorOf, postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { backedUpCluster, pgBackRestMissing, type TestRepository } from "../harness/pgbackrest.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 900_000;
const PATIENT = { withinMs: 400_000 };
const BACKREST = join(import.meta.dir, "../../scripts/backrest.ts");
const missing = pgBackRestMissing();
const next = postgresBinDir();
const major = majorOf(next);
let cluster: TestCluster;
let repository: TestRepository;
let ctl: CtlTool;

beforeAll(async () => {
  if (missing !== null) return;
  const bin_dir = postgres13();
  ({ cluster, repository } = await backedUpCluster({ nodes: 2, dynamic: { loop_wait: 1 }, extra: () => ({ postgresql: { bin_dir } }) }));
  ctl = ownCtl(cluster);
  await cluster.untilHealthy(PATIENT);
}, LIMIT_MS);
afterAll(async () => {
  await TestCluster.stopAll();
  repository?.remove();
}, LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

interface Info {
  readonly db: readonly { readonly id: number; readonly version: string }[];
  readonly backup: readonly { readonly database: { readonly id: number } }[];
}

/** What was archived and backed up by now is of this version. */
async function expectKept(version: number, databases: readonly number[]): Promise<void> {
  const leader = await cluster.untilHealthy(PATIENT);
  await repository.archive(cluster, leader);
  await repository.backUp(leader, "full");
  const [stanza] = JSON.parse(repository.run(leader, "--output=json", "info")) as [Info];
  expect(stanza.db.map((row) => Number(row.version))).toEqual([...databases]);
  const of = stanza.backup.at(-1)?.database.id;
  expect(stanza.db.find(({ id }) => id === of)?.version).toBe(String(version));
}

describe.skipIf(missing !== null)("pgBackRest in an upgrade", () => {
  scenario("its stanza is upgraded with the cluster, and again on the way back: archive and backups go on each time", async () => {
    await expectKept(13, [13]);
    const done = await ctl.run(["upgrade", "--run", "--mode", "copy", "--to-bin-dir", next, "--force"]);
    expect([done.status, done.text]).toEqual([0, expect.stringMatching(/Upgrade [0-9-]+: done\n$/)]);
    await expectKept(major, [13, major]);
    const back = await ctl.run(["upgrade", "--rollback", "--force"]);
    expect([back.status, back.text]).toEqual([0, expect.stringMatching(/Upgrade [0-9-]+: done\n$/)]);
    await expectKept(13, [13, major, 13]);
  });

  scenario(
    "where neither the repository nor the statistics can be had, the cluster is upgraded, and what is left to do by hand is named",
    async () => {
      const leader = await cluster.untilHealthy(PATIENT);
      const body = (text: string): string => `create or replace function picky(n int) returns int immutable language plpgsql as '${text}'`;
      await cluster.sql(leader, body("begin return n; end"));
      await cluster.sql(leader, "create table odd as select generate_series(1, 100) as n");
      await cluster.sql(leader, "create index on odd (picky(n))");
      await cluster.sql(leader, body("begin raise exception ''not to be analyzed''; end"));
      const file = repository.configOf(leader);
      const config = readFileSync(file, "utf8");
      writeFileSync(file, config.replace(/^repo1-path=.*$/m, "repo1-path=/proc/not-there"));

      const done = await ctl.run(["upgrade", "--run", "--to-bin-dir", next, "--force"]);
      expect([done.status, done.text]).toEqual([0, expect.stringMatching(/^Warning: the cluster is upgraded, but /m)]);
      expect(done.text).toContain("not to be analyzed");
      expect(done.text).toContain("by hand: vacuumdb --all --analyze-in-stages");
      expect(done.text).toMatch(/pgBackRest's stanza is not kept: .*by hand: matriarch backrest NODE.YML stanza/s);
      expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
      for (const node of cluster.nodes) expect(Math.floor(((await node.status())["server_version"] as number) / 10_000)).toBe(major);

      writeFileSync(file, config);
      const { uid, gid } = leader.place.user;
      const byHand = spawnSync(process.execPath, ["run", BACKREST, leader.configPath, "stanza"], {
        cwd: "/",
        encoding: "utf8",
        ...(uid === null || gid === null ? {} : { uid, gid }),
      });
      expect([byHand.status, byHand.stderr]).toEqual([0, expect.any(String)]);
      await expectKept(major, [13, major, 13, major]);
    },
  );
});
