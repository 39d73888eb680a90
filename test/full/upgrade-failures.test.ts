// Goal: a major upgrade that does not come to its end takes nothing away: ctl that dies before it is begun changes nothing, and where the disk
// is full or the upgrading host lost, the one command that the message names has everybody back and the cluster writing. Method: two nodes of
// PostgreSQL 13, the upgrading one on a small disk of its own; pg_upgrade is held before it begins, until the disk is full or the host dead.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statfsSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { give } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl, startCtl } from "../harness/ctl-tools.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { serverStarts } from "../harness/server-starts.ts";
import { until } from "../harness/wait.ts";

/** Programs of a minute each on a busy machine: nothing here is about how long they take. */
const LIMIT_MS = 900_000;
const PATIENT = { withinMs: 400_000 };
/** More than the look before an upgrade wants; nothing of it is taken before it is written to. */
const ROOMY = "4g";
/** For the words of the supervisor; the dumps that pg_upgrade writes need more. */
const LEFT_BYTES = 64 * 1024;
const missing = process.getuid?.() === 0 ? null : "a disk of its own needs root";
let store: OutsideStore;
let cluster: TestCluster;
let ctl: CtlTool;
let hold: string;
let bin: string;

if (missing !== null) process.stderr.write(`skipped: ${missing}\n`);

function mount(...words: readonly string[]): void {
  const done = spawnSync("mount", [...words], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`mount ${words.join(" ")}: ${done.stderr}`);
}

/** The new programs; pg_upgrade says that it was called, and waits as long as it is told to. */
function heldPrograms(): string {
  const [folder, next] = [join(cluster.folder, "bin"), postgresBinDir()];
  mkdirSync(folder);
  for (const name of readdirSync(next)) if (name !== "pg_upgrade") symlinkSync(join(next, name), join(folder, name));
  const wait = `while [ -e ${hold}/closed ]; do : >${hold}/reached; sleep 0.05; done`;
  writeFileSync(
    join(folder, "pg_upgrade"),
    `#!/bin/sh\ncase " $* " in *" --check "*) ;; *) ${wait};; esac\nexec ${join(next, "pg_upgrade")} "$@"\n`,
  );
  chmodSync(join(folder, "pg_upgrade"), 0o755);
  return folder;
}

beforeAll(async () => {
  if (missing !== null) return;
  const bin_dir = postgres13();
  store = await startOutsideStore();
  cluster = await TestCluster.shared({ nodes: 2, outside: store, start: false, extra: () => ({ postgresql: { bin_dir } }) });
  ctl = ownCtl(cluster);
  const [first, second] = cluster.nodes as [ClusterNode, ClusterNode];
  const config = first.config;
  mount("-t", "tmpfs", "-o", `size=${ROOMY},mode=700`, "tmpfs", first.place.folder);
  give(first.place.folder, first.place.user);
  first.writeConfig(config);
  hold = join(cluster.folder, "hold");
  mkdirSync(hold);
  give(hold, first.place.user);
  bin = heldPrograms();
  first.start();
  await cluster.untilLeader({ ...PATIENT, among: [first] });
  second.start();
  await cluster.untilHealthy(PATIENT);
  await cluster.sql(first, "create table kept as select generate_series(1, 10) as n");
}, LIMIT_MS);
afterAll(async () => {
  if (missing !== null) return;
  await Promise.all(cluster.nodes.map((node) => node.killHost()));
  spawnSync("umount", [cluster.node(0).place.folder]);
  await TestCluster.stopAll();
  await store.stop();
}, LIMIT_MS);

function scenario(title: string, body: (leader: ClusterNode, other: ClusterNode) => Promise<void>): void {
  test(
    title,
    () =>
      cluster.during(async () => {
        const [leader, other] = cluster.nodes as [ClusterNode, ClusterNode];
        expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
        await body(leader, other);
      }),
    LIMIT_MS,
  );
}

async function shown(): Promise<{ readonly phase: string; readonly message: string | null }> {
  return JSON.parse((await cluster.key("upgrade"))?.value ?? "{}");
}

/** Asks for the upgrade; resolves when the leader is about to run pg_upgrade, with everything stopped, and it waits. */
async function untilHeld(): Promise<void> {
  rmSync(join(hold, "reached"), { force: true });
  writeFileSync(join(hold, "closed"), "");
  const asked = await ctl.run(["upgrade", "--run", "--to-bin-dir", bin, "--force", "--no-wait"]);
  expect([asked.status, asked.text]).toEqual([0, expect.stringContaining("was asked for")]);
  await until("pg_upgrade is called", () => existsSync(join(hold, "reached")), PATIENT);
}

/** All of them run the old version, take writes, and have what was there. */
async function expectOld(leader: ClusterNode): Promise<void> {
  expect(await cluster.untilHealthy(PATIENT)).toBe(leader);
  await cluster.sql(leader, "update kept set n = n");
  for (const node of cluster.nodes) {
    const query = "select current_setting('server_version_num')::int / 10000 as major, count(*)::int as n from kept";
    expect(await cluster.sql(node, query)).toEqual([{ major: 13, n: 10 }]);
  }
}

describe.skipIf(missing !== null)("an upgrade", () => {
  scenario("is not begun by ctl that is killed while the members look, or while it asks; the next call looks again", async (leader) => {
    const before = await serverStarts(cluster);
    for (const words of ["Every member looks at itself", "Upgrade cluster demo?"]) {
      const asking = startCtl(leader.configPath, ["upgrade", "--run", "--to-bin-dir", bin], { input: "silent" });
      await asking.says(words);
      asking.kill();
      expect(await asking.status).not.toBe(0);
      expect((await shown()).phase).toBe("check");
    }
    const stands = await ctl.run(["upgrade", "--status"]);
    expect([stands.status, stands.text]).toEqual([0, expect.stringContaining("every member looks at itself")]);
    const forgotten = await ctl.run(["upgrade", "--rollback", "--force"]);
    expect([forgotten.status, (await shown()).phase]).toEqual([0, "done"]);
    expect(await serverStarts(cluster)).toEqual(before);
    await expectOld(leader);
  });

  scenario(
    "whose disk gets full while pg_upgrade runs fails, and goes back although it is full: everybody is there again",
    async (leader) => {
      await untilHeld();
      const { blocks, bfree, bsize } = statfsSync(leader.place.folder);
      mount("-o", `remount,size=${(blocks - bfree) * bsize + LEFT_BYTES}`, leader.place.folder);
      rmSync(join(hold, "closed"));
      const failed = await until("it has come to an end", async () => ((await shown()).phase !== "upgrade" ? shown() : null), PATIENT);
      expect(failed).toMatchObject({ phase: "failed", message: expect.stringMatching(/^pg_upgrade: .*the disk of .* is full/s) });
      const stands = await ctl.run(["upgrade", "--status"]);
      expect([stands.status, stands.text]).toEqual([1, expect.stringContaining("ctl upgrade --run tries again, --rollback goes back")]);
      for (const node of cluster.nodes) expect(node.postmasterPid()).toBeNull();
      const back = await ctl.run(["upgrade", "--rollback", "--force"]);
      expect([back.status, back.text]).toEqual([0, expect.stringContaining("undone: the data is what it was before")]);
      mount("-o", `remount,size=${ROOMY}`, leader.place.folder);
      await expectOld(leader);
    },
  );

  scenario(
    "whose host is lost is given up: the others go on with the old data, and the host comes back as their replica",
    async (leader, other) => {
      await untilHeld();
      await leader.killHost();
      const stands = await ctl.run(["upgrade", "--abandon", "--force"]);
      expect([stands.status, (await shown()).message]).toEqual([0, expect.stringContaining("went on with the data that they had")]);
      expect(await cluster.untilLeader({ ...PATIENT, among: [other] })).toBe(other);
      expect(await cluster.sql(other, "select count(*)::int as n from kept")).toEqual([{ n: 10 }]);
      rmSync(join(hold, "closed"));
      leader.start();
      await expectOld(other);
      expect(readdirSync(leader.place.folder).filter((name) => name.startsWith("data.before-upgrade-"))).toHaveLength(1);
    },
  );
});
