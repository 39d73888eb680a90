// Goal: consul.session_check_ttl through the life of a node: a supervisor that hangs loses its lock by the check and is a replica when it
// goes on; one that is started again in time goes on with its session, check and all; a reload switches the check on and off without a
// failover; where the host dies with its agent, serfHealth beside it frees the lock. Method: real clusters over a real Consul, ttl 30 s.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { Tree } from "../harness/cluster-node.ts";
import { withHostCluster } from "../harness/host-cluster.ts";
import { until } from "../harness/wait.ts";

afterAll(() => TestCluster.stopAll());

const TTL_S = 30;
const DYNAMIC = { ttl: TTL_S, loop_wait: 1, retry_timeout: 3 };
/** The session's own time, with room: whoever writes sooner owes it to the check. */
const SOONER_THAN_TTL_MS = (TTL_S - 5) * 1000;
const SETTLED_WITHIN_MS = 2 * TTL_S * 1000;

const withCheck =
  (seconds: number, more: Tree = {}) =>
  (): Tree => ({ consul: { session_check_ttl: seconds, ...more } });

/** The checks that are bound to the session of the lock. */
async function boundChecks(cluster: TestCluster): Promise<readonly string[]> {
  const session = (await cluster.key("leader"))?.session ?? "";
  const answer = await fetch(`${cluster.consul.url}/v1/session/info/${session}`);
  const [described] = (await answer.json()) as readonly { ServiceChecks: readonly { ID: string }[] | null }[];
  return (described?.ServiceChecks ?? []).map(({ ID }) => ID);
}

describe("a session with a check of its own", () => {
  test("frees the lock of a supervisor that hangs, which is a replica when it goes on", async () => {
    await TestCluster.with({ nodes: 2, store: "consul", dynamic: DYNAMIC, extra: withCheck(4) }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const writer = await cluster.writer();
      old.sigstop();
      const stoppedAt = performance.now();
      const next = await writer.afterNowBy((name) => name !== old.name, SOONER_THAN_TTL_MS);
      console.log(`supervisor hung at check 4 s: next write after ${Math.round(next.ackedAt - stoppedAt)} ms`);
      old.sigcont();
      expect((await cluster.untilHealthy()).name).not.toBe(old.name);
      expect(writer.overlaps()).toEqual([]);
    });
  }, 240_000);

  test("goes on under a supervisor that is started again in time, and PostgreSQL is not touched", async () => {
    await TestCluster.with({ nodes: 2, store: "consul", dynamic: DYNAMIC, extra: withCheck(25) }, async (cluster) => {
      const old = await cluster.untilHealthy();
      const session = (await cluster.key("leader"))?.session;
      const postmaster = old.postmasterPid();
      const checks = await boundChecks(cluster);
      expect(checks).toHaveLength(1);
      await old.killSupervisor();
      old.start();
      await old.untilLogs("continuing with the session and the lock of the former process", { withinMs: SOONER_THAN_TTL_MS });
      expect(await cluster.untilHealthy()).toBe(old);
      expect([(await cluster.key("leader"))?.session, old.postmasterPid()]).toEqual([session, postmaster]);
      expect(await boundChecks(cluster)).toEqual(checks);
    });
  }, 240_000);

  test("begins and ends with a reload: the lock goes over to another session and stays where it is", async () => {
    await TestCluster.with({ nodes: 2, store: "consul", dynamic: { ...DYNAMIC, ttl: 20 } }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const postmaster = leader.postmasterPid();
      expect(await boundChecks(cluster)).toEqual([]);
      for (const seconds of [8, null]) {
        leader.editConfig((config) => {
          config["consul"] = { ...(config["consul"] as Tree), session_check_ttl: seconds };
        });
        expect((await leader.api("/reload", { method: "POST" })).status).toBe(202);
        const wanted = async () => (await boundChecks(cluster)).length === (seconds === null ? 0 : 1);
        await until(`the session has ${seconds === null ? "no" : "a"} check`, wanted, { withinMs: SETTLED_WITHIN_MS });
      }
      expect(await cluster.untilHealthy()).toBe(leader);
      expect(leader.postmasterPid()).toBe(postmaster);
    });
  }, 240_000);

  test("and serfHealth beside it free the lock of a host that dies with its agent", async () => {
    const extra = withCheck(4, { checks: ["serfHealth"] });
    await withHostCluster({ agents: true, store: "consul", dynamic: DYNAMIC, extra }, async ({ cluster, agent, cut }) => {
      const old = await cluster.untilHealthy();
      const writer = await cluster.writer();
      const diedAt = performance.now();
      cut(old);
      await Promise.all([old.killHost(), agent(old).kill()]);
      const next = await writer.afterNowBy((name) => name !== old.name, SOONER_THAN_TTL_MS);
      console.log(`host dead with check and serfHealth: next write after ${Math.round(next.ackedAt - diedAt)} ms`);
      expect(writer.overlaps()).toEqual([]);
    });
  }, 240_000);
});
