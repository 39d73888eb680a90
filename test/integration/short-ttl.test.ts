// Goal: where the store keeps it and no Patroni is in the cluster, a ttl below 20 s is kept, and a dead primary is replaced that
// much sooner; as soon as a Patroni shows up, the 20 s are back. Method: a real cluster over a Raft, or a Consul whose
// session_ttl_min is 1 s; the primary's host dies, and then a member key as a Patroni writes it appears.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const TTL_S = 4;
/** The lease, and what a failover takes on a busy machine. */
const TAKEOVER_WITHIN_MS = 12_000;

/** The ttl of the session that holds the leader key, in seconds; null where nobody holds it. */
async function sessionTtl(cluster: TestCluster): Promise<number | null> {
  const session = await cluster.sessionOf("leader");
  return session === null ? null : session.ttlMs / 1000;
}

test("a ttl of 4 s is kept until a Patroni joins, and no instant sees two primaries", async () => {
  await TestCluster.with({ dynamic: { ttl: TTL_S, loop_wait: 1, retry_timeout: 1 } }, async (cluster) => {
    const old = await cluster.untilHealthy();
    expect(await sessionTtl(cluster)).toBe(TTL_S);
    const writer = await cluster.writer();
    await old.killHost();
    const killedAt = performance.now();
    const first = await writer.afterNowBy((name) => name !== old.name, TAKEOVER_WITHIN_MS);
    console.log(`host death at ttl ${TTL_S}: writable again after ${Math.round(first.ackedAt - killedAt)} ms`);
    old.start();
    const leader = await cluster.untilHealthy();
    const epochBefore = (await cluster.key("leader"))?.session;
    const record = {
      conn_url: "postgres://127.0.0.1:1/postgres",
      api_url: "http://127.0.0.1:1/patroni",
      state: "running",
      role: "replica",
    };
    await cluster.putKey("members/patroni1", JSON.stringify({ ...record, version: "4.1.5" }));
    for (const node of cluster.nodes)
      await node.untilLogs("a Patroni is in the cluster (patroni1): ttl is at least 20 s", { withinMs: 10_000 });
    await until("the lock is under a session of 20 s", async () => (await sessionTtl(cluster)) === 20, { withinMs: 15_000 });
    expect((await cluster.key("leader"))?.session).not.toBe(epochBefore as string);
    expect(await cluster.untilHealthy()).toBe(leader);
    expect(writer.overlaps()).toEqual([]);
  });
}, 120_000);
