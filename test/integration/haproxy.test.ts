// Goal: HAProxy in front of our nodes sends writers to the primary, and follows it.
// Method: HAProxy from Debian with the configuration of Patroni's manual; a client that writes through it again and again.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
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
        const written: (number | undefined)[] = [];
        const write = async () =>
          written.push(
            await withConnection(haproxy.writer, async (sql) => {
              const rows: { port: number }[] = await sql`insert into through select inet_server_port() returning port`;
              return rows[0]?.port;
            }),
          );
        // A busy machine may keep a node from answering a check in time: then it is tried again.
        const untilWritten = (node: ClusterNode) =>
          until(`a writer gets to ${node.name}`, async () => written[(await write()) - 1] === node.place.postgresPort, {
            withinMs: MOVED_WITHIN_MS,
          });
        await untilWritten(leader);
        // One that stays: what it was connected to is a standby afterwards, and it must notice.
        await withConnection(haproxy.writer, async (kept) => {
          const port = async () => ((await kept`select inet_server_port() as port`) as { port: number }[])[0]?.port ?? null;
          await until("a connection that stays", port, { withinMs: MOVED_WITHIN_MS });
          const body = { leader: leader.name, candidate: heir.name };
          // What it answers where it takes long is not judged here.
          const moved = leader.api("/switchover", { method: "POST", body, timeoutMs: MOVED_WITHIN_MS }).then(({ text }) => text, String);
          await untilWritten(heir);
          console.log(`switchover: ${await moved}`);
          // Either its session has ended, or the client has connected again by itself: to the new one.
          expect([null, heir.place.postgresPort]).toContain(await port().catch(() => null));
        });
        await haproxy.untilUp("writer", [heir]);
        await haproxy.untilUp("reader", [leader]);
        await untilWritten(heir);
        // All to the one, and from then on all to the other.
        expect(written.slice(written.indexOf(heir.place.postgresPort))).not.toContain(leader.place.postgresPort);
        const standby = async () =>
          withConnection(
            haproxy.reader,
            async (sql) => ((await sql`select pg_is_in_recovery() as standby`) as { standby: boolean }[])[0]?.standby,
          );
        expect(await until("a reader gets through", standby, { withinMs: MOVED_WITHIN_MS })).toBe(true);
      } finally {
        await haproxy.stop();
      }
    });
  }, 120_000);
});
