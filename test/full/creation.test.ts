// Goal: clusters and replicas are made in every configured way: restored to a point in time, by methods in their order, without a
// leader, anew with progress, and from data that a PostgreSQL without us left.
// Method: real servers over the store of the tests; a cluster with an archive is the origin of a backup that scripts restore.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { give, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { postgresBinDir } from "../harness/local-server.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { PASSWORDS } from "../harness/passwords.ts";
import { until } from "../harness/wait.ts";

/** The script that puts the backup in place, and the archive. */
interface Backup {
  readonly restore: string;
  readonly archive: string;
}

const LIMIT_MS = 120_000;
const WITHIN_MS = 40_000;
/** Slow enough that somebody who looks sees it at work. */
const COPY_RATE = "10M";
let origin: Backup;
let copy: TestCluster;
let store: OutsideStore;

afterAll(async () => {
  await TestCluster.stopAll();
  await store.stop();
}, LIMIT_MS);

/** As the user of the servers. Throws with what it said. */
function run(program: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const { uid, gid } = serverUser();
  const done = spawnSync(join(postgresBinDir(), program), [...args], {
    cwd: "/",
    encoding: "utf8",
    env: { ...process.env, ...env },
    ...(uid === null || gid === null ? {} : { uid, gid }),
  });
  if (done.status !== 0) throw new Error(`${program}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}

function script(path: string, body: string): string {
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

async function untilArchived(cluster: TestCluster, node: ClusterNode): Promise<void> {
  const [row] = await cluster.sql<{ name: string }>(node, "SELECT pg_walfile_name(pg_switch_wal()) AS name");
  const done = async () =>
    (await cluster.sql<{ done: boolean }>(node, `SELECT last_archived_wal >= '${row?.name}' AS done FROM pg_stat_archiver`))[0]?.done;
  await until(`${row?.name} is archived`, done, { withinMs: WITHIN_MS });
}

/** A backup after row 1, a restore point after row 2, and row 3 behind it. */
async function makeBackup(): Promise<Backup> {
  const origin = await TestCluster.shared({
    nodes: ["origin"],
    scope: "origin",
    start: false,
    extra: () => ({ postgresql: { authentication: { replication: { password: "original" } } } }),
  });
  const node = origin.node(0);
  const archive = join(origin.folder, "wal");
  node.editConfig((config) => {
    const parameters = (config["postgresql"] as Tree)["parameters"] as Tree;
    parameters["archive_mode"] = "on";
    parameters["archive_command"] = `mkdir -p ${archive} && cp %p ${archive}/%f`;
  });
  node.start();
  await origin.untilLeader();
  await origin.sql(node, "CREATE TABLE t (n int)");
  await origin.sql(node, "INSERT INTO t VALUES (1)");
  const backup = join(origin.folder, "backup");
  const from = `host=127.0.0.1 port=${node.place.postgresPort} user=replicator`;
  run("pg_basebackup", ["-D", backup, "-d", from, "-X", "stream", "-c", "fast"], { PGPASSWORD: "original" });
  await origin.sql(node, "INSERT INTO t VALUES (2)");
  await origin.sql(node, "SELECT pg_create_restore_point('before')");
  await origin.sql(node, "INSERT INTO t VALUES (3)");
  await untilArchived(origin, node);
  const body = `for a in "$@"; do case $a in --datadir=*) d=\${a#--datadir=};; esac; done\nmkdir -p -m 700 "$d" && cp -a ${backup}/. "$d"/`;
  return { restore: script(join(origin.folder, "restore"), body), archive };
}

beforeAll(async () => {
  origin = await makeBackup();
  const { restore, archive } = origin;
  const recovery = { restore_command: `cp ${archive}/%f %p`, recovery_target_name: "before", recovery_target_action: "pause" };
  // The third node is for the test without a leader, in which two of three are down: the store stands outside.
  store = await startOutsideStore();
  copy = await TestCluster.shared({
    outside: store,
    nodes: ["copy1", "copy2", "copy3"],
    scope: "copy",
    start: false,
    dynamic: { loop_wait: 1 },
    extra: (index) => {
      const broken = { command: script(`${restore}.broken`, "exit 7"), retention: true };
      const methods = {
        create_replica_methods: ["broken", "basebackup"],
        broken,
        basebackup: [{ "max-rate": COPY_RATE }, { label: "made" }],
      };
      if (index === 0) return { bootstrap: { method: "point_in_time", point_in_time: { command: restore, recovery_conf: recovery } } };
      // Whoever may not lead founds nothing either, and waits for the one that restores.
      if (index === 1) return { tags: { nofailover: true }, postgresql: methods };
      const alone = { create_replica_methods: ["alone"], alone: { command: restore, no_leader: true } };
      return { tags: { nofailover: true }, postgresql: alone };
    },
  });
}, LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => copy.during(body), LIMIT_MS);
}

async function rowsOf(cluster: TestCluster, node: ClusterNode): Promise<readonly number[]> {
  return (await cluster.sql<{ n: number }>(node, "SELECT n FROM t ORDER BY n")).map(({ n }) => n);
}

describe("a cluster from a backup", () => {
  scenario("is recovered to the named point, promoted whatever the target's action, and says so in its history", async () => {
    const node = copy.node("copy1");
    for (const one of [node, copy.node("copy2")]) one.start();
    await until(
      "its state",
      async () => (await node.status())["state"] === "running custom bootstrap script" || (await copy.leader()) !== null,
      {
        withinMs: WITHIN_MS,
      },
    );
    expect(await copy.untilLeader()).toBe(node);
    expect(await rowsOf(copy, node)).toEqual([1, 2]);
    await node.untilLogs("Running custom bootstrap script: ", { withinMs: WITHIN_MS });
    await node.untilLogs("initialized a new cluster", { withinMs: WITHIN_MS });
    const published = async () => JSON.parse((await copy.key("history"))?.value || "[]") as readonly (readonly unknown[])[];
    const [line] = await until("its history", async () => ((await published()).length > 0 ? published() : null), { withinMs: WITHIN_MS });
    expect(line).toMatchObject([1, expect.any(Number), 'at restore point "before"', expect.any(String), "copy1"]);
    const identified = async () => /^\d{19}$/.test((await copy.key("initialize"))?.value ?? "");
    await until("the cluster has its identifier", identified, { withinMs: WITHIN_MS });
  });

  scenario("has the configured passwords, so that a replica can be made: by the first method that works, with its options", async () => {
    const [leader, node] = [copy.node("copy1"), copy.node("copy2")];
    await copy.untilHealthy({ nodes: [leader, node] });
    expect(node.log).toMatch(/Error creating replica using method broken: \S+\.broken exited with code=7/);
    expect(node.log).toContain("replica has been created using basebackup");
    expect(node.log).toContain("bootstrapped from leader 'copy1'");
    expect(node.log).toMatch(/copying: \d+\/\d+ kB \(\d+%\)/);
    expect(await rowsOf(copy, node)).toEqual([1, 2]);
  });

  scenario("reinitialize copies anew and tells how far it has come; the leader cannot be asked for it", async () => {
    const [leader, node] = [copy.node("copy1"), copy.node("copy2")];
    const from = node.log.length;
    const refused = await leader.api("/reinitialize", { method: "POST", body: {} });
    expect([refused.status, refused.text]).toEqual([503, "I am the leader, can not reinitialize"]);
    const begun = await node.api("/reinitialize", { method: "POST", body: { from_leader: true }, timeoutMs: 30_000 });
    expect([begun.status, begun.text]).toEqual([200, "reinitialize started"]);
    const seen = await until(
      "its progress in the status",
      async () => {
        const { state, copy: progress } = await node.status();
        return state === "creating replica" && progress !== undefined ? (progress as Record<string, number>) : null;
      },
      { withinMs: WITHIN_MS, everyMs: 20 },
    );
    expect(Object.keys(seen)).toEqual(["bytes", "total_bytes", "percent"]);
    // What is under way is not begun again, unless it is forced.
    const again = await node.api("/reinitialize", { method: "POST", body: {}, timeoutMs: 30_000 });
    expect([again.status, again.text]).toEqual([503, "reinitialize already in progress"]);
    await copy.untilHealthy({ nodes: [leader, node] });
    expect(node.log.slice(from)).toContain("reinitialize: a new copy is made from leader 'copy1'");
    expect((await node.status())["copy"]).toBeUndefined();
  });

  scenario("reinitialize leaves the data to a method with keep_data, which copies no more than it has to", async () => {
    const [leader, node] = [copy.node("copy1"), copy.node("copy2")];
    const body = `for a in "$@"; do case $a in --datadir=*) d=\${a#--datadir=};; esac; done\ntest -s "$d/PG_VERSION" && touch "$d/found"`;
    const command = script(join(node.place.folder, "delta"), body);
    node.editConfig((config) => {
      Object.assign(config["postgresql"] as Tree, { create_replica_methods: ["delta"], delta: { command, keep_data: true } });
    });
    const from = node.log.length;
    expect((await node.api("/reload", { method: "POST" })).status).toBe(202);
    await node.untilLogs("the configuration was loaded again", { withinMs: WITHIN_MS, from });
    expect((await node.api("/reinitialize", { method: "POST", body: {}, timeoutMs: 30_000 })).status).toBe(200);
    await node.untilLogs("replica has been created using delta", { withinMs: WITHIN_MS, from });
    await copy.untilHealthy({ nodes: [leader, node] });
    expect(existsSync(join(node.dataDir, "found"))).toBe(true);
  });

  test(
    "a method with no_leader makes a copy while nobody leads, which follows as soon as somebody does",
    () =>
      copy.during(async () => {
        const [leader, second, alone] = [copy.node("copy1"), copy.node("copy2"), copy.node("copy3")];
        await Promise.all([leader.terminate(), second.terminate()]);
        alone.start();
        await alone.untilLogs("bootstrapped (without leader)", { withinMs: WITHIN_MS });
        expect(alone.log).toContain("trying to bootstrap (without leader)");
        expect(alone.log).toContain("replica has been created using alone");
        await until("it serves reads", async () => (await alone.health("/replica")) === 200, { withinMs: WITHIN_MS });
        expect(await rowsOf(copy, alone)).toEqual([1]);
        for (const node of [leader, second]) node.start();
        await copy.untilHealthy();
        expect(await rowsOf(copy, alone)).toEqual([1, 2]);
      }),
    LIMIT_MS,
  );
});

test(
  "with keep_existing_recovery_conf the recovery is the one that the restore has prepared, up to its own target",
  async () => {
    const { restore, archive } = origin;
    const settings = `restore_command = 'cp ${archive}/%%f %%p'\\nrecovery_target_name = 'before'\\nrecovery_target_action = 'promote'\\n`;
    const prepare = `"${restore}" "$@" || exit 1\nfor a in "$@"; do case $a in --datadir=*) d=\${a#--datadir=};; esac; done
printf "${settings}" >> "$d/postgresql.auto.conf" && touch "$d/recovery.signal"`;
    const prepared = { command: script(`${restore}.prepared`, prepare), keep_existing_recovery_conf: true };
    const extra = () => ({ bootstrap: { method: "prepared", prepared } });
    await TestCluster.with({ nodes: ["kept"], scope: "kept", dynamic: { loop_wait: 1 }, extra }, async (cluster) => {
      const node = await cluster.untilLeader();
      expect(await rowsOf(cluster, node)).toEqual([1, 2]);
      const published = async () => JSON.parse((await cluster.key("history"))?.value || "[]") as readonly (readonly unknown[])[];
      const [line] = await until("its history", async () => ((await published()).length > 0 ? published() : null), { withinMs: WITHIN_MS });
      expect(line).toMatchObject([1, expect.any(Number), 'at restore point "before"', expect.any(String), "kept"]);
    });
  },
  LIMIT_MS,
);

describe("data that a PostgreSQL without us left", () => {
  test(
    "is taken over with its rows and its configuration, stopped or running; a running server is not restarted",
    () =>
      TestCluster.with({ nodes: ["taken"], start: false, dynamic: { loop_wait: 1 } }, async (cluster) => {
        const node = cluster.node(0);
        const { folder, postgresPort } = node.place;
        const options = ["-D", node.dataDir, "-w", "-l", join(folder, "by-hand.log"), "-o", `-p ${postgresPort} -k ${folder}`];
        run("initdb", ["-D", node.dataDir, "-U", "postgres", "-A", "trust", "--no-sync"]);
        run("pg_ctl", [...options, "start"]);
        const byHand = join(folder, "secret-by-hand");
        writeFileSync(byHand, `ALTER ROLE postgres PASSWORD '${PASSWORDS.superuser}'`, { mode: 0o600 });
        give(byHand, node.place.user);
        run("psql", ["-h", folder, "-p", String(postgresPort), "-U", "postgres", "-qf", byHand]);
        run("psql", ["-h", folder, "-p", String(postgresPort), "-U", "postgres", "-qc", "CREATE TABLE t AS SELECT 7 AS n"]);
        const started = async () => (await cluster.sql<{ at: string }>(node, "SELECT pg_postmaster_start_time()::text AS at"))[0]?.at;
        const before = await started();
        // A new Raft may be founded beside data only where an operator says so.
        node.start({}, [], cluster.store === "raft" ? ["--adopt"] : []);
        await cluster.untilLeader();
        expect(await started()).toBe(before ?? "");
        const seen = async () => (await cluster.list()).members[0];
        expect(await until("its timeline", async () => (await seen())?.timeline, { withinMs: WITHIN_MS })).toBe(1);
        const kept = () => existsSync(join(node.dataDir, "postgresql.base.conf"));
        await until("the original configuration is set aside", kept, { withinMs: WITHIN_MS });

        await node.killSupervisor();
        node.editConfig((config) => {
          ((config["postgresql"] as Tree)["parameters"] as Tree)["work_mem"] = "7MB";
        });
        node.start();
        const works = async () => (await cluster.sql<{ m: string }>(node, "SELECT current_setting('work_mem') AS m"))[0]?.m === "7MB";
        await until("what its file says now", works, { withinMs: WITHIN_MS });
        expect(await started()).toBe(before ?? "");

        expect(await node.terminate()).toBe(0);
        node.start();
        await cluster.untilLeader();
        expect(await rowsOf(cluster, node)).toEqual([7]);
        expect((await cluster.key("initialize"))?.value).toBe(String((await node.status())["database_system_identifier"]));
      }),
    LIMIT_MS,
  );
});
