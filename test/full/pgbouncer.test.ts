// Goal: whoever dies, hangs or holds a PAUSE up while the primary moves, the pool goes on, at the leader, and nobody waits for ever.
// Method: one cluster of three nodes, a real PgBouncer with its worker as a process for each test, clients that write every 10 ms through it.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { SQL } from "bun";
import { TestCluster } from "../harness/cluster.ts";
import type { ApiAnswer, ClusterNode, Tree } from "../harness/cluster-node.ts";
import { findPgbouncer, PoolClients, TestPool } from "../harness/pgbouncer.ts";
import { ownMs } from "../harness/stall.ts";
import { LAZY } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

const program = findPgbouncer();
if (typeof program === "string") console.log(`skipped: ${program}`);

const WITHIN_MS = 60_000;
/** What is promised is 1 s; a busy machine gets five of them. */
const FAILOVER_OWN_MS = 5000;

let cluster: TestCluster;
let pool: TestPool | null = null;
let clients: PoolClients | null = null;
let holder: SQL | null = null;

async function given(options: { readonly section?: Tree; readonly settings?: Readonly<Record<string, string>> } = {}) {
  if (typeof program === "string") throw new Error(program);
  const leader = await cluster.untilHealthy();
  const made = await TestPool.start({ program, ...(options.settings === undefined ? {} : { settings: options.settings }) });
  pool = made;
  const section = options.section ?? {};
  await made.startWorker({ scope: cluster.scope, store: cluster.storeClient.section, section });
  await made.untilSays(/the list of users was refreshed/);
  await until("the pooler is registered", () => cluster.key("poolers/pool1"), { withinMs: WITHIN_MS });
  const writing = await PoolClients.start(made);
  clients = writing;
  return { leader, pool: made, clients: writing };
}

/** A client that begins a transaction through the pool and does nothing more. */
async function holdTransaction(of: TestPool): Promise<void> {
  holder = of.connect();
  await holder.unsafe("begin");
}

function switchover(leader: ClusterNode): Promise<ApiAnswer> {
  return leader.api("/switchover", { method: "POST", body: { leader: leader.name }, timeoutMs: 90_000 });
}

/** Clients write at another server than that of `former`, and none is held. */
async function untilMoved(of: TestPool, writing: PoolClients, former: ClusterNode, since: number): Promise<void> {
  await writing.untilServedBy(former.place.postgresPort, since, WITHIN_MS);
  await until("nobody is held", async () => !(await of.isPaused()), { withinMs: WITHIN_MS });
}

describe.skipIf(typeof program === "string")("a pool, while the primary moves", () => {
  beforeAll(async () => {
    cluster = await TestCluster.shared({ dynamic: LAZY });
    await cluster.untilHealthy();
  }, 120_000);
  afterEach(async () => {
    await holder?.close({ timeout: 0 }).catch(() => undefined);
    await clients?.stop();
    await pool?.stop();
    [holder, clients, pool] = [null, null, null];
  });
  afterAll(() => TestCluster.stopAll());

  test("by the stop of the leader's node: no client sees an error", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 15, pause_limit: 60 } });
      const since = performance.now();
      expect(await leader.terminate()).toBe(0);
      await untilMoved(now.pool, now.clients, leader, since);
      console.log(`stop of the leader's node: longest pause ${Math.round(now.clients.longestGap(since).ms)} ms`);
      expect(now.clients.errors).toEqual([]);
      leader.start();
    }));

  test("by a restart of the primary: it is paused through, and no client sees an error", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 15, pause_limit: 60 } });
      const postmaster = leader.postmasterPid();
      const answer = await leader.api("/restart", { method: "POST", body: {}, timeoutMs: 90_000 });
      expect([answer.status, answer.text]).toEqual([200, "restarted successfully"]);
      expect(leader.postmasterPid()).not.toBe(postmaster);
      await until("nobody is held", async () => !(await now.pool.isPaused()), { withinMs: WITHIN_MS });
      const since = performance.now();
      await until("clients write again", () => (now.clients.acknowledged.at(-1)?.at ?? 0) > since, { withinMs: WITHIN_MS });
      expect(leader.log).toContain("1 of 1 poolers have paused their clients");
      expect(now.clients.errors).toEqual([]);
    }));

  test("in a failover: clients write again within 1 s of the promotion", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given();
      const witness = await cluster.writer();
      const since = performance.now();
      await leader.killHost();
      const { ackedAt } = await witness.afterNowBy((name) => name !== leader.name, WITHIN_MS);
      const pooledAt = await now.clients.untilServedBy(leader.place.postgresPort, since, WITHIN_MS);
      const own = ownMs(Math.min(ackedAt, pooledAt), pooledAt);
      console.log(`failover: the pool writes ${Math.round(pooledAt - ackedAt)} ms after the first write that went around it`);
      expect(own).toBeLessThan(FAILOVER_OWN_MS);
      await witness.stop();
      leader.start();
    }));

  test("with a client that stays in its transaction: the PAUSE is undone and the switchover goes on", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 1 } });
      await holdTransaction(now.pool);
      const since = performance.now();
      expect((await switchover(leader)).status).toBe(200);
      expect(leader.log).toContain("pooler pool1 is not paused: its clients have held the PAUSE up for 1 s");
      await untilMoved(now.pool, now.clients, leader, since);
    }));

  test("with such a client and pause_failed: abandon, it does not: the request is gone, PostgreSQL untouched, no client sees an error", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 1, pause_failed: "abandon" } });
      const postmaster = leader.postmasterPid();
      await holdTransaction(now.pool);
      const answer = await switchover(leader);
      expect([answer.status, answer.text]).toEqual([503, expect.stringContaining("Switchover failed")]);
      await leader.untilLogs("the switchover is given up: pooler pool1 cannot be paused", { withinMs: WITHIN_MS });
      expect((await cluster.key("failover"))?.value || "{}").toBe("{}");
      expect(await cluster.key("handover")).toBeNull();
      expect([(await cluster.untilLeader()).name, leader.postmasterPid()]).toEqual([leader.name, postmaster]);
      const { length } = now.clients.acknowledged;
      await until("the clients go on", () => now.clients.acknowledged.length > length + 10, { withinMs: WITHIN_MS });
      expect(now.clients.errors).toEqual([]);
      // Its own node's stop is not the poolers' to refuse.
      const since = performance.now();
      expect(await leader.terminate()).toBe(0);
      await untilMoved(now.pool, now.clients, leader, since);
      leader.start();
    }));

  test("with sessions in place of transactions: the PAUSE is undone, and they write at the new leader", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 1 }, settings: { pool_mode: "session", server_fast_close: "1" } });
      const since = performance.now();
      expect((await switchover(leader)).status).toBe(200);
      expect(leader.log).toContain("pooler pool1 is not paused");
      await untilMoved(now.pool, now.clients, leader, since);
    }));

  test("while the worker is killed in the PAUSE: its guard lets the clients go on, and the next worker leads them to the new leader", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 8 } });
      await holdTransaction(now.pool);
      const answered = switchover(leader);
      await until("clients are held", () => now.pool.isPaused(), { withinMs: WITHIN_MS });
      const killedAt = performance.now();
      await now.pool.killWorker();
      await until("clients go on", async () => !(await now.pool.isPaused()), { withinMs: WITHIN_MS });
      console.log(`killed worker: its guard let the clients go on after ${Math.round(performance.now() - killedAt)} ms`);
      expect(now.pool.workerLog).toContain("the worker ended while clients were paused: they go on");
      expect((await answered).status).toBe(200);
      const since = performance.now();
      await now.pool.startWorker({ scope: cluster.scope, store: cluster.storeClient.section });
      await untilMoved(now.pool, now.clients, leader, since);
    }));

  test("while the worker hangs in the PAUSE: its guard lets the clients go on at the limit", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 2, pause_limit: 4 } });
      await holdTransaction(now.pool);
      const answered = switchover(leader);
      await until("clients are held", () => now.pool.isPaused(), { withinMs: WITHIN_MS });
      now.pool.signalWorker("SIGSTOP");
      await until("clients go on", async () => !(await now.pool.isPaused()), { withinMs: WITHIN_MS });
      expect((await answered).status).toBe(200);
      const since = performance.now();
      now.pool.signalWorker("SIGCONT");
      await untilMoved(now.pool, now.clients, leader, since);
    }));

  test("while PgBouncer hangs: the switchover goes on, and the pool is led to the new leader when it goes on too", () =>
    cluster.during(async () => {
      const { leader, ...now } = await given({ section: { pause_timeout: 1 } });
      now.pool.signalBouncer("SIGSTOP");
      expect((await switchover(leader)).status).toBe(200);
      expect(leader.log).toContain("pooler pool1 is not paused");
      const since = performance.now();
      now.pool.signalBouncer("SIGCONT");
      await untilMoved(now.pool, now.clients, leader, since);
    }));
});
