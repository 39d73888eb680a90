// Goal: the parts of lib/postgres that handle processes and connections do what their interface says on a real server:
// start, adopt, notice an exit, stop in every way, promote fast, never touch what is not theirs.
// Method: real servers of the installed version on a memory disk; times are bounded generously, and printed.

import { afterAll, expect, test } from "bun:test";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SQL } from "bun";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import { Connection, localEndpoint } from "../../lib/postgres/connection.ts";
import { readPostmasterPid } from "../../lib/postgres/data-directory.ts";
import { pollUntil } from "../../lib/postgres/poll.ts";
import { readProcess } from "../../lib/postgres/processes.ts";
import { startupLogPath } from "../../lib/postgres/startup-log.ts";
import {
  clock,
  discard,
  foreignDirectory,
  type LocalServer,
  newServer,
  newStandby,
  serverConfig,
  supervisorOf,
  within,
} from "../harness/local-server.ts";
import { serverPorts } from "../harness/ports.ts";
import { ownMs } from "../harness/stall.ts";
import { describeUnprivileged, scratchFolder } from "../harness/unprivileged.ts";
import { until } from "../harness/wait.ts";

const [PORT, STANDBY_PORT] = (await serverPorts(2)) as [number, number];
const TEST_TIMEOUT_MS = 240_000;
const never = new AbortController().signal;

function value<T>(result: Result<T, { readonly kind: string; readonly message: string }>): T {
  if (!result.ok) throw new Error(`${result.error.kind}: ${result.error.message}`);
  return result.value;
}

function say(text: string): void {
  process.stderr.write(`      ${text}\n`);
}

async function startPrimary(server: LocalServer, synchronousStandbyNames: string | null = null): Promise<void> {
  value(await server.postgresql.start({ role: "primary", follow: null, synchronousStandbyNames, deadline: within(30_000), signal: never }));
}

async function startStandby(server: LocalServer, source: LocalServer): Promise<void> {
  const follow = { name: source.name, host: "127.0.0.1", port: source.port, slotName: null };
  value(await server.postgresql.start({ role: "standby", follow, synchronousStandbyNames: null, deadline: within(30_000), signal: never }));
}

async function untilStreaming(server: LocalServer): Promise<void> {
  for (;;) {
    const status = await server.postgresql.status(within(1_000));
    if (status.ok && status.value.replicationState === "streaming") return;
    await Bun.sleep(5);
  }
}

function client(folder: string, server: LocalServer): SQL {
  return new SQL({
    adapter: "postgres",
    url: "postgres://localhost/",
    path: `${folder}/.s.PGSQL.${server.port}`,
    username: "postgres",
    database: "postgres",
    max: 1,
  });
}

async function postmasterPid(server: LocalServer): Promise<number> {
  const { process } = await server.postgresql.inspect();
  if (process.kind !== "running") throw new Error("not running");
  return process.pid;
}

/** Four clients that write without pause until their connection ends; `last` is the time of the last acknowledged write. */
async function fourWriters(folder: string, server: LocalServer) {
  const setup = client(folder, server);
  await setup.unsafe("CREATE TABLE IF NOT EXISTS written (id bigserial, at timestamptz DEFAULT now())");
  await setup.close({ timeout: 0 });
  const state = { last: 0, rows: 0 };
  const writers = [1, 2, 3, 4].map(async () => {
    const sql = client(folder, server);
    try {
      for (;;) {
        await sql.unsafe("INSERT INTO written DEFAULT VALUES");
        state.last = clock.now();
        state.rows += 1;
      }
    } catch {
      // The server has gone: the end of every writer here.
    } finally {
      await sql.close({ timeout: 0 });
    }
  });
  await pollUntil({ clock, deadline: within(5_000), intervalMs: 2 }, () => (state.rows >= 20 ? true : null));
  return { state, ended: Promise.all(writers) };
}

describeUnprivileged("a real PostgreSQL", { file: import.meta.path, timeoutMs: TEST_TIMEOUT_MS }, () => {
  const folder = scratchFolder("matriarch-process");
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("starts, answers its status in one query, and stops", async () => {
    const server = newServer(folder, "one", PORT);
    try {
      expect(await server.postgresql.inspect()).toEqual({
        dataDirectory: { kind: "valid", majorVersion: expect.any(Number) as unknown as number },
        process: { kind: "none" },
      });
      const began = clock.now();
      await startPrimary(server);
      say(`started in ${Math.round(clock.now() - began)} ms`);
      const status = value(await server.postgresql.status(within(20_000)));
      expect(status).toMatchObject({
        inRecovery: false,
        timeline: 1,
        replication: [],
        slots: [],
        synchronousStandbyNames: "",
        primaryConninfo: "",
      });
      expect(status.systemIdentifier).toBe(value(await server.postgresql.controlData()).systemIdentifier);
      const times: number[] = [];
      for (let round = 0; round < 50; round += 1) {
        const asked = performance.now();
        value(await server.postgresql.status(within(20_000)));
        times.push(ownMs(asked));
      }
      times.sort((left, right) => left - right);
      say(`status: median ${times[25]?.toFixed(2)} ms, slowest ${times[49]?.toFixed(2)} ms`);
      expect(times[25]).toBeLessThan(10);
      const stopped = clock.now();
      value(await server.postgresql.stop({ mode: "fast", deadline: within(10_000) }));
      say(`stopped in ${Math.round(clock.now() - stopped)} ms`);
      expect((await server.postgresql.inspect()).process).toEqual({ kind: "none" });
      expect(value(await server.postgresql.controlData()).state).toBe("shut down");
      expect(await server.postgresql.status(within(500))).toMatchObject({ ok: false, error: { kind: "unreachable" } });
    } finally {
      await discard(server);
    }
  });

  test("an exit is reported at once, for a server that was started and for one that was adopted", async () => {
    const server = newServer(folder, "exits", PORT);
    const other = supervisorOf(server.config, server.name);
    try {
      for (const watcher of [server, other]) {
        await startPrimary(server);
        value(await watcher.postgresql.adopt());
        value(await watcher.postgresql.status(within(20_000)));
        const pid = await postmasterPid(watcher);
        let calls = 0;
        const seen = new Promise<number>((resolve) => {
          watcher.postgresql.onPostmasterExit(() => {
            calls += 1;
            resolve(performance.now());
          });
        });
        await Bun.sleep(50);
        const killed = performance.now();
        process.kill(pid, "SIGKILL");
        const latency = ownMs(killed, await seen);
        say(`exit seen after ${latency.toFixed(1)} ms`);
        // Whoever only looked from time to time would take a cycle.
        expect(latency).toBeLessThan(500);
        expect((await watcher.postgresql.inspect()).process).toEqual({ kind: "none" });
        await Bun.sleep(50);
        expect(calls).toBe(1);
      }
      const began = clock.now();
      await startPrimary(server);
      say(`restarted after SIGKILL of its postmaster in ${Math.round(clock.now() - began)} ms`);
    } finally {
      await other.postgresql.close();
      await discard(server);
    }
  });

  test("SIGSTOP of the postmaster shows at once, and both stop modes end such a server", async () => {
    const server = newServer(folder, "frozen", PORT);
    try {
      for (const mode of ["immediate", "fast"] as const) {
        await startPrimary(server);
        const writers = await fourWriters(folder, server);
        process.kill(await postmasterPid(server), "SIGSTOP");
        const isStopped = async () => Bun.deepMatch({ kind: "running", stopped: true }, (await server.postgresql.inspect()).process);
        await until("the kernel has stopped it", isStopped, { withinMs: 20_000, everyMs: 1 });
        const began = clock.now();
        value(await server.postgresql.stop({ mode, deadline: within(20_000) }));
        await writers.ended;
        say(
          `${mode} stop of a frozen server: ${Math.round(clock.now() - began)} ms, last write ${(writers.state.last - began).toFixed(1)} ms after`,
        );
        expect((await server.postgresql.inspect()).process).toEqual({ kind: "none" });
      }
    } finally {
      await discard(server);
    }
  });

  test("each stop mode ends a server with four writers, and the shutdown checkpoint is reported", async () => {
    const server = newServer(folder, "stops", PORT);
    try {
      for (const mode of ["fast", "immediate"] as const) {
        await startPrimary(server);
        const writers = await fourWriters(folder, server);
        await Bun.sleep(200);
        const reported: string[] = [];
        const began = clock.now();
        value(
          await server.postgresql.stop({
            mode,
            deadline: within(10_000),
            checkpoint: mode === "fast",
            onShutdownCheckpoint: (control) => reported.push(control.state),
          }),
        );
        say(
          `${mode} stop: ${Math.round(clock.now() - began)} ms, last write ${(writers.state.last - began).toFixed(1)} ms after, ${writers.state.rows} rows`,
        );
        await writers.ended;
        expect(reported).toEqual(mode === "fast" ? ["shut down"] : []);
      }
    } finally {
      await discard(server);
    }
  });

  test("the shutdown checkpoint is reported while a standby still has to confirm it", async () => {
    const primary = newServer(folder, "walsender", PORT);
    await startPrimary(primary);
    const standby = newStandby(folder, "slow", STANDBY_PORT, primary);
    try {
      await startStandby(standby, primary);
      await untilStreaming(standby);
      // A walreceiver that confirms nothing keeps the primary waiting for it after the shutdown checkpoint.
      const sql = client(folder, standby);
      const [receiver] = await sql.unsafe("SELECT pid FROM pg_stat_wal_receiver");
      await sql.close({ timeout: 0 });
      process.kill(receiver.pid, "SIGSTOP");
      const began = clock.now();
      let reportedAt = 0;
      const stopped = primary.postgresql.stop({
        mode: "fast",
        deadline: within(20_000),
        onShutdownCheckpoint: () => {
          reportedAt = clock.now();
          process.kill(receiver.pid, "SIGCONT");
        },
      });
      value(await stopped);
      say(`shutdown checkpoint after ${Math.round(reportedAt - began)} ms, stopped after ${Math.round(clock.now() - began)} ms`);
      expect(reportedAt).toBeGreaterThan(0);
    } finally {
      await discard(standby);
      await discard(primary);
    }
  });

  test("a fast stop that does not end in time becomes immediate", async () => {
    const server = newServer(folder, "late", PORT);
    try {
      await startPrimary(server);
      const sql = client(folder, server);
      const [backend] = await sql.unsafe("SELECT pg_backend_pid() AS pid");
      process.kill(backend.pid, "SIGSTOP");
      const began = clock.now();
      value(await server.postgresql.stop({ mode: "fast", deadline: within(300) }));
      say(`ended with a frozen backend after ${Math.round(clock.now() - began)} ms`);
      // It has closed its files and cannot write; the kernel may take another moment to bury it.
      await until("the backend is gone", () => readProcess(backend.pid) === null, { withinMs: 20_000, everyMs: 1 });
      await sql.close({ timeout: 0 });
    } finally {
      await discard(server);
    }
  });

  test("a fast stop that has less time than its deadline becomes immediate when that is over", async () => {
    const server = newServer(folder, "limited", PORT);
    try {
      await startPrimary(server);
      const sql = client(folder, server);
      const [backend] = await sql.unsafe("SELECT pg_backend_pid() AS pid");
      process.kill(backend.pid, "SIGSTOP");
      const deadline = within(90_000);
      value(await server.postgresql.stop({ mode: "fast", deadline, fastWithin: ms(300) }));
      expect(clock.now()).toBeLessThan(deadline);
      await sql.close({ timeout: 0 });
    } finally {
      await discard(server);
    }
  });

  test("a standby is promoted in a moment although its primary has just been killed", async () => {
    const times: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      const primary = newServer(folder, "old", PORT);
      await startPrimary(primary);
      const standby = newStandby(folder, "new", STANDBY_PORT, primary);
      // PostgreSQL's own default: a promotion that met the walreceiver's next start would wait it out.
      const interval = "wal_retrieve_retry_interval";
      Object.assign(standby.config.parameters, { [interval]: "5s" });
      try {
        await startStandby(standby, primary);
        await untilStreaming(standby);
        const asked = client(folder, standby);
        expect([...(await asked.unsafe(`SHOW ${interval}`))]).toEqual([{ [interval]: "5s" }]);
        await asked.close();
        value(await standby.postgresql.status(within(20_000)));
        const began = performance.now();
        value(await primary.postgresql.stop({ mode: "immediate", deadline: within(20_000) }));
        const killed = performance.now();
        value(
          await standby.postgresql.promote({
            deadline: within(10_000),
            synchronousStandbyNames: round % 2 === 0 ? null : "",
            namesHold: false,
            onWritable: () => undefined,
          }),
        );
        times.push(ownMs(began));
        say(`killed ${Math.round(killed - began)} ms, promoted ${Math.round(performance.now() - killed)} ms`);
        const status = value(await standby.postgresql.status(within(20_000)));
        expect(status).toMatchObject({ inRecovery: false, timeline: 2, primaryConninfo: "" });
        expect(existsSync(join(standby.dataDir, "standby.signal"))).toBe(false);
      } finally {
        await discard(standby);
        await discard(primary);
      }
    }
    times.sort((left, right) => left - right);
    say(`kill to writable: median ${Math.round(times[3] ?? 0)} ms, slowest ${Math.round(times.at(-1) ?? 0)} ms`);
    expect(times.at(-1)).toBeLessThan(2_000);
  });

  test("promotion with a synchronous standby acknowledges nothing before that standby has it", async () => {
    const primary = newServer(folder, "a", PORT);
    await startPrimary(primary);
    const standby = newStandby(folder, "b", STANDBY_PORT, primary);
    try {
      await startStandby(standby, primary);
      await untilStreaming(standby);
      value(await primary.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      value(
        await standby.postgresql.promote({
          deadline: within(10_000),
          synchronousStandbyNames: "a",
          namesHold: false,
          onWritable: () => undefined,
        }),
      );
      const sql = client(folder, standby);
      const write = sql.unsafe("CREATE TABLE t()").then(
        () => "acknowledged",
        () => "ended",
      );
      expect(await Promise.race([write, Bun.sleep(300).then(() => "waits")])).toBe("waits");
      value(await standby.postgresql.setSynchronousStandbyNames("", within(20_000)));
      expect(await write).toBe("acknowledged");
      await sql.close({ timeout: 0 });
    } finally {
      await discard(standby);
      await discard(primary);
    }
  });

  test("a standby changes its source by a reload, also under a supervisor that only adopted it", async () => {
    const primary = newServer(folder, "p", PORT);
    await startPrimary(primary);
    const standby = newStandby(folder, "s", STANDBY_PORT, primary);
    const other = supervisorOf(standby.config, standby.name);
    try {
      await startStandby(standby, primary);
      await untilStreaming(standby);
      const pid = await postmasterPid(standby);
      value(await other.postgresql.adopt());
      value(await other.postgresql.configure(standby.config, { role: "replica" }));
      const before = value(await other.postgresql.status(within(20_000)));
      expect(before.primaryConninfo).toContain(`port=${primary.port}`);
      value(await other.postgresql.follow(null, "replica"));
      expect(value(await other.postgresql.status(within(20_000)))).toMatchObject({ primaryConninfo: "", timeline: 1, inRecovery: true });
      const began = clock.now();
      value(await other.postgresql.follow({ name: "p", host: "127.0.0.1", port: primary.port, slotName: null }, "replica"));
      await untilStreaming(other);
      say(`streaming ${Math.round(clock.now() - began)} ms after follow`);
      expect(await postmasterPid(standby)).toBe(pid);
      const [connection] = value(await primary.postgresql.status(within(20_000))).replication;
      expect(connection).toMatchObject({ applicationName: "s", state: "streaming", clientAddr: "127.0.0.1" });
    } finally {
      await other.postgresql.close();
      await discard(standby);
      await discard(primary);
    }
  });

  test("a start that fails says why, with the server's own words", async () => {
    const server = newServer(folder, "broken", PORT);
    const second = newServer(folder, "second", PORT);
    try {
      await startPrimary(server);
      const answer = await second.postgresql.start({
        role: "primary",
        follow: null,
        synchronousStandbyNames: null,
        deadline: within(10_000),
        signal: never,
      });
      expect(answer).toMatchObject({ ok: false, error: { kind: "failed" } });
      if (!answer.ok) expect(answer.error.message).toMatch(/Address already in use|lock file/);
      const twice = await server.postgresql.start({
        role: "primary",
        follow: null,
        synchronousStandbyNames: null,
        deadline: within(10_000),
        signal: never,
      });
      expect(twice).toMatchObject({ ok: false, error: { kind: "refused" } });
    } finally {
      await discard(second);
      await discard(server);
    }
  });

  test("a postmaster.pid whose pid now belongs to something else is no server, and that process is left alone", async () => {
    const server = newServer(folder, "reused", PORT);
    // Worst case: another program that even stands in the data directory.
    const stranger = spawn("sleep", ["30"], { cwd: server.dataDir, stdio: "ignore" });
    try {
      writeFileSync(
        join(server.dataDir, "postmaster.pid"),
        `${stranger.pid}\n${server.dataDir}\n1\n${PORT}\n${folder}\n127.0.0.1\n 1 1\nready   \n`,
      );
      expect((await server.postgresql.inspect()).process).toEqual({ kind: "none" });
      value(await server.postgresql.stop({ mode: "immediate", deadline: within(20_000) }));
      expect(readProcess(stranger.pid ?? 0)).not.toBeNull();
      await startPrimary(server);
      value(await server.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      expect(readProcess(stranger.pid ?? 0)).not.toBeNull();
    } finally {
      stranger.kill("SIGKILL");
      await discard(server);
    }
  });

  test("a directory that is not PostgreSQL's is never started in, changed or removed", async () => {
    const server = newServer(folder, "mine", PORT);
    const path = foreignDirectory(folder, "foreign");
    const foreign = supervisorOf({ ...server.config, dataDir: path, configDir: path }, "foreign");
    try {
      expect((await foreign.postgresql.inspect()).dataDirectory).toEqual({ kind: "foreign", sample: "thesis.txt" });
      const started = await foreign.postgresql.start({
        role: "primary",
        follow: null,
        synchronousStandbyNames: null,
        deadline: within(1_000),
        signal: never,
      });
      expect(started).toMatchObject({ ok: false, error: { kind: "refused" } });
      expect((await foreign.postgresql.removeDataDirectory()).ok).toBe(false);
      expect(readFileSync(join(path, "thesis.txt"), "utf8")).toBe("ten years of work");
      mkdirSync(join(folder, "empty"));
      const empty = supervisorOf({ ...server.config, dataDir: join(folder, "empty") }, "empty");
      expect((await empty.postgresql.inspect()).dataDirectory).toEqual({ kind: "empty" });
      await empty.postgresql.close();
    } finally {
      await foreign.postgresql.close();
      await discard(server);
    }
  });

  test("a server outlives the supervisor that started it, and the next one adopts it", async () => {
    const server = newServer(folder, "survivor", PORT);
    const driver = join(folder, "driver.ts");
    writeFileSync(
      driver,
      `import { supervisorOf, within } from ${JSON.stringify(join(import.meta.dir, "../harness/local-server.ts"))};
       const server = supervisorOf(JSON.parse(process.argv[2] ?? ""), "survivor");
       const started = await server.postgresql.start({ role: "primary", follow: null, synchronousStandbyNames: null, deadline: within(20000), signal: new AbortController().signal });
       console.log(JSON.stringify(started));
       await new Promise(() => setInterval(() => undefined, 1000));`,
    );
    const supervisor = spawn(process.execPath, [driver, JSON.stringify(server.config)], {
      stdio: ["ignore", "pipe", "inherit"],
      detached: true,
    });
    try {
      const answer = await new Promise((resolve) => supervisor.stdout.once("data", (data: Buffer) => resolve(data.toString().trim())));
      expect(answer).toBe('{"ok":true,"value":null}');
      const pid = await postmasterPid(server);
      const ended = new Promise((resolve) => supervisor.once("exit", resolve));
      // The whole group, as a terminal or a service manager would.
      process.kill(-(supervisor.pid ?? 0), "SIGKILL");
      await ended;
      value(await server.postgresql.adopt());
      expect(await postmasterPid(server)).toBe(pid);
      // It goes on writing its log although nobody reads our standard error any more.
      const sql = client(folder, server);
      await sql.unsafe("SELECT 1/0").catch(() => undefined);
      await sql.close({ timeout: 0 });
      expect(value(await server.postgresql.status(within(20_000))).inRecovery).toBe(false);
      expect(readFileSync(startupLogPath(server.dataDir), "utf8")).toContain("division by zero");
      // Nobody's child any more: who buries orphans may leave it a zombie for a while, and its pid taken.
      const seen = new Promise((resolve) => server.postgresql.onPostmasterExit(() => resolve(null)));
      process.kill(pid, "SIGKILL");
      await seen;
      const began = clock.now();
      await startPrimary(server);
      say(`restarted an adopted server after SIGKILL in ${Math.round(clock.now() - began)} ms`);
      value(await server.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
    } finally {
      await discard(server);
    }
  });

  test("a parameter that needs a restart is pending until then, one that a reload brings is not", async () => {
    const server = newServer(folder, "params", PORT);
    try {
      await startPrimary(server);
      expect(value(await server.postgresql.configure(server.config, { role: "primary" }))).toEqual({});
      const changed = {
        ...server.config,
        controlledParameters: { ...server.config.controlledParameters, max_connections: "120" },
        parameters: { ...server.config.parameters, work_mem: "7MB", shared_buffers: "20MB" },
      };
      const pending = value(await server.postgresql.configure(changed, { role: "primary" }));
      expect(Object.keys(pending).sort()).toEqual(["max_connections", "shared_buffers"]);
      expect(pending["max_connections"]).toEqual({ old_value: "100", new_value: "120" });
      const sql = client(folder, server);
      expect((await sql.unsafe("SHOW work_mem"))[0].work_mem).toBe("7MB");
      await sql.close({ timeout: 0 });
      value(await server.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      await startPrimary(server);
      expect(server.postgresql.pendingRestart()).toEqual({});
      expect(value(await server.postgresql.configure(changed, { role: "primary" }))).toEqual({});
    } finally {
      await discard(server);
    }
  });

  test("a node's whole life: bootstrap, clone, stream over a slot, promote, rewind the old primary, follow", async () => {
    const first = supervisorOf(serverConfig(folder, "first", PORT), "first");
    const second = supervisorOf(serverConfig(folder, "second-life", STANDBY_PORT), "second-life");
    const progress = (text: string): void => void text;
    const bootstrap = {
      dcs: {},
      initdb: [
        ["no-sync", null],
        ["username", "postgres"],
      ],
      method: "initdb",
      methodOptions: null,
      postBootstrap: null,
      pgHba: [],
    } as const;
    try {
      value(await first.postgresql.bootstrap({ bootstrap, signal: never, progress }));
      expect((await first.postgresql.inspect()).dataDirectory.kind).toBe("valid");
      value(await first.postgresql.changeSlots([{ kind: "create-physical", name: "second_life" }]));
      const source = { name: "first", host: "127.0.0.1", port: first.port, slotName: "second_life" };
      value(await second.postgresql.clone({ methods: "members", source, signal: never, progress }));
      value(
        await second.postgresql.start({
          role: "standby",
          follow: source,
          synchronousStandbyNames: null,
          deadline: within(30_000),
          signal: never,
        }),
      );
      await untilStreaming(second);
      expect(value(await second.postgresql.status(within(20_000)))).toMatchObject({
        inRecovery: true,
        timeline: 1,
        walLsn: null,
        primarySlotName: "second_life",
        walReceiver: { senderHost: "127.0.0.1", senderPort: first.port, slotName: "second_life" },
      });
      const status = value(await first.postgresql.status(within(20_000)));
      expect(status.slots).toMatchObject([{ name: "second_life", type: "physical", active: true, temporary: false }]);
      expect(status.replication).toMatchObject([
        { applicationName: "second-life", usename: "postgres", state: "streaming", syncState: "async" },
      ]);

      process.kill(await postmasterPid(first), "SIGKILL");
      value(
        await second.postgresql.promote({
          deadline: within(10_000),
          synchronousStandbyNames: null,
          namesHold: false,
          onWritable: () => undefined,
        }),
      );
      const history = value(await second.postgresql.timelineSwitches(2));
      expect(history).toMatchObject([{ timeline: 1 }]);
      // The old primary writes on, on its own, and so diverges.
      value(
        await first.postgresql.start({
          role: "primary",
          follow: null,
          synchronousStandbyNames: null,
          deadline: within(20_000),
          signal: never,
        }),
      );
      const sql = client(folder, first);
      await sql.unsafe("CREATE TABLE diverged AS SELECT generate_series(1, 1000)");
      await sql.close({ timeout: 0 });
      value(await first.postgresql.stop({ mode: "immediate", deadline: within(20_000) }));
      const end = value(await first.postgresql.localEndOfWal());
      expect(end.timeline).toBe(1);
      expect(end.lsn).toBeGreaterThan(history[0]?.switchpoint ?? 0n);
      const back = { name: "second-life", host: "127.0.0.1", port: second.port, slotName: null };
      expect(value(await first.postgresql.upstreamHistory(back, within(20_000)))).toMatchObject({
        timeline: 2,
        switches: [{ timeline: 1 }],
      });
      value(await first.postgresql.crashRecover(never));
      value(await first.postgresql.rewind({ source: back, signal: never, progress }));
      value(
        await first.postgresql.start({
          role: "standby",
          follow: back,
          synchronousStandbyNames: null,
          deadline: within(30_000),
          signal: never,
        }),
      );
      await untilStreaming(first);
      expect(value(await first.postgresql.status(within(20_000)))).toMatchObject({ inRecovery: true, timeline: 2 });
      value(await first.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      value(await first.postgresql.removeDataDirectory());
      expect(["absent", "empty"]).toContain((await first.postgresql.inspect()).dataDirectory.kind);
    } finally {
      await discard(first);
      await discard(second);
    }
  });

  test("every sslmode does over TCP what libpq documents, and no error shows the password", async () => {
    const server = newServer(folder, "tls", PORT);
    const file = (name: string): string => join(server.dataDir, name);
    const certificate = (name: string, subject: string): void => {
      const args = [
        "req",
        "-new",
        "-x509",
        "-days",
        "30",
        "-nodes",
        "-subj",
        `/CN=${subject}`,
        "-keyout",
        file(`${name}.key`),
        "-out",
        file(`${name}.crt`),
      ];
      execFileSync("openssl", args, { stdio: "ignore" });
    };
    certificate("server", "somewhere.else");
    certificate("stranger", "127.0.0.1");
    try {
      for (const ssl of ["off", "on"]) {
        const parameters = { ...server.config.parameters, ssl, ssl_cert_file: "server.crt", ssl_key_file: "server.key" };
        const config = { ...server.config, parameters, useUnixSocket: false };
        value(await server.postgresql.configure(config, { role: "primary" }));
        await startPrimary(server);
        const pidFile = await readPostmasterPid(server.dataDir);
        if (pidFile === null) throw new Error("no postmaster.pid");
        const answers: Record<string, string> = {};
        for (const mode of ["disable", "allow", "prefer", "require", "verify-ca", "verify-full", "stranger"]) {
          const sslrootcert = file(mode === "stranger" ? "stranger.crt" : "server.crt");
          const options: Record<string, string> =
            mode === "stranger"
              ? { sslmode: "verify-ca", sslrootcert }
              : mode.startsWith("verify")
                ? { sslmode: mode, sslrootcert }
                : { sslmode: mode };
          const user = { username: "postgres", password: "hunter2", options };
          const endpoint = localEndpoint({ ...config, superuser: user }, pidFile);
          const connection = new Connection({ clock, endpoint: async () => endpoint });
          const rows = await connection.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", [], within(5_000));
          await connection.close();
          if (!rows.ok) expect(rows.error).toMatchObject({ kind: "unreachable", message: expect.not.stringContaining("hunter2") });
          answers[mode] = rows.ok ? (rows.value[0]?.["ssl"] === true ? "TLS" : "plain") : "refused";
        }
        expect(answers).toEqual(
          ssl === "off"
            ? {
                disable: "plain",
                allow: "plain",
                prefer: "plain",
                require: "refused",
                "verify-ca": "refused",
                "verify-full": "refused",
                stranger: "refused",
              }
            : {
                disable: "plain",
                allow: expect.any(String),
                prefer: "TLS",
                require: "TLS",
                "verify-ca": "TLS",
                "verify-full": "refused",
                stranger: "refused",
              },
        );
        value(await server.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      }
    } finally {
      await discard(server);
    }
  });

  test("a server that takes long to start can be waited for, left and stopped; meanwhile its status says that it is starting", async () => {
    const primary = newServer(folder, "quick", PORT);
    await startPrimary(primary);
    const made = newStandby(folder, "starting", STANDBY_PORT, primary);
    // The startup process stands still in its first question to the archive.
    const standby = supervisorOf({ ...made.config, recoveryConf: { restore_command: "sleep 30; false" } }, "starting");
    const follow = { name: primary.name, host: "127.0.0.1", port: primary.port, slotName: null };
    try {
      const start = (deadline: Ms, signal: AbortSignal) =>
        standby.postgresql.start({ role: "standby", follow, synchronousStandbyNames: null, deadline, signal });
      expect(await start(within(400), never)).toMatchObject({ ok: false, error: { kind: "timeout" } });
      // It listens a moment later.
      const saysSo = async (): Promise<boolean> => {
        const status = await standby.postgresql.status(within(1_000));
        return !status.ok && status.error.kind === "unreachable" && status.error.message.includes("starting up");
      };
      await until("its status says that it is starting", saysSo, { withinMs: 20_000 });
      value(await standby.postgresql.stop({ mode: "fast", deadline: within(20_000) }));
      const controller = new AbortController();
      const starting = start(within(20_000), controller.signal);
      await until("it is starting", saysSo, { withinMs: 20_000 });
      controller.abort();
      expect(await starting).toMatchObject({ ok: false, error: { kind: "cancelled" } });
      expect((await standby.postgresql.inspect()).process.kind).toBe("running");
      const began = clock.now();
      value(await standby.postgresql.stop({ mode: "immediate", deadline: within(10_000) }));
      say(`immediate stop of a starting server: ${Math.round(clock.now() - began)} ms`);
    } finally {
      await made.postgresql.close();
      await discard(standby);
      await discard(primary);
    }
  });
});
