// The guard on a real PostgreSQL with real writers: whatever happens to the supervisor, nothing is acknowledged after the
// end of the lease; and as long as the lease is renewed, PostgreSQL is never touched.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { appendFileSync, chmodSync, mkdtempSync, openSync, readdirSync, realpathSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ms } from "../../lib/model/units.ts";
import { sendSignal } from "../../lib/postgres/processes.ts";
import { ProcessGuard } from "../../lib/postgres/watchdog/guard.ts";
import { collectReports, livingGuards } from "../../lib/postgres/watchdog/guard-report.ts";
import { processAlive, processId } from "../../lib/postgres/watchdog/process-table.ts";
import type { ProcessId } from "../../lib/postgres/watchdog/watchdog.ts";
import { bootNow, realClock } from "../../lib/runtime/clock.ts";
import { readLeaseFile } from "../../lib/runtime/lease-file.ts";
import { acquireRunLock, type RunLock, runLockPath, stateDir } from "../../lib/runtime/run-lock.ts";
import { serverPorts } from "../harness/ports.ts";
import { ownMs, stalledMs } from "../harness/stall.ts";
import { GuardedPostgres, type Supervisor, startSupervisor, Writers, writersLeft } from "./fixtures/guarded-postgres.ts";

const TTL_MS = 2000;
/** A supervisor is started anew within this one, on a busy machine too. */
const RESTART_TTL_MS = 5000;
/** Renewed every 100 ms within this one: no pause of a busy machine is as long. */
const KEPT_TTL_MS = 3000;
const [PORT] = (await serverPorts(1)) as [number];
const folder = realpathSync(mkdtempSync(join(tmpdir(), "guard-")));
let postgres: GuardedPostgres;
let writers: Writers;
let supervisor: Supervisor | null = null;

beforeAll(() => {
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(folder, 0o755);
  postgres = new GuardedPostgres(join(folder, "pg"), PORT);
});
beforeEach(async () => {
  await postgres.start();
  writers = new Writers(postgres, 4);
});
afterEach(async () => {
  supervisor?.process.kill("SIGCONT");
  supervisor?.process.kill("SIGKILL");
  supervisor = null;
  for (const id of livingGuards(stateDir(postgres.dataDir))) sendSignal(id, "SIGKILL");
  await postgres.stop();
  await writers.stop();
});
afterAll(async () => {
  await postgres.destroy();
  rmSync(folder, { recursive: true, force: true });
});

async function guarded(everyMs = 100, ttlMs = TTL_MS): Promise<{ guard: ProcessId }> {
  supervisor = startSupervisor({ dataDir: postgres.dataDir, postmaster: postgres.pid, ttlMs, everyMs });
  await supervisor.ready;
  return { guard: currentGuard() };
}

function currentGuard(): ProcessId {
  const id = readLeaseFile(`${stateDir(postgres.dataDir)}/lease`)?.guard;
  if (id === null || id === undefined) throw new Error("no guard in the lease file");
  return id;
}

/** Waits until PostgreSQL is gone; the facts that every scenario is judged by. The lease file has the last renewal. */
async function stoppedInTime(): Promise<void> {
  const leaseEnd = readLeaseFile(`${stateDir(postgres.dataDir)}/lease`)?.deadline ?? 0;
  await postgres.exited();
  while (writersLeft(postgres.dataDir).length > 0 && bootNow() < leaseEnd + 1000) await Bun.sleep(5);
  const [seenAt, sight] = [bootNow(), performance.now()];
  // When it was seen says as much about this process as about the guard; what the last writer was told does not.
  expect(seenAt - stalledMs(sight - TTL_MS, sight)).toBeLessThan(leaseEnd);
  expect(writersLeft(postgres.dataDir)).toEqual([]);
  expect(writers.acknowledged).toBeGreaterThan(0);
  expect(writers.lastAcknowledgedAt).toBeLessThan(leaseEnd);
  // Not at the first silence either: the lease belongs to its holder until the stop budget begins.
  expect(writers.lastAcknowledgedAt + stalledMs(sight - TTL_MS, sight)).toBeGreaterThan(leaseEnd - TTL_MS / 4 - 100);
}

describe("a supervisor that cannot act", () => {
  test("SIGSTOP: PostgreSQL is stopped before the lease ends, and the supervisor is told when it goes on", async () => {
    await guarded();
    supervisor?.process.kill("SIGSTOP");
    await stoppedInTime();
    supervisor?.process.kill("SIGCONT");
    const lost = await until(() => supervisor?.lines.find((line) => "lost" in line));
    expect(lost["lost"]).toContain("the guard stopped PostgreSQL");
  });

  test("SIGKILL without a restart: the same, and the guard leaves a report and ends", async () => {
    const { guard } = await guarded();
    supervisor?.process.kill("SIGKILL");
    await stoppedInTime();
    await until(() => !processAlive(guard));
    const reports = collectReports(stateDir(postgres.dataDir));
    expect(reports).toHaveLength(1);
    expect(reports[0]?.postmaster).toBe(postgres.pid);
    expect(reports[0]?.found).toBe(1);
  });

  test("a stopped postmaster, whose backends go on writing, is ended as well", async () => {
    await guarded();
    process.kill(postgres.pid, "SIGSTOP");
    supervisor?.process.kill("SIGKILL");
    await stoppedInTime();
  });

  test("a postmaster that died earlier leaves backends: they are ended", async () => {
    const backend = await until(() => writersLeft(postgres.dataDir).find((pid) => pid !== postgres.pid));
    // Long enough that nothing is over before all this is done.
    await guarded(100, RESTART_TTL_MS);
    // A stopped backend does not see its postmaster die; woken up later, it would go on.
    process.kill(backend, "SIGSTOP");
    supervisor?.process.kill("SIGKILL");
    process.kill(postgres.pid, "SIGKILL");
    await postgres.exited();
    await until(() => writersLeft(postgres.dataDir).length === 0);
  });

  test("a postmaster that was started in the place of the guarded one is stopped as well", async () => {
    await guarded();
    process.kill(postgres.pid, "SIGINT");
    await postgres.exited();
    await postgres.start();
    await writers.stop();
    writers = new Writers(postgres, 4);
    supervisor?.process.kill("SIGSTOP");
    await stoppedInTime();
  });

  test("what only stands in the data directory is left alone", async () => {
    const bystander = spawn("sleep", ["30"], { cwd: postgres.dataDir, stdio: "ignore" });
    await guarded();
    supervisor?.process.kill("SIGKILL");
    await stoppedInTime();
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
    bystander.kill("SIGKILL");
  });
});

describe("a lease that goes on", () => {
  test("a renewed lease, and one that was given up, leave PostgreSQL alone", async () => {
    await guarded(100, KEPT_TTL_MS);
    await Bun.sleep(KEPT_TTL_MS * 1.2);
    supervisor?.process.kill("SIGTERM");
    const before = writers.acknowledged;
    await Bun.sleep(KEPT_TTL_MS * 1.1);
    expect(processId(postgres.pid)).not.toBeNull();
    expect(writers.acknowledged).toBeGreaterThan(before);
    expect(livingGuards(stateDir(postgres.dataDir))).toEqual([]);
  });

  test("SIGKILL and a restart within the lease: PostgreSQL is never touched, and one guard is left", async () => {
    const first = await guarded(100, RESTART_TTL_MS);
    supervisor?.process.kill("SIGKILL");
    await Bun.sleep(300);
    const second = await guarded();
    expect(second.guard.pid).not.toBe(first.guard.pid);
    await until(() => !processAlive(first.guard));
    await Bun.sleep(RESTART_TTL_MS * 1.1);
    expect(processId(postgres.pid)).not.toBeNull();
    expect(livingGuards(stateDir(postgres.dataDir))).toEqual([second.guard]);
    supervisor?.process.kill("SIGSTOP");
    await stoppedInTime();
  });
});

describe("a restart beside a former guard that is stopped", () => {
  test("the former one never acts, even when it is woken up after its deadline", async () => {
    const { guard } = await guarded(100, RESTART_TTL_MS);
    process.kill(guard.pid, "SIGSTOP");
    supervisor?.process.kill("SIGKILL");
    await Bun.sleep(100);
    await guarded();
    await Bun.sleep(RESTART_TTL_MS);
    sendSignal(guard, "SIGCONT");
    await until(() => !processAlive(guard));
    expect(processId(postgres.pid)).not.toBeNull();
  });
});

describe("a guard in trouble", () => {
  test("signals that end other programs do not end it", async () => {
    const { guard } = await guarded(0);
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGPIPE"] as const)
      process.kill(guard.pid, signal);
    await stoppedInTime();
  });

  test("killed, it is replaced at once, and the new one keeps the lease", async () => {
    const { guard } = await guarded();
    process.kill(guard.pid, "SIGKILL");
    await until(() => livingGuards(stateDir(postgres.dataDir)).some((id) => id.pid !== guard.pid));
    await until(() => currentGuard().pid !== guard.pid);
    supervisor?.process.kill("SIGSTOP");
    await stoppedInTime();
  });

  test("orders without the token of the run lock, or that are no orders, move nothing", async () => {
    const { guard } = await guarded(0);
    const orders = openSync(join(stateDir(postgres.dataDir), `guard-${guard.pid}`, "in"), "w");
    const later = Math.floor(bootNow()) + 60_000;
    for (const line of [`extend wrong ${later}`, "disarm wrong 1", "disarm", "", "extend", `extend  ${later}`, "x".repeat(3000)]) {
      writeSync(orders, `${line}\n`);
    }
    await stoppedInTime();
  });

  test("stopped, it is noticed and replaced when it is armed again; woken up late, an old backlog extends nothing", async () => {
    const lock = ownLock();
    const clock = realClock();
    const log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
    const dataDir = postgres.dataDir;
    const guard = new ProcessGuard({ clock, log, dataDir, stateDir: stateDir(dataDir), runLockPath: lock.path, token: lock.token });
    const postmaster = processId(postgres.pid);
    const options = { postmaster, leaseEnd: ms(clock.now() + 30_000), ttl: ms(30_000), loopWait: ms(1000) };
    expect((await guard.arm(options)).ok).toBe(true);
    const first = guard.guardProcess();
    if (first === null) throw new Error("no guard");
    process.kill(first.pid, "SIGSTOP");
    expect(guard.extend(ms(clock.now() + 30_000)).ok).toBe(true);
    await Bun.sleep(600);
    expect(guard.healthy()).toBe(false);
    expect(guard.extend(ms(clock.now() + 30_000)).ok).toBe(false);
    expect((await guard.arm(options)).ok).toBe(true);
    await until(() => !processAlive(first));

    const second = guard.guardProcess();
    if (second === null || second.pid === first.pid) throw new Error("no guard");
    process.kill(second.pid, "SIGSTOP");
    for (let order = 1; order <= 20; order++) guard.extend(ms(clock.now() + 700 + order));
    await Bun.sleep(1000);
    expect(processId(postgres.pid)).not.toBeNull();
    process.kill(second.pid, "SIGCONT");
    const woken = performance.now();
    await postgres.exited();
    // An order of the backlog that counted from now would give it 0.7 s, and the lease before it half a minute.
    expect(ownMs(woken)).toBeLessThan(600);
    await until(() => !guard.armed);
    await guard.close();
    lock.release();
  });

  test("asked to guard a postmaster that is not there, it refuses, and goes on guarding the one that is", async () => {
    const lock = ownLock();
    const log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
    const dataDir = postgres.dataDir;
    const clock = realClock();
    const guard = new ProcessGuard({ clock, log, dataDir, stateDir: stateDir(dataDir), runLockPath: lock.path, token: lock.token });
    const options = { postmaster: processId(postgres.pid), leaseEnd: ms(clock.now() + 60_000), ttl: ms(60_000), loopWait: ms(1000) };
    expect((await guard.arm(options)).ok).toBe(true);
    const refused = await guard.arm({ ...options, postmaster: { pid: postgres.pid, startTicks: 1 } });
    expect(refused.ok).toBe(false);
    if (!refused.ok) expect(refused.error.message).toContain("is not running");
    expect(guard.armed && guard.healthy()).toBe(true);
    expect(livingGuards(stateDir(dataDir))).toHaveLength(1);
    expect(guard.extend(ms(clock.now() + 900)).ok).toBe(true);
    await postgres.exited();
    await until(() => !guard.armed);
    await guard.close();
    lock.release();
  });

  test("without a state folder that can be written there is one clear error, and nothing is armed", async () => {
    const file = join(folder, "file");
    appendFileSync(file, "");
    const log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
    const guard = new ProcessGuard({
      clock: realClock(),
      log,
      dataDir: postgres.dataDir,
      stateDir: join(file, "state"),
      runLockPath: join(file, "run.lock"),
      token: "t",
    });
    const prepared = await guard.prepare();
    expect(prepared.ok).toBe(false);
    if (!prepared.ok) expect(prepared.error.message).toContain("the guard's folder cannot be made");
    expect(guard.armed).toBe(false);
  });

  test("a guard that is let go leaves no folder", async () => {
    const lock = ownLock();
    const dataDir = postgres.dataDir;
    const log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
    const guard = new ProcessGuard({
      clock: realClock(),
      log,
      dataDir,
      stateDir: stateDir(dataDir),
      runLockPath: lock.path,
      token: lock.token,
    });
    await guard.prepare();
    await guard.close();
    await until(() => livingGuards(stateDir(dataDir)).length === 0);
    expect(readdirSync(stateDir(dataDir)).filter((name) => name.startsWith("guard-"))).toEqual([]);
    lock.release();
  });
});

function ignore(): void {}

function ownLock(): RunLock {
  const lock = acquireRunLock(runLockPath(postgres.dataDir));
  if (!lock.ok) throw new Error(JSON.stringify(lock.error));
  return lock.value;
}

/** Looks again every 5 ms, for at most 20 s: nothing is judged by that. */
async function until<T>(look: () => T | null | undefined | false): Promise<T> {
  for (const end = bootNow() + 20_000; bootNow() < end; await Bun.sleep(5)) {
    const seen = look();
    if (seen !== null && seen !== undefined && seen !== false) return seen;
  }
  throw new Error(`not seen within 20 s: ${look.toString()}`);
}
