// Goal: whatever happens to PgBouncer, to the DCS or to the leader meanwhile, the pool ends where the leader is, and goes on.
// Method: the worker's inside over the memory store, so that the test is the cluster, with a real PgBouncer; no PostgreSQL is needed.

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { clusterKeys } from "../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../lib/dcs/memory.ts";
import { MemoryStore } from "../../lib/dcs/memory-store.ts";
import { poolerKey, poolersIn } from "../../lib/dcs/poolers.ts";
import type { Change } from "../../lib/dcs/store.ts";
import type { Clock } from "../../lib/model/clock.ts";
import type { PgbouncerConfig, PoolerAnswer } from "../../lib/model/pgbouncer.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { Pooler } from "../../lib/runtime/pgbouncer/pooler.ts";
import { CONSOLE_USER, findPgbouncer, TestPool } from "../harness/pgbouncer.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { staysTrue, until } from "../harness/wait.ts";

const program = findPgbouncer();
if (typeof program === "string") console.log(`skipped: ${program}`);

const WITHIN_MS = 30_000;
const clock = realClock();
const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
const soon = () => ms(clock.now() + WITHIN_MS);

let pool: TestPool;
let data: MemoryCluster;
let away: boolean;
let outside: MemoryStore;
let log: ReturnType<typeof recordingLog>;
let running: { readonly stop: () => Promise<void> } | null = null;

/** The worker's inside; the pool's own console user and file. */
function startPooler(over: Partial<PgbouncerConfig> = {}, clock: Clock = realClock()): void {
  const config: PgbouncerConfig = {
    name: "pool1",
    host: "127.0.0.1",
    port: pool.port,
    admin: { ...CONSOLE_USER, options: {} },
    databasesFile: pool.databasesFile,
    databases: ["app", "other"],
    template: null,
    users: null,
    pause: "on",
    pauseTimeoutMs: ms(5000),
    pauseLimitMs: ms(20_000),
    pauseFailed: "proceed",
    ...over,
  };
  const store = new MemoryStore({ cluster: data, clock, gate: () => ({ kind: away ? "refuse" : "pass" }) });
  const stopping = new AbortController();
  const done = new Pooler({ config, store, keys, clock, log, scope: "demo", name: "pool1" }).run(stopping.signal);
  running = {
    stop: async () => {
      stopping.abort();
      await done;
    },
  };
}

/** Its seconds are forty of ours: what the pooler waits for a burst to end is long against the burst, also on a busy machine. */
const SLOW_CLOCK: Clock = {
  now: () => ms(clock.now() / 40),
  wallNow: () => clock.wallNow(),
  sleepUntil: (at, signal) => clock.sleepUntil(ms(at * 40), signal),
};

async function stopPooler(): Promise<void> {
  await running?.stop();
  running = null;
}

const sessions = new Map<string, string>();

/** In one turn of the event loop, so that a watch sees the end of it alone: the member's own record, and the lock. */
function lead(name: string, port: number, role = "primary"): void {
  const value = JSON.stringify({ conn_url: `postgres://127.0.0.1:${port}/postgres`, role, state: "running" });
  change(
    { kind: "put", key: `${keys.prefix}members/${name}`, value },
    { kind: "delete", key: keys.leader },
    { kind: "put", key: keys.leader, value: name, session: sessions.get(name) ?? "" },
  );
}

function change(...changes: readonly Change[]): void {
  const applied = data.apply(changes);
  if (!applied.ok) throw new Error(applied.error.kind);
}

async function portOfPool(): Promise<readonly unknown[]> {
  const shown = await pool.show("DATABASES");
  return shown.filter(({ name }) => name === "app" || name === "other").map(({ port }) => port);
}

function untilPoolIsAt(port: number): Promise<unknown> {
  return until(`the pool is at ${port}`, async () => (await portOfPool()).join() === `${port},${port}`, { withinMs: WITHIN_MS });
}

/** Once the pooler has said that it takes part: a leader announces to whom it knows. */
async function announce(id: string, leader: string): Promise<void> {
  await until("the pooler is registered", () => data.get(poolerKey(keys, "pool1")) !== null, { withinMs: WITHIN_MS });
  announceNow(id, leader);
}

function announceNow(id: string, leader: string): void {
  change({ kind: "put", key: keys.handover, value: JSON.stringify({ id, leader }), session: sessions.get(leader) ?? "" });
}

async function answerTo(id: string): Promise<PoolerAnswer> {
  return await until(
    `the pooler answers ${id}`,
    () => {
      const entry = data.get(poolerKey(keys, "pool1"));
      const answer = entry === null ? null : (poolersIn(keys, [entry])[0]?.answer ?? null);
      return answer?.handover === id ? answer : null;
    },
    { withinMs: WITHIN_MS },
  );
}

describe.skipIf(typeof program === "string")("a pool", () => {
  beforeAll(async () => {
    if (typeof program !== "string") pool = await TestPool.start({ program });
  }, 60_000);
  afterAll(() => pool?.stop());

  beforeEach(async () => {
    data = new MemoryCluster({ clock });
    away = false;
    outside = new MemoryStore({ cluster: data, clock });
    log = recordingLog();
    for (const name of ["node1", "node2"]) {
      const opened = await outside.openSession({ name, ttl: seconds(3600), deadline: soon() });
      if (opened.ok) sessions.set(name, opened.value.id);
    }
  });
  afterEach(async () => {
    await stopPooler();
    expect(await pool.isPaused()).toBe(false);
    await until("the guard is gone", () => pool.processes() === 1, { withinMs: WITHIN_MS });
  });

  test("goes to the leader, and a burst of changes is one RELOAD", async () => {
    lead("node1", 7001);
    startPooler({}, SLOW_CLOCK);
    await untilPoolIsAt(7001);
    const { reloads } = pool;
    for (let round = 1; round <= 10; round++) {
      lead("node2", 7100 + round);
      await Bun.sleep(5);
      lead("node1", 7200 + round);
      await Bun.sleep(5);
    }
    await untilPoolIsAt(7210);
    await until("it says so", () => log.lines.at(-1)?.includes("7210"), { withinMs: WITHIN_MS });
    expect(pool.reloads - reloads).toBe(1);
  });

  test("stays with the last leader while nobody serves as one, and while the DCS is away", async () => {
    lead("node1", 7001);
    startPooler();
    await untilPoolIsAt(7001);
    lead("node2", 7002, "replica");
    const look = async () => ((await portOfPool()).join() === "7001,7001" ? null : "it went elsewhere");
    await staysTrue("the pool stays", look, { forMs: 300 });
    change({ kind: "delete", key: keys.leader });
    away = true;
    await staysTrue("the pool stays", look, { forMs: 300 });
    lead("node2", 7003);
    away = false;
    await untilPoolIsAt(7003);
  });

  test("is brought to the leader after PgBouncer hung, and after it was killed and started again", async () => {
    lead("node1", 7001);
    startPooler();
    await untilPoolIsAt(7001);
    pool.signalBouncer("SIGSTOP");
    lead("node2", 7002);
    await until("the worker finds it silent", () => log.lines.some((line) => line.includes("does not answer")), { withinMs: WITHIN_MS });
    pool.signalBouncer("SIGCONT");
    await untilPoolIsAt(7002);
    await pool.killBouncer();
    lead("node1", 7003);
    await until("its file names the leader", () => pool.databases.includes("port=7003"), { withinMs: WITHIN_MS });
    await pool.startBouncer();
    await untilPoolIsAt(7003);
  });

  test("is paused for an announced handover and goes on when the next leader serves, there", async () => {
    lead("node1", 7001);
    startPooler();
    await untilPoolIsAt(7001);
    await announce("h1", "node1");
    expect(await answerTo("h1")).toMatchObject({ paused: true });
    expect(await pool.isPaused()).toBe(true);
    lead("node2", 7002, "replica");
    await staysTrue("the pool is paused", async () => ((await pool.isPaused()) ? null : "it goes on"), { forMs: 300 });
    lead("node2", 7002);
    await until("clients go on", async () => !(await pool.isPaused()), { withinMs: WITHIN_MS });
    expect(await portOfPool()).toEqual([7002, 7002]);
  });

  test("goes on when the handover is called off, and when nobody has taken over within pause_limit", async () => {
    lead("node1", 7001);
    startPooler({ pauseLimitMs: ms(1500), pauseTimeoutMs: ms(1000) });
    await untilPoolIsAt(7001);
    await announce("h1", "node1");
    expect(await answerTo("h1")).toMatchObject({ paused: true });
    change({ kind: "delete", key: keys.handover });
    await until("clients go on", async () => !(await pool.isPaused()), { withinMs: WITHIN_MS });
    await announce("h2", "node1");
    expect(await answerTo("h2")).toMatchObject({ paused: true });
    change({ kind: "delete", key: keys.leader });
    away = true;
    await until("clients go on", async () => !(await pool.isPaused()), { withinMs: WITHIN_MS });
    await until("it is told", () => log.lines.includes("WARNING: nobody took over within 1.5 s: clients go on"), { withinMs: WITHIN_MS });
    away = false;
  });

  test("is not paused by what a former leader announced, nor where the worker is told not to", async () => {
    lead("node2", 7002);
    announceNow("h1", "node1");
    startPooler();
    await untilPoolIsAt(7002);
    await stopPooler();
    startPooler({ pause: "off" });
    announceNow("h2", "node1");
    lead("node1", 7001);
    await untilPoolIsAt(7001);
    expect(data.get(poolerKey(keys, "pool1"))).toBeNull();
    expect(log.lines.filter((line) => line.includes("are paused"))).toEqual([]);
  });

  test("that a former worker left paused goes on with the next one", async () => {
    lead("node1", 7001);
    startPooler();
    await untilPoolIsAt(7001);
    await stopPooler();
    await pool.command("PAUSE app");
    writeFileSync(`${pool.databasesFile}.paused`, "");
    startPooler();
    await until("clients go on", async () => !(await pool.isPaused()), { withinMs: WITHIN_MS });
    await until("the next one finds nothing left", () => !existsSync(`${pool.databasesFile}.paused`), { withinMs: WITHIN_MS });
  });

  test("that does not go by the worker's file is told of, with what to write", async () => {
    lead("node1", 7009);
    startPooler({ databasesFile: `${pool.folder}/elsewhere.ini` });
    const wanted = `PgBouncer does not go by ${pool.folder}/elsewhere.ini`;
    await until("it is told", () => log.lines.some((line) => line.includes(wanted)), { withinMs: WITHIN_MS });
    const told = log.lines.filter((line) => line.includes(wanted)).length;
    expect(told).toBe(1);
  });
});
