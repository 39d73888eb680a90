// Goal: HAProxy in front of our nodes sends writers to the primary, and follows it.
// Method: HAProxy from Debian with the configuration of Patroni's manual; a client that writes through it again and again.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { findProxy, Haproxy, type ProxyProgram } from "../harness/proxies.ts";
import { until } from "../harness/wait.ts";
import { withConnection } from "../harness/writer.ts";

const found = findProxy("haproxy");
if (typeof found === "string") console.log(`skipped: HAProxy: ${found}`);

/** A deadline for a busy machine; it takes a second. */
const MOVED_WITHIN_MS = 60_000;

afterAll(() => TestCluster.stopAll());

describe.skipIf(typeof found === "string")("HAProxy", () => {
  test("sends a writer to the primary before and after a switchover, and never to the other", async () => {
    await TestCluster.with({ nodes: 2 }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const [heir = leader] = cluster.others(leader);
      await cluster.sql(leader, "create table through (port int)");
      const haproxy = await Haproxy.start(found as ProxyProgram, cluster);
      try {
        await haproxy.untilUp("writer", [leader]);
        await haproxy.untilUp("reader", [heir]);
        const write = () =>
          withConnection(haproxy.writer, async (sql) => {
            const rows: { port: number }[] = await sql`insert into through select inet_server_port() returning port`;
            return rows[0]?.port;
          });
        expect(await write()).toBe(leader.place.postgresPort);
        // One that stays: what it was connected to is a standby afterwards, and it must notice.
        await withConnection(haproxy.writer, async (kept) => {
          await kept`select 1`;
          // What it answers when it takes long is not judged here.
          const asked = leader.api("/switchover", {
            method: "POST",
            body: { leader: leader.name, candidate: heir.name },
            timeoutMs: MOVED_WITHIN_MS,
          });
          await until("the former primary is none any more", async () => (await leader.health("/primary")) === 503, {
            withinMs: MOVED_WITHIN_MS,
          });
          expect(await until("a writer gets through", write, { withinMs: MOVED_WITHIN_MS })).toBe(heir.place.postgresPort);
          const still = async () => ((await kept`select inet_server_port() as port`) as { port: number }[])[0]?.port;
          console.log(`switchover: ${(await asked).text}`);
          // Either its session has ended, or the client has connected again by itself: to the new one.
          expect([null, heir.place.postgresPort]).toContain((await still().catch(() => null)) ?? null);
        });
        await haproxy.untilUp("writer", [heir]);
        await haproxy.untilUp("reader", [leader]);
        expect(await write()).toBe(heir.place.postgresPort);
        const reads: { standby: boolean }[] = await withConnection(haproxy.reader, (sql) => sql`select pg_is_in_recovery() as standby`);
        expect(reads).toEqual([{ standby: true }]);
      } finally {
        await haproxy.stop();
      }
    });
  }, 120_000);
});
