// Goal: clusters and replicas are made, configured, diverged, rewound and removed on a real PostgreSQL, through the facade.
// Method: two nodes on loopback, one after the other through a node's life; each test continues where the last one ended.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { rewindPlan } from "../../lib/core/rewind-plan.ts";
import type { BootstrapConfig, PostgresqlConfig } from "../../lib/model/node-config.ts";
import type { FollowTarget } from "../../lib/model/postgres.ts";
import type { Result } from "../../lib/model/result.ts";
import { lsn, timeline } from "../../lib/model/units.ts";
import type { LocalPostgresql } from "../../lib/postgres/local.ts";
import { makingMarkerPath, rewindingMarkerPath } from "../../lib/postgres/making-marker.ts";
import { readSleep } from "../../lib/postgres/processes.ts";
import { programRunner } from "../../lib/postgres/programs.ts";
import { startupLogPath } from "../../lib/postgres/startup-log.ts";
import { clock, discard, type LocalServer, majorOf, postgresBinDir, serverConfig, supervisorOf, within } from "../harness/local-server.ts";
import { serverPorts } from "../harness/ports.ts";
import { ownMs } from "../harness/stall.ts";
import { describeUnprivileged, scratchFolder } from "../harness/unprivileged.ts";

const [PORT_A, PORT_B, PORT_C, PORT_D, PORT_E, PORT_F, NOBODYS_PORT] = (await serverPorts(7)) as [
  number,
  number,
  number,
  number,
  number,
  number,
  number,
];
const TIMEOUT_MS = 120_000;
const PASSWORDS = { admin: "su 'quoted' \\ pass:word", replicator: "re:pl", rewinder: "rew\\ind" };

setDefaultTimeout(60_000);

describeUnprivileged("files, bootstrap, clone and rewind", { file: import.meta.path, timeoutMs: TIMEOUT_MS }, () => {
  let folder = "";
  const nodes: LocalServer[] = [];

  beforeAll(async () => {
    folder = scratchFolder("matriarch-files");
  });

  afterAll(async () => {
    for (const node of nodes) await discard(node);
    await rm(folder, { recursive: true, force: true });
  });

  function soon(seconds: number) {
    return within(seconds * 1000);
  }

  function config(name: string, port: number, changes: Partial<PostgresqlConfig> = {}): PostgresqlConfig {
    const user = (username: keyof typeof PASSWORDS) => ({ username, password: PASSWORDS[username], options: { sslmode: "prefer" } });
    return {
      ...serverConfig(folder, name, port),
      superuser: user("admin"),
      replication: user("replicator"),
      rewind: user("rewinder"),
      parameters: {
        unix_socket_directories: folder,
        wal_retrieve_retry_interval: "200ms",
        nonsense: 1,
        work_mem: "8MB",
        fsync: false,
        log_min_messages: "lots",
      },
      controlledParameters: { ...serverConfig(folder, name, port).controlledParameters, max_connections: "30", wal_keep_size: "16MB" },
      parametersReplica: { work_mem: "4MB" },
      pgHba: ["local all all trust", "host all all 127.0.0.1/32 scram-sha-256", "host replication replicator 127.0.0.1/32 scram-sha-256"],
      ...changes,
    };
  }

  function node(name: string, port: number, changes: Partial<PostgresqlConfig> = {}): LocalPostgresql {
    const made = supervisorOf(config(name, port, changes), name);
    nodes.push(made);
    return made.postgresql;
  }

  const bootstrapWith = (changes: Partial<BootstrapConfig> = {}): BootstrapConfig => ({
    dcs: {},
    initdb: [
      ["data-checksums", null],
      ["encoding", "UTF8"],
      ["auth-host", "scram-sha-256"],
    ],
    method: "initdb",
    methodOptions: null,
    postBootstrap: null,
    pgHba: [],
    ...changes,
  });

  const sourceOf = (name: string, port: number, slotName: string | null): FollowTarget => ({ name, host: "127.0.0.1", port, slotName });

  /** One statement as a user of the cluster, over TCP with the password. */
  async function sql(port: number, text: string): Promise<string> {
    const run = programRunner(config("a", PORT_A), clock);
    const outcome = await run({
      argv: ["psql", "-XAtq", "-d", `host=127.0.0.1 port=${port} user=admin dbname=postgres`, "-c", text],
      env: { PGPASSFILE: join(folder, "a.pgpass") },
    });
    if (!outcome.ok || outcome.value.exitCode !== 0) throw new Error(`${text}: ${JSON.stringify(outcome)}`);
    return outcome.value.stdout.trim();
  }

  async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
    const giveUpAt = clock.now() + 40_000;
    while (!(await condition())) {
      if (clock.now() > giveUpAt) throw new Error(`not reached: ${what}`);
      await Bun.sleep(20);
    }
  }

  const startAs = (which: LocalPostgresql, role: "primary" | "standby", follow: FollowTarget | null) =>
    which.start({ role, follow, synchronousStandbyNames: null, deadline: soon(30), signal: new AbortController().signal });

  const stop = (which: LocalPostgresql, mode: "fast" | "immediate") => which.stop({ mode, deadline: soon(20) });

  const quiet = () => ({ signal: new AbortController().signal, progress: () => undefined });

  let a: LocalPostgresql;
  let b: LocalPostgresql;

  test("bootstrap makes a writable cluster with its users, and runs post_bootstrap with a connection string and a pgpass file", async () => {
    a = node("a", PORT_A);
    const script = join(folder, "post.sh");
    await writeFile(
      script,
      `#!/bin/sh\necho "$1 $(stat -c %a $PGPASSFILE)" > ${folder}/post.out\necho "$PGOPTIONS" > ${folder}/post.options\n`,
      { mode: 0o755 },
    );
    const made = await a.bootstrap({ bootstrap: bootstrapWith({ postBootstrap: `${script}` }), ...quiet() });
    expect(made).toEqual({ ok: true, value: null });
    expect(existsSync(makingMarkerPath(join(folder, "a")))).toBe(false);
    expect((await readFile(join(folder, "post.out"), "utf8")).trim()).toBe(
      `dbname=postgres user=admin host=${folder} port=${PORT_A} sslmode=prefer 600`,
    );
    expect(await readFile(join(folder, "post.options"), "utf8")).toBe("-c synchronous_commit=local -c statement_timeout=0\n");
    expect(await sql(PORT_A, "SELECT rolname, rolsuper, rolreplication FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")).toBe(
      "admin|t|t\nreplicator|f|t\nrewinder|f|f",
    );
    expect(await sql(PORT_A, "SELECT has_function_privilege('rewinder', 'pg_read_binary_file(text)', 'EXECUTE')")).toBe("t");
  });

  test("no password is in a log, in a process list or in a file that others can read", async () => {
    const text = [...nodes.flatMap((each) => each.log.lines), await readFile(startupLogPath(join(folder, "a")), "utf8")].join("\n");
    for (const password of Object.values(PASSWORDS)) expect(text).not.toContain(password);
    expect((await stat(join(folder, "a.pgpass"))).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, "a", "postgresql.conf"))).mode & 0o777).toBe(0o600);
  });

  test("the original postgresql.conf is included first, unknown and refused parameters are left out with a warning", async () => {
    const written = await readFile(join(folder, "a", "postgresql.conf"), "utf8");
    expect(written).toContain("include 'postgresql.base.conf'");
    expect(written).not.toContain("nonsense");
    expect(await readFile(join(folder, "a", "postgresql.base.conf"), "utf8")).toContain("PostgreSQL configuration file");
    const said = nodes.flatMap((each) => each.log.lines).join("\n");
    expect(said).toContain("nonsense");
    expect(said).toContain("log_min_messages");
    expect((await a.faults()).map((fault) => fault.path).sort()).toEqual([
      "postgresql.parameters.log_min_messages",
      "postgresql.parameters.nonsense",
    ]);
    expect(await sql(PORT_A, "SHOW work_mem")).toBe("8MB");
    expect(await sql(PORT_A, "SHOW cluster_name")).toBe("demo");
  });

  test("a second configure with the same values changes nothing, and one that needs a restart says what and why", async () => {
    expect(await a.configure(config("a", PORT_A), { role: "primary" })).toEqual({ ok: true, value: {} });
    const changed = config("a", PORT_A, {
      parameters: {
        ...config("a", PORT_A).parameters,
        shared_buffers: "128MB",
        work_mem: "16MB",
        shared_preload_libraries: "pg_stat_statements",
      },
      controlledParameters: { ...config("a", PORT_A).controlledParameters, max_connections: "40" },
    });
    expect(await a.configure(changed, { role: "primary" })).toEqual({
      ok: true,
      value: {
        max_connections: { old_value: "30", new_value: "40" },
        shared_preload_libraries: { old_value: "", new_value: "pg_stat_statements" },
      },
    });
    await until("work_mem reloaded", async () => (await sql(PORT_A, "SHOW work_mem")) === "16MB");
    expect(await a.configure(config("a", PORT_A), { role: "primary" })).toEqual({ ok: true, value: {} });
  });

  test("an operator's own synchronous_standby_names comes back where the HA loop lets go, and is checked like any other parameter", async () => {
    const own = (value: string) => ({
      ...config("a", PORT_A),
      parameters: { ...config("a", PORT_A).parameters, synchronous_standby_names: value },
    });
    expect((await a.configure(own("reporting"), { role: "primary" })).ok).toBe(true);
    expect(await a.setSynchronousStandbyNames("b", soon(5))).toEqual({ ok: true, value: null });
    expect(await sql(PORT_A, "SHOW synchronous_standby_names")).toBe("b");
    expect(await a.setSynchronousStandbyNames(null, soon(5))).toEqual({ ok: true, value: null });
    expect(await sql(PORT_A, "SHOW synchronous_standby_names")).toBe("reporting");
    expect((await a.configure(config("a", PORT_A), { role: "primary" })).ok).toBe(true);
    await until("nobody is waited for", async () => (await sql(PORT_A, "SHOW synchronous_standby_names")) === "");
  });

  test("names that a session shows already are not taken for names that commits wait for, as long as the checkpointer has not taken them", async () => {
    const told = readSleep(process.pid) !== null;
    const checkpointer = Number(await sql(PORT_A, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"));
    const waits = () => a.commitsWait(soon(60));
    process.kill(checkpointer, "SIGSTOP");
    try {
      expect(await a.setSynchronousStandbyNames("b", soon(60))).toEqual({ ok: true, value: null });
      expect(await waits()).toEqual({ ok: true, value: told ? "not-yet" : "unknown" });
      // Acknowledged by nobody else, although the session shows the name.
      await sql(PORT_A, "CREATE TABLE unwaited()");
    } finally {
      process.kill(checkpointer, "SIGCONT");
    }
    await until("commits wait", async () => {
      const answer = await waits();
      return answer.ok && answer.value === (told ? "yes" : "unknown");
    });
    expect((await a.setSynchronousStandbyNames("", soon(60))).ok).toBe(true);
    await sql(PORT_A, "DROP TABLE unwaited");
  });

  test("pg_hba that is taken out of the configuration stays in force, and the file does not claim to be managed any more", async () => {
    const path = join(folder, "a", "pg_hba.conf");
    const before = await readFile(path, "utf8");
    expect(before).toStartWith("# Written by Matriarch");
    expect((await a.configure({ ...config("a", PORT_A), pgHba: null }, { role: "primary" })).ok).toBe(true);
    const left = await readFile(path, "utf8");
    expect(left).toStartWith("# Left by Matriarch");
    expect(left.split("\n").slice(1)).toEqual(before.split("\n").slice(1));
    // The operator's from here on.
    await writeFile(path, `${left}# mine\n`);
    expect((await a.configure({ ...config("a", PORT_A), pgHba: null, parameters: { work_mem: "5MB" } }, { role: "primary" })).ok).toBe(
      true,
    );
    expect(await readFile(path, "utf8")).toBe(`${left}# mine\n`);
    expect((await a.configure(config("a", PORT_A), { role: "primary" })).ok).toBe(true);
    expect(await readFile(path, "utf8")).toBe(before);
  });

  test("a setting of ALTER SYSTEM does not win over the synchronous standbys that the HA loop decided", async () => {
    await sql(PORT_A, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    await sql(PORT_A, "ALTER SYSTEM SET maintenance_work_mem = '32MB'");
    expect(await a.setSynchronousStandbyNames("", soon(5))).toEqual({ ok: true, value: null });
    expect(await sql(PORT_A, "SHOW synchronous_standby_names")).toBe("");
    expect(await sql(PORT_A, "SHOW maintenance_work_mem")).toBe("32MB");
  });

  test("a foreign directory is refused by clone and by removal, and stays as it is", async () => {
    await mkdir(join(folder, "b"));
    await writeFile(join(folder, "b", "thesis.txt"), "years of work");
    b = node("b", PORT_B);
    const cloned = await b.clone({ methods: "members", source: sourceOf("a", PORT_A, null), ...quiet() });
    expect(cloned.ok || cloned.error.kind).toBe("refused");
    const removed = await b.removeDataDirectory();
    expect(removed.ok || removed.error.kind).toBe("refused");
    expect(await readdir(join(folder, "b"))).toEqual(["thesis.txt"]);
    await rm(join(folder, "b"), { recursive: true });
  });

  test("an aborted clone leaves its marker, and the next clone clears what it left", async () => {
    const abort = new AbortController();
    const slow = node("b", PORT_B, { basebackup: [["max-rate", "256k"]] });
    const outcome = await slow.clone({
      methods: "members",
      source: sourceOf("a", PORT_A, null),
      signal: abort.signal,
      progress: (text) => {
        if (text.startsWith("copying")) abort.abort();
      },
    });
    expect(outcome.ok || outcome.error.kind).toBe("cancelled");
    expect(await readFile(makingMarkerPath(join(folder, "b")), "utf8")).toBe("clone\n");
    expect((await b.inspect()).dataDirectory).toEqual({ kind: "half-made", by: "clone" });
  });

  test("a clone through a slot streams under the member's name", async () => {
    expect(await a.changeSlots([{ kind: "create-physical", name: "b" }])).toEqual({
      ok: true,
      value: [{ level: "info", text: "Created physical replication slot 'b'" }],
    });
    const lines: string[] = [];
    const cloned = await b.clone({
      methods: "members",
      source: sourceOf("a", PORT_A, "b"),
      signal: new AbortController().signal,
      progress: (text) => lines.push(text),
    });
    expect(cloned).toEqual({ ok: true, value: null });
    expect(lines.join("\n")).toContain("100%");
    expect(await startAs(b, "standby", sourceOf("a", PORT_A, "b"))).toEqual({ ok: true, value: null });
    await until(
      "streaming",
      async () => (await sql(PORT_A, "SELECT application_name || ' ' || state FROM pg_stat_replication")) === "b streaming",
    );
    expect(await sql(PORT_A, "SELECT active FROM pg_replication_slots WHERE slot_name = 'b'")).toBe("t");
    expect(await sql(PORT_B, "SHOW work_mem")).toBe("4MB");
    expect(existsSync(join(folder, "b", "standby.signal"))).toBe(true);
  });

  test("a slot that is in use stays, and what fails keeps nothing else from being done", async () => {
    const why = (name: string) => `Trying to drop unknown replication slot '${name}'`;
    const done = await a.changeSlots([
      { kind: "drop", name: "b", why: why("b") },
      { kind: "create-physical", name: "gone" },
      { kind: "create-physical", name: "gone" },
      { kind: "drop", name: "gone", why: why("gone") },
      { kind: "drop", name: "never", why: why("never") },
    ]);
    expect(done.ok && done.value).toEqual([
      { level: "info", text: why("b") },
      { level: "warning", text: "Unable to drop replication slot 'b', slot is active" },
      { level: "info", text: "Created physical replication slot 'gone'" },
      { level: "error", text: expect.stringContaining("Failed to create physical replication slot 'gone': ") },
      { level: "info", text: why("gone") },
      { level: "info", text: "Dropped replication slot 'gone'" },
      { level: "info", text: why("never") },
    ]);
  });

  test("a standby keeps what its primary had when the configuration asks for less", async () => {
    expect(await stop(b, "fast")).toEqual({ ok: true, value: null });
    const less = { ...config("b", PORT_B).controlledParameters, max_connections: "25" };
    const pending = await b.configure(config("b", PORT_B, { controlledParameters: less }), { role: "replica" });
    expect(pending.ok).toBe(true);
    expect(await startAs(b, "standby", sourceOf("a", PORT_A, "b"))).toEqual({ ok: true, value: null });
    expect(await sql(PORT_B, "SHOW max_connections")).toBe("30");
    expect(await b.configure(config("b", PORT_B, { controlledParameters: less }), { role: "replica" })).toEqual({
      ok: true,
      value: { max_connections: { old_value: "30", new_value: "25" } },
    });
    await b.configure(config("b", PORT_B), { role: "replica" });
  });

  test("a standby's directory is never started as a primary without a promotion", async () => {
    await stop(b, "fast");
    const started = await startAs(b, "primary", null);
    expect(started.ok || started.error.kind).toBe("refused");
    expect(existsSync(join(folder, "b", "standby.signal"))).toBe(true);
    await startAs(b, "standby", sourceOf("a", PORT_A, "b"));
  });

  async function planFor(which: LocalPostgresql, source: FollowTarget) {
    const control = await which.controlData();
    const end = await which.localEndOfWal();
    const upstream = await which.upstreamHistory(source, soon(5));
    if (!control.ok || !end.ok || !upstream.ok) throw new Error(JSON.stringify([control, end, upstream].map(errorOf)));
    const local = { ...control.value, timeline: timeline(end.value.timeline), lsn: lsn(end.value.lsn) };
    return rewindPlan({ local, upstream: upstream.value, usePgRewind: true, removeOnDivergedTimelines: false });
  }

  const errorOf = (result: Result<unknown, unknown>) => (result.ok ? null : result.error);

  test("after a clean handover the old primary only follows", async () => {
    await until("b streams", async () => (await sql(PORT_A, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "1");
    expect(await stop(a, "fast")).toEqual({ ok: true, value: null });
    expect(await b.promote({ deadline: soon(10), synchronousStandbyNames: null, namesHold: false, onWritable: () => undefined })).toEqual({
      ok: true,
      value: null,
    });
    const plan = await planFor(a, sourceOf("b", PORT_B, null));
    expect(plan.kind).toBe("follow");
    await b.changeSlots([{ kind: "create-physical", name: "a" }]);
    expect(await startAs(a, "standby", sourceOf("b", PORT_B, "a"))).toEqual({ ok: true, value: null });
    await until(
      "a streams",
      async () => (await sql(PORT_B, "SELECT application_name || ' ' || state FROM pg_stat_replication")) === "a streaming",
    );
  });

  test("a crashed primary with WAL of its own is rewound and follows, and its own rows are gone", async () => {
    await sql(PORT_B, "CREATE TABLE t (n int)");
    await sql(PORT_B, "INSERT INTO t SELECT generate_series(1, 1000)");
    await until(
      "a has it",
      async () => (await sql(PORT_A, "SELECT to_regclass('t') IS NOT NULL AND pg_last_wal_replay_lsn() >= '0/0'")) === "t",
    );
    await until("a replayed", async () => (await sql(PORT_A, "SELECT count(*) FROM t")) === "1000");
    await stop(a, "fast");
    await sql(PORT_B, "INSERT INTO t SELECT generate_series(1001, 1500)");
    await stop(b, "immediate");
    expect(await startAs(a, "standby", null)).toEqual({ ok: true, value: null });
    expect(await a.promote({ deadline: soon(10), synchronousStandbyNames: null, namesHold: false, onWritable: () => undefined })).toEqual({
      ok: true,
      value: null,
    });
    await sql(PORT_A, "INSERT INTO t VALUES (-1)");
    const plan = await planFor(b, sourceOf("a", PORT_A, null));
    expect(plan).toMatchObject({ kind: "rewind" });
    expect(await b.crashRecover(new AbortController().signal)).toEqual({ ok: true, value: null });
    const lines: string[] = [];
    const rewound = await b.rewind({
      source: sourceOf("a", PORT_A, null),
      signal: new AbortController().signal,
      progress: (text) => lines.push(text),
    });
    expect(rewound).toEqual({ ok: true, value: null });
    await a.changeSlots([{ kind: "create-physical", name: "b" }]);
    expect(await startAs(b, "standby", sourceOf("a", PORT_A, "b"))).toEqual({ ok: true, value: null });
    await until(
      "b streams",
      async () => (await sql(PORT_A, "SELECT application_name || ' ' || state FROM pg_stat_replication")) === "b streaming",
    );
    await until("b replayed", async () => (await sql(PORT_B, "SELECT count(*) || ' ' || min(n) FROM t")) === "1001 -1");
  });

  test("upstream history names every switch of timeline", async () => {
    const history = await b.upstreamHistory(sourceOf("a", PORT_A, null), soon(5));
    expect(history.ok && history.value.timeline).toBe(3 as never);
    expect(history.ok && history.value.switches.map((entry) => Number(entry.timeline))).toEqual([1, 2]);
    const nobody = await b.upstreamHistory(sourceOf("x", PORT_C, null), soon(5));
    expect(nobody.ok || nobody.error.kind).toBe("unreachable");
  });

  test("the end of WAL of a crashed server is where its recovery ends", async () => {
    await sql(PORT_A, "INSERT INTO t SELECT generate_series(1, 20000)");
    const written = BigInt(await sql(PORT_A, "SELECT pg_current_wal_flush_lsn() - '0/0'"));
    await stop(a, "immediate");
    const end = await a.localEndOfWal();
    expect(end.ok && Number(end.value.timeline)).toBe(3);
    expect(end.ok && end.value.lsn >= written && end.value.lsn < written + 8192n).toBe(true);
    expect(await startAs(a, "primary", null)).toEqual({ ok: true, value: null });
    await until("b streams", async () => (await sql(PORT_A, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "1");
  });

  test("the end of WAL is found where the WAL ends with its last file", async () => {
    await until("b replayed", async () => (await sql(PORT_B, "SELECT count(*) FROM t")) === "21001");
    await sql(PORT_A, "SELECT pg_switch_wal()");
    await stop(a, "immediate");
    const folderOfA = join(folder, "a", "pg_wal");
    const segments = (await readdir(folderOfA)).filter((name) => /^00000003[0-9A-F]{16}$/.test(name)).sort();
    const before = await a.localEndOfWal();
    if (!before.ok) throw new Error(before.error.message);
    const last = segments.findIndex((name) => Number.parseInt(name.slice(16), 16) === Number((before.value.lsn - 1n) >> 24n));
    for (const name of segments.slice(last + 1)) await rm(join(folderOfA, name));
    const askedAt = performance.now();
    expect(await a.localEndOfWal()).toEqual(before);
    expect(ownMs(askedAt)).toBeLessThan(3_000);
    expect(await startAs(a, "primary", null)).toEqual({ ok: true, value: null });
    await until("b streams", async () => (await sql(PORT_A, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "1");
  });

  test("the end of WAL is found beside a segment that was made and never written", async () => {
    await stop(a, "immediate");
    const before = await a.localEndOfWal();
    if (!before.ok) throw new Error(before.error.message);
    const next = ((before.value.lsn - 1n) >> 24n) + 1n;
    const names = [next, 0n].map((number) => `00000003${"0".repeat(8)}${number.toString(16).toUpperCase().padStart(8, "0")}`);
    const made = names.filter((name) => !existsSync(join(folder, "a", "pg_wal", name)));
    for (const name of made) await writeFile(join(folder, "a", "pg_wal", name), new Uint8Array(1 << 24));
    expect(await a.localEndOfWal()).toEqual(before);
    for (const name of made) await rm(join(folder, "a", "pg_wal", name));
    expect(await startAs(a, "primary", null)).toEqual({ ok: true, value: null });
    await until("b streams", async () => (await sql(PORT_A, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "1");
  });

  test("a crashed standby with WAL that the new primary never had is rewound too", async () => {
    const c = node("c", PORT_C);
    await a.changeSlots([{ kind: "create-physical", name: "c" }]);
    expect((await c.clone({ methods: "members", source: sourceOf("a", PORT_A, "c"), ...quiet() })).ok).toBe(true);
    await startAs(c, "standby", sourceOf("a", PORT_A, "c"));
    await until(
      "both stream",
      async () => (await sql(PORT_A, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "2",
    );
    await stop(c, "fast");
    await sql(PORT_A, "INSERT INTO t SELECT generate_series(1, 500)");
    await until("b replayed", async () => (await sql(PORT_B, "SELECT count(*) FROM t")) === "21501");
    await stop(b, "immediate");
    await stop(a, "immediate");
    await startAs(c, "standby", null);
    expect(await c.promote({ deadline: soon(10), synchronousStandbyNames: null, namesHold: false, onWritable: () => undefined })).toEqual({
      ok: true,
      value: null,
    });
    const plan = await planFor(b, sourceOf("c", PORT_C, null));
    expect(plan).toMatchObject({ kind: "rewind" });
    expect(await b.crashRecover(new AbortController().signal)).toEqual({ ok: true, value: null });
    expect((await b.controlData()).ok && existsSync(join(folder, "b", "standby.signal"))).toBe(true);
    expect(await b.rewind({ source: sourceOf("c", PORT_C, null), ...quiet() })).toEqual({ ok: true, value: null });
    expect(await startAs(b, "standby", sourceOf("c", PORT_C, null))).toEqual({ ok: true, value: null });
    await until(
      "b streams from c",
      async () => (await sql(PORT_C, "SELECT application_name || ' ' || state FROM pg_stat_replication")) === "b streaming",
    );
    expect(await sql(PORT_B, "SELECT count(*) FROM t")).toBe("21001");
    expect(await planFor(a, sourceOf("c", PORT_C, null))).toMatchObject({ kind: "rewind" });
    const unreachable = await a.rewind({ source: sourceOf("x", NOBODYS_PORT, null), ...quiet() });
    expect(unreachable.ok || unreachable.error.kind).toBe("failed");
    expect(existsSync(rewindingMarkerPath(join(folder, "a")))).toBe(false);
    await writeFile(rewindingMarkerPath(join(folder, "a")), "rewind\n");
    const unsafe = await startAs(a, "standby", sourceOf("c", PORT_C, null));
    expect(unsafe.ok || unsafe.error.kind).toBe("refused");
    expect(await a.rewind({ source: sourceOf("c", PORT_C, null), ...quiet() })).toEqual({ ok: true, value: null });
    expect(await startAs(a, "standby", sourceOf("c", PORT_C, null))).toEqual({ ok: true, value: null });
    await until("a streams", async () => (await sql(PORT_C, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")) === "2");
    expect(await stop(c, "fast")).toEqual({ ok: true, value: null });
    expect(await a.promote({ deadline: soon(10), synchronousStandbyNames: null, namesHold: false, onWritable: () => undefined })).toEqual({
      ok: true,
      value: null,
    });
    expect((await c.removeDataDirectory()).ok).toBe(true);
  });

  test("the recovery of a crashed standby is not ended on a timeline of the primary's: pg_rewind is refused, and the standby goes on", async () => {
    const source = sourceOf("a", PORT_A, null);
    const follows = async (rows: number) => {
      expect(await startAs(b, "standby", source)).toEqual({ ok: true, value: null });
      await sql(PORT_A, "CHECKPOINT");
      await sql(PORT_A, "INSERT INTO t VALUES (-2)");
      await until("b has what a writes", async () => (await sql(PORT_B, "SELECT count(*) FROM t WHERE n = -2")) === String(rows));
      // A restart point: from here on pg_control is on a's timeline.
      await sql(PORT_B, "CHECKPOINT");
    };
    const leads = await b.upstreamHistory(source, soon(5));
    const onLeaders = (control: Awaited<ReturnType<typeof b.controlData>>) =>
      control.ok && leads.ok && Math.max(control.value.timeline, control.value.minRecoveryTimeline ?? 0) === leads.value.timeline;
    for (const rows of [1, 2]) {
      await stop(b, "immediate");
      if (rows === 2) expect(onLeaders(await b.controlData())).toBe(true);
      const control = await b.controlData();
      expect(control.ok && control.value.state).toBe("in archive recovery");
      // As restore_command brings it, of somebody who was promoted by hand: only where nothing of it can be in the data it goes.
      const stray = join(folder, "b", "pg_wal", "0000000F.history");
      await writeFile(stray, `${control.ok ? control.value.timeline : 0}\t0/1000000\tby hand\n`);
      const refused = await b.rewind({ source, ...quiet() });
      expect(refused.ok || refused.error).toMatchObject({ kind: "refused", message: expect.stringContaining("has to be started") });
      expect(await b.controlData()).toEqual(control);
      expect(existsSync(join(folder, "b", "standby.signal"))).toBe(true);
      expect(existsSync(stray)).toBe(!onLeaders(control));
      await rm(stray, { force: true });
      await follows(rows);
    }
  });

  test("removal refuses while the server runs, then empties linked WAL and leaves nothing", async () => {
    const refused = await b.removeDataDirectory();
    expect(refused.ok || refused.error.kind).toBe("refused");
    const space = join(folder, "space");
    const own = `PG_${majorOf(postgresBinDir())}_202209061`;
    await mkdir(join(space, "PG_12_201909212"), { recursive: true });
    await mkdir(join(space, own));
    await writeFile(join(space, own, "data"), "x");
    await writeFile(join(space, "other"), "x");
    await stop(b, "fast");
    await symlink(space, join(folder, "b", "pg_tblspc", "16999"));
    const wal = join(folder, "b-wal");
    await programRunner(config("b", PORT_B), clock)({ argv: ["mv", join(folder, "b", "pg_wal"), wal] });
    await symlink(wal, join(folder, "b", "pg_wal"));
    expect(await b.removeDataDirectory()).toEqual({ ok: true, value: null });
    expect(await readdir(join(folder, "b"))).toEqual([]);
    expect(await readdir(wal)).toEqual([]);
    // Of another version: a cluster that shares the place, whose server may run.
    expect((await readdir(space)).sort()).toEqual(["PG_12_201909212", "other"]);
    expect(existsSync(makingMarkerPath(join(folder, "b")))).toBe(false);
  });

  test("replica methods are tried in order, with our arguments and the section's own", async () => {
    const script = join(folder, "fail.sh");
    await writeFile(script, `#!/bin/sh\nfor a in "$@"; do echo "$a"; done > ${folder}/method.out\ntouch ${folder}/b/rest\nexit 3\n`, {
      mode: 0o755,
    });
    await b.configure(config("b", PORT_B), { role: "replica" });
    const own = node("b", PORT_B, {
      createReplicaMethods: ["backup", "basebackup"],
      methodOptions: { backup: { command: `${script} 'one word'`, stanza: "x y" } },
    });
    expect(await own.clone({ methods: "members", source: sourceOf("a", PORT_A, "b"), ...quiet() })).toEqual({ ok: true, value: null });
    expect((await readFile(join(folder, "method.out"), "utf8")).trim().split("\n")).toEqual([
      "one word",
      "--scope=demo",
      "--role=replica",
      `--datadir=${join(folder, "b")}`,
      `--connstring=dbname=postgres user=replicator host=127.0.0.1 port=${PORT_A} sslmode=prefer`,
      "--stanza=x y",
    ]);
    expect(existsSync(join(folder, "b", "rest"))).toBe(false);
    expect(await startAs(own, "standby", sourceOf("a", PORT_A, "b"))).toEqual({ ok: true, value: null });
    await stop(own, "fast");
  });

  test("a custom bootstrap from a backup is recovered, gets the configured passwords and a timeline of its own", async () => {
    const c = node("c", PORT_C, { superuser: { username: "other", password: "changed", options: {} } });
    const script = join(folder, "restore.sh");
    const from = `host=127.0.0.1 port=${PORT_A} user=replicator passfile=${folder}/a.pgpass`;
    await writeFile(
      script,
      `#!/bin/sh\nfor a in "$@"; do case $a in --datadir=*) d=\${a#--datadir=};; esac; done\nexec ${postgresBinDir()}/pg_basebackup -D "$d" -d "${from}" -X stream -c fast\n`,
      { mode: 0o755 },
    );
    const bootstrap = bootstrapWith({
      method: "restore",
      methodOptions: { command: script, recovery_conf: { restore_command: "false", recovery_target_timeline: "latest" } },
    });
    expect(await c.bootstrap({ bootstrap, ...quiet() })).toEqual({ ok: true, value: null });
    const status = await c.status(soon(5));
    expect(status.ok && [status.value.inRecovery, Number(status.value.timeline)]).toEqual([false, 6]);
    expect(existsSync(makingMarkerPath(join(folder, "c")))).toBe(false);
  });

  test("a bootstrap whose post_bootstrap fails ends its server, and the next one begins from nothing", async () => {
    const d = node("d", PORT_D, { configDir: join(folder, "d-config"), pgHba: null });
    await mkdir(join(folder, "d-config"));
    const bad = join(folder, "bad.sh");
    await writeFile(bad, "#!/bin/sh\necho broken >&2\nexit 9\n", { mode: 0o755 });
    const failed = await d.bootstrap({ bootstrap: bootstrapWith({ postBootstrap: bad }), ...quiet() });
    expect(failed.ok || failed.error.message).toContain("exit status 9: broken");
    expect(await d.inspect()).toEqual({ dataDirectory: { kind: "half-made", by: "initdb" }, process: { kind: "none" } });
    const again = await d.bootstrap({ bootstrap: bootstrapWith({ pgHba: ["host all all 10.0.0.0/8 reject"] }), ...quiet() });
    expect(again).toEqual({ ok: true, value: null });
    expect(await readFile(join(folder, "d-config", "postgresql.base.conf"), "utf8")).toContain("PostgreSQL configuration file");
    expect(await readFile(join(folder, "d", "pg_hba.conf"), "utf8")).toEndWith("host all all 10.0.0.0/8 reject\n");
    const status = await d.status(soon(5));
    expect(status.ok && status.value.inRecovery).toBe(false);
  });

  test("a user that cannot be made fails the bootstrap without telling its password", async () => {
    const f = node("f", PORT_F, { replication: { username: "pg_reserved", password: "hush-hush", options: {} } });
    const made = await f.bootstrap({ bootstrap: bootstrapWith(), ...quiet() });
    expect(made.ok || made.error.message).toContain("reserved");
    expect(JSON.stringify(made) + nodes.flatMap((each) => each.log.lines).join("\n")).not.toContain("hush-hush");
  });

  test("a configuration that cannot be written is one clear error", async () => {
    const e = node("e", PORT_E, { pgpass: join(folder, "absent", "pgpass") });
    const made = await e.bootstrap({ bootstrap: bootstrapWith(), ...quiet() });
    expect(made.ok || made.error.message).toContain(join(folder, "absent", "pgpass"));
  });
});
