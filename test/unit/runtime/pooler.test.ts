// What a pooler answers to a handover where PgBouncer is in trouble, and what it leaves to the next worker. The worker's inside over the
// memory store, with its real guard; PgBouncer is a stand-in.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { poolerKey, poolersIn } from "../../../lib/dcs/poolers.ts";
import type { Change } from "../../../lib/dcs/store.ts";
import type { PgbouncerConfig, PoolerAnswer } from "../../../lib/model/pgbouncer.ts";
import { type Ms, ms, seconds } from "../../../lib/model/units.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { PoolPause } from "../../../lib/runtime/pgbouncer/pause.ts";
import { Pooler } from "../../../lib/runtime/pgbouncer/pooler.ts";
import { PoolerRegistration } from "../../../lib/runtime/pgbouncer/registration.ts";
import { ResumeGuard } from "../../../lib/runtime/pgbouncer/resume-guard.ts";
import { type ConsoleAnswer, ConsoleStandIn } from "../../harness/console-stand-in.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { until } from "../../harness/wait.ts";

const WITHIN_MS = 60_000;
/** Between what mends the key by turns and what renews it. */
const LONGEST_SLEEP_MS = 2_000;
const clock = realClock();
const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
const KEY = poolerKey(keys, "pool1");

let folder: string;
let data: MemoryCluster;
let session: string;
let standIn: ConsoleStandIn;
let answer: ConsoleAnswer;
let closing: (() => Promise<unknown>)[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "pooler-"));
  data = new MemoryCluster({ clock });
  const opened = await storeOfAll().openSession({ name: "node1", ttl: seconds(3600), deadline: ms(clock.now() + WITHIN_MS) });
  if (!opened.ok) throw new Error(opened.error.kind);
  session = opened.value.id;
  answer = () => null;
  standIn = await ConsoleStandIn.start((command) => answer(command));
  closing = [];
});

afterEach(async () => {
  answer = () => null;
  for (const close of closing) await close();
  await standIn.stop();
  rmSync(folder, { recursive: true, force: true });
});

function storeOfAll(): MemoryStore {
  return new MemoryStore({ cluster: data, clock });
}

function configOf(over: Partial<PgbouncerConfig>): PgbouncerConfig {
  return {
    name: "pool1",
    host: "127.0.0.1",
    port: standIn.port,
    admin: { username: "keeper", password: null, options: { sslmode: "disable" } },
    databasesFile: join(folder, "databases.ini"),
    databases: ["app"],
    template: null,
    users: null,
    pause: "on",
    pauseTimeoutMs: ms(30_000),
    pauseLimitMs: ms(30_000),
    pauseFailed: "abandon",
    ...over,
  };
}

function change(...changes: readonly Change[]): void {
  const applied = data.apply(changes);
  if (!applied.ok) throw new Error(applied.error.kind);
}

function announce(id: string): void {
  change(
    { kind: "put", key: keys.leader, value: "node1", session },
    { kind: "put", key: keys.handover, value: JSON.stringify({ id, leader: "node1" }), session },
  );
}

/** Starts a pooler, and announces a handover once it has registered. */
async function announcedTo(over: Partial<PgbouncerConfig> = {}): Promise<void> {
  await registered(over);
  announce("h1");
}

async function registered(over: Partial<PgbouncerConfig> = {}): Promise<void> {
  // A pooler waits for its first view of a cluster before it registers.
  change({ kind: "put", key: keys.leader, value: "node1", session });
  const stopping = new AbortController();
  const options = { config: configOf(over), store: storeOfAll(), keys, clock, log: recordingLog(), scope: "demo", name: "pool1" };
  const done = new Pooler(options).run(stopping.signal);
  closing.push(() => {
    stopping.abort();
    return done;
  });
  await until("the pooler is registered", () => data.get(KEY) !== null, { withinMs: WITHIN_MS });
}

function answered(): PoolerAnswer | null {
  const entry = data.get(KEY);
  return entry === null ? null : (poolersIn(keys, [entry])[0]?.answer ?? null);
}

function untilAnswered(): Promise<PoolerAnswer> {
  return until("the pooler answers", answered, { withinMs: WITHIN_MS });
}

describe("a pooler", () => {
  test("that cannot pause its clients undoes what stands of the PAUSE before it says so", async () => {
    const atResume: (PoolerAnswer | null)[] = [];
    answer = (command) => {
      if (command === "RESUME app") atResume.push(answered());
      return command === "PAUSE app" ? "not now" : null;
    };
    await announcedTo();
    expect(await untilAnswered()).toMatchObject({
      handover: "h1",
      paused: false,
      why: expect.stringContaining("not now"),
      wish: "abandon",
    });
    expect(atResume).toEqual([null]);
  });

  test("whose former PAUSE cannot be ended says so to the leader, and pauses nobody", async () => {
    writeFileSync(join(folder, "databases.ini.paused"), "");
    answer = (command) => (command.startsWith("RESUME") ? "not now" : null);
    await announcedTo();
    expect(await untilAnswered()).toMatchObject({ handover: "h1", paused: false, why: "a former PAUSE of it cannot be ended" });
    expect(standIn.told).not.toContain("PAUSE app");
  });

  test("whose PgBouncer is stopped does not ask for the end of a switchover", async () => {
    const gone = await ConsoleStandIn.start(() => null);
    const { port } = gone;
    await gone.stop();
    await announcedTo({ port });
    expect(await untilAnswered()).toMatchObject({ handover: "h1", paused: false, wish: "proceed" });
  });
});

describe("a handover that was announced before a pooler began", () => {
  test("pauses nobody: it may have been left behind; the next one does", async () => {
    announce("left behind");
    await registered();
    announce("h2");
    expect(await untilAnswered()).toMatchObject({ handover: "h2", paused: true });
    change({ kind: "delete", key: keys.handover });
    expect(standIn.told.filter((each) => each.startsWith("PAUSE"))).toEqual(["PAUSE app"]);
  });
});

describe("the key of a pooler", () => {
  test("is written again when somebody has deleted it, or written over it", async () => {
    const stopping = new AbortController();
    const store = storeOfAll();
    const options = { store, keys, clock: withoutRenewals(), log: recordingLog(), scope: "demo", name: "pool1", patienceMs: ms(1000) };
    const registration = new PoolerRegistration(options);
    const done = registration.run(stopping.signal, async () => undefined);
    closing.push(() => {
      stopping.abort();
      return done;
    });
    await until("it is registered", () => data.get(KEY) !== null, { withinMs: WITHIN_MS });
    for (const fault of ["deleted", "garbled"]) {
      const before = data.get(KEY);
      if (before === null) throw new Error("it is not registered");
      change({ kind: "delete", key: KEY });
      if (fault === "garbled") change({ kind: "put", key: KEY, value: "garbled" });
      const seen = await store.snapshot(keys.prefix, { deadline: ms(clock.now() + WITHIN_MS) });
      if (!seen.ok) throw new Error(seen.error.kind);
      registration.observe(seen.value);
      await until(`it is written again after it was ${fault}`, () => data.get(KEY)?.value === before.value, { withinMs: WITHIN_MS });
      // A snapshot from before says nothing of what was written since.
      registration.observe(seen.value);
    }
  });
});

describe("the guard of a PAUSE", () => {
  test("that says nothing is ended, and no worker waits for it for ever", async () => {
    const order = { address: configOf({}), databases: ["app"], limitMs: ms(1000) };
    const started = await ResumeGuard.start(order, { command: ["/bin/sh", "-c", "exec cat >/dev/null"], withinMs: 50 });
    expect(started).toEqual({ ok: false, error: "the guard of the PAUSE did not begin to watch within 0.05 s" });
  });
});

/** Its renewals are never due: what is written again was seen to be missing. */
function withoutRenewals(): typeof clock {
  const sleepUntil = (at: Ms, signal?: AbortSignal): Promise<void> =>
    at - clock.now() > LONGEST_SLEEP_MS
      ? new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }))
      : clock.sleepUntil(at, signal);
  return { now: () => clock.now(), wallNow: () => clock.wallNow(), sleepUntil };
}

describe("a PAUSE", () => {
  test("that was left by a former worker is ended for the databases of that one, whatever the next one is told to keep", async () => {
    const log = recordingLog();
    const former = new PoolPause({ config: configOf({ databases: ["app", "my-db"] }), clock, log });
    closing.push(async () => {
      await former.end();
      await former.close();
    });
    expect(await former.prepare()).toBe(true);
    expect(await former.begin()).toEqual({ ok: true, value: null });
    const next = new PoolPause({ config: configOf({ databases: ["other"] }), clock, log });
    closing.push(() => next.close());
    await next.recover();
    expect(next.isOpen).toBe(true);
    expect(await next.end()).toBe(true);
    expect(standIn.told.filter((each) => each.startsWith("RESUME")).sort()).toEqual(['RESUME "my-db"', "RESUME app", "RESUME other"]);
    expect(existsSync(join(folder, "databases.ini.paused"))).toBe(false);
  });

  test("that was left by a worker with another databases_file beside ours is ended; one of another pool is not", async () => {
    const left = (file: string, config: Partial<PgbouncerConfig>) => {
      const pause = new PoolPause({ config: configOf({ databasesFile: join(folder, file), ...config }), clock, log: recordingLog() });
      closing.push(async () => {
        await pause.end();
        await pause.close();
      });
      return pause;
    };
    const other = await ConsoleStandIn.start(() => null);
    for (const former of [left("old.ini", { databases: ["old"] }), left("other.ini", { port: other.port })]) {
      expect(await former.prepare()).toBe(true);
      expect(await former.begin()).toMatchObject({ ok: true });
    }
    // Behind theirs: a guard asks until it is answered.
    closing.push(() => other.stop());
    const next = new PoolPause({ config: configOf({}), clock, log: recordingLog() });
    closing.push(() => next.close());
    await next.recover();
    expect(next.isOpen).toBe(true);
    expect(await next.end()).toBe(true);
    expect(standIn.told.filter((each) => each.startsWith("RESUME")).sort()).toEqual(["RESUME app", "RESUME old"]);
    expect([existsSync(join(folder, "old.ini.paused")), existsSync(join(folder, "other.ini.paused"))]).toEqual([false, true]);
  });

  test("leaves its mark in place of a link that stands there, not in what that leads to", async () => {
    const secret = join(folder, "secret");
    writeFileSync(secret, "as it was");
    symlinkSync(secret, join(folder, "databases.ini.paused"));
    const pause = new PoolPause({ config: configOf({}), clock, log: recordingLog() });
    closing.push(async () => {
      await pause.end();
      await pause.close();
    });
    expect(await pause.prepare()).toBe(true);
    expect(await pause.begin()).toMatchObject({ ok: true });
    expect(readFileSync(secret, "utf8")).toBe("as it was");
  });
});
