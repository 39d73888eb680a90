// Goal: with consul.session_check_ttl a supervisor that dies loses its lock in about that time, long before ttl; no instant sees two
// primaries, and whatever else runs on that host stays in the catalogue. Method: a real cluster over a real Consul, ttl 30 s, a check
// of 4 s; SIGKILL of the supervisor alone, a client that writes to every node every 10 ms.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { LockWatch } from "../harness/lock-watch.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const TTL_S = 30;
const CHECK_S = 4;

interface Health {
  readonly Checks: readonly { readonly CheckID: string; readonly Status: string }[];
}

test("a supervisor that is killed loses its lock by its check, while the session's own time still runs", async () => {
  const extra = () => ({ consul: { session_check_ttl: CHECK_S } });
  const dynamic = { ttl: TTL_S, loop_wait: 1, retry_timeout: 3 };
  await TestCluster.with({ nodes: 2, store: "consul", dynamic, extra }, async (cluster) => {
    const old = await cluster.untilHealthy();
    const { url } = cluster.consul;
    const passing = async (service: string): Promise<number> => {
      const answer = await fetch(`${url}/v1/health/service/${service}?passing`);
      return ((await answer.json()) as readonly Health[]).length;
    };
    await fetch(`${url}/v1/agent/service/register`, { method: "PUT", body: JSON.stringify({ ID: "beside", Name: "beside" }) });
    // Consul itself keeps the session for ttl: only the check can end it sooner.
    expect((await cluster.sessionOf("leader"))?.ttlMs).toBe(TTL_S * 1000);
    expect(await passing("demo-supervisor")).toBe(2);
    const writer = await cluster.writer();
    const lock = new LockWatch(cluster);
    const killedAt = performance.now();
    await old.killSupervisor();
    const next = await writer.afterNowBy((name) => name !== old.name, (TTL_S - 5) * 1000);
    const lockEnd = await until("the lock's end is seen", () => lock.endOf(old.name), { withinMs: 10_000 });
    const last = writer.acknowledged.filter(({ node }) => node === old.name).at(-1)?.ackedAt ?? Number.NaN;
    const after = (at: number) => Math.round(at - killedAt);
    console.log(
      `supervisor killed at check ${CHECK_S} s: last write ${after(last)} ms, lock over ${after(lockEnd)} ms, next write ${after(next.ackedAt)} ms`,
    );
    expect(last).toBeLessThan(lockEnd);
    expect(writer.overlaps()).toEqual([]);
    expect([await passing("demo-supervisor"), await passing("beside")]).toEqual([1, 1]);
    await lock.stop();
  });
}, 120_000);
