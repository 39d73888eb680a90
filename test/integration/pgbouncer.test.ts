// Goal: a PgBouncer goes where the leader is, and its clients see a delay and no error when an operator moves the primary.
// Method: two nodes with a long loop_wait (what is faster was woken), a real PgBouncer in transaction mode, the worker as a process, four
// clients that write every 10 ms.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { serverUser } from "../../lib/cli/quickstart/folder.ts";
import { SECRET_MARK } from "../../scripts/suite/secret-search.ts";
import { TestCluster } from "../harness/cluster.ts";
import { findPgbouncer, PoolClients, TestPool } from "../harness/pgbouncer.ts";
import { LAZY } from "../harness/times.ts";
import { until } from "../harness/wait.ts";

const program = findPgbouncer();
if (typeof program === "string") console.log(`skipped: ${program}`);

let cluster: TestCluster;
let pool: TestPool;
let clients: PoolClients;

describe.skipIf(typeof program === "string")("a pool that follows the leader", () => {
  beforeAll(async () => {
    if (typeof program === "string") return;
    cluster = await TestCluster.shared({ dynamic: LAZY, nodes: 2 });
    pool = await TestPool.start({ program });
    await cluster.untilHealthy();
    // Long against what a busy machine takes: how short they may be is not what is shown here.
    const section = { pause_timeout: 15, pause_limit: 60 };
    await pool.startWorker({ scope: cluster.scope, store: cluster.storeClient.section, section });
    await pool.untilSays(/the list of users was refreshed/);
    await until("the pooler is registered", () => cluster.key("poolers/pool1"), { withinMs: 30_000 });
    clients = await PoolClients.start(pool);
  }, 90_000);

  afterAll(async () => {
    await clients?.stop();
    await pool?.stop();
    await TestCluster.stopAll();
  });

  test("reaches the leader, with the leader's users in a file for PgBouncer's eyes alone", () =>
    cluster.during(async () => {
      const leader = await cluster.untilLeader();
      expect(pool.databases).toContain(`postgres = host=127.0.0.1 port=${leader.place.postgresPort} dbname='postgres'`);
      expect(clients.acknowledged.at(-1)?.server).toBe(leader.place.postgresPort);
      const { mode, uid } = statSync(pool.usersFile);
      expect([mode & 0o777, uid]).toEqual([0o600, serverUser().uid ?? process.getuid?.() ?? 0]);
      expect(pool.workerLog).not.toContain("SCRAM");
      expect(pool.workerLog).not.toContain(SECRET_MARK);
    }));

  test("its clients see no error in a switchover", () =>
    cluster.during(async () => {
      const before = await cluster.untilHealthy();
      const since = performance.now();
      const answer = await before.api("/switchover", { method: "POST", body: { leader: before.name }, timeoutMs: 60_000 });
      expect([answer.status, answer.text]).toEqual([200, expect.stringContaining("Successfully switched over")]);
      await clients.untilServedBy(before.place.postgresPort, since, 30_000);
      await pool.untilSays(/clients go on/);
      const { ms, ownMs } = clients.longestGap(since);
      console.log(`switchover: longest pause ${Math.round(ms)} ms, of them the machine's ${Math.round(ms - ownMs)}`);
      expect(clients.errors.filter(({ at }) => at >= since)).toEqual([]);
      expect(before.log).toContain("1 of 1 poolers have paused their clients");
      expect(await pool.isPaused()).toBe(false);
    }));
});
