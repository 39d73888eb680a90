// Goal: what happens to Consul's servers is no reason for a failover: one is lost, their leader dies and another is elected, all are
// restarted one after the other and then the nodes' agent, as an upgrade does it, the nodes' token is replaced. Method: three real servers at Consul's default timing (raft_multiplier
// 5), a client agent that the nodes ask, a client that writes every 10 ms.

import { afterAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { Consul, type ConsulOptions } from "../harness/consul.ts";
import { until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

/** A gap says more about the machine than about the product while no write fails; a step-down takes longer than this. */
const UNDISTURBED_GAP_MAX_MS = 2_000;
/** An election at the default timing, on a busy machine. */
const ELECTED_WITHIN_MS = 120_000;
const MANAGER = "11111111-2222-3333-4444-555555555555";

afterAll(() => TestCluster.stopAll());

interface Servers {
  readonly servers: readonly Consul[];
  readonly agent: Consul;
}

async function withServers(
  body: (consul: Servers) => Promise<void>,
  { config, ...more }: Pick<ConsulOptions, "config" | "ready"> = {},
): Promise<void> {
  const options = { sessionTtlMin: "10s", ...more };
  const servers = await Consul.startServers(3, { ...options, config: { performance: { raft_multiplier: 5 }, ...config } });
  // An agent that leaves takes its sessions along (docs/consul.md).
  const ofAgent = { leave_on_terminate: false, ...config };
  const agent = await Consul.start({ ...options, joins: servers[0] as Consul, nodeName: "agent", config: ofAgent });
  try {
    await body({ servers, agent });
  } finally {
    await Promise.all([agent, ...servers].map((consul) => consul.stop()));
  }
}

/** That leads the others now. */
async function leading(servers: readonly Consul[]): Promise<Consul> {
  return until(
    "one of the servers leads",
    async () => {
      for (const server of servers) {
        const self = (await (await fetch(`${server.url}/v1/agent/self`)).json()) as { Stats: { consul: { leader: string } } };
        if (self.Stats.consul.leader === "true") return server;
      }
      return null;
    },
    { withinMs: ELECTED_WITHIN_MS, everyMs: 100 },
  );
}

/** Until the agent's next write goes through. Value: how long it took. */
async function writable(agent: Consul): Promise<number> {
  const begun = performance.now();
  const put = async () => (await fetch(`${agent.url}/v1/kv/probe`, { method: "PUT", body: "1", signal: AbortSignal.timeout(2_000) })).ok;
  await until("Consul takes writes", put, { withinMs: ELECTED_WITHIN_MS, everyMs: 50 });
  return performance.now() - begun;
}

async function undisturbed(
  what: string,
  watched: { readonly leader: ClusterNode; readonly writer: Writer; readonly since: number },
): Promise<void> {
  const { leader, writer, since } = watched;
  await writer.afterNow(10_000);
  const rows = writer.acknowledged.filter(({ ackedAt }) => ackedAt >= since);
  console.log(`${what}: longest time between two writes ${Math.round(writer.longestGap(since).ms)} ms`);
  expect(new Set(rows.map(({ node, timeline }) => `${node} on ${timeline}`)).size).toBe(1);
  expect(await leader.health("/primary")).toBe(200);
  expect(writer.longestOwnGap(since)).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
}

const CALM: readonly (readonly [string, Tree & { readonly ttl: number }])[] = [
  ["ttl 90 and retry_timeout 40", { ttl: 90, loop_wait: 10, retry_timeout: 40 }],
  ["failsafe_mode and ttl 30", { ttl: 30, loop_wait: 10, retry_timeout: 10, failsafe_mode: true }],
];

describe("with three servers", () => {
  for (const [what, dynamic] of CALM) {
    test(
      `${what}: a server lost, an election, and a restart of all of them and of the agent cost no write`,
      () =>
        withServers(async ({ servers, agent }) => {
          await TestCluster.with({ nodes: 2, dynamic, consul: agent }, async (cluster) => {
            const leader = await cluster.untilHealthy();
            const writer = await cluster.writer();
            const since = performance.now();
            const first = await leading(servers);
            const follower = servers.find((server) => server !== first) as Consul;
            await follower.kill();
            await writable(agent);
            await follower.restart();
            await undisturbed(`${what}, a server lost`, { leader, writer, since });
            await first.kill();
            const away = await writable(agent);
            console.log(`${what}: Consul took no writes for ${Math.round(away)} ms after the death of its leader`);
            await first.restart();
            await undisturbed(`${what}, an election`, { leader, writer, since });
            for (const server of servers) {
              await server.terminate();
              await server.restart();
              await writable(agent);
            }
            await undisturbed(`${what}, all servers restarted`, { leader, writer, since });
            await agent.terminate();
            await agent.restart();
            await undisturbed(`${what}, the agent restarted`, { leader, writer, since });
            expect(await cluster.untilHealthy()).toBe(leader);
            expect(await writer.lost(leader)).toEqual([]);
          });
        }),
      10 * 60_000,
    );
  }

  test(
    "with Patroni's default times an election may cost the primary its lease; it is the primary again, and nothing is lost",
    () =>
      withServers(async ({ servers, agent }) => {
        const dynamic = { ttl: 30, loop_wait: 10, retry_timeout: 10 };
        await TestCluster.with({ nodes: 2, dynamic, consul: agent }, async (cluster) => {
          await cluster.untilHealthy();
          const writer = await cluster.writer();
          const since = performance.now();
          const first = await leading(servers);
          await first.kill();
          const away = await writable(agent);
          await first.restart();
          const leader = await cluster.untilHealthy();
          await writer.afterNow(60_000);
          const gap = Math.round(writer.longestGap(since).ms);
          console.log(`default times: Consul away for ${Math.round(away)} ms, longest time between two writes ${gap} ms`);
          expect(writer.overlaps()).toEqual([]);
          expect(await writer.lost(leader)).toEqual([]);
        });
      }),
    10 * 60_000,
  );
});

test(
  "a token that is replaced in the file and reloaded, and then deleted, costs no write",
  async () => {
    const consul = await Consul.start({ ...ACL, sessionTtlMin: "10s" });
    try {
      await tokenReplaced(consul, "ttl 20", { ttl: 20, loop_wait: 2, retry_timeout: 3 });
    } finally {
      await consul.stop();
    }
  },
  5 * 60_000,
);

for (const [what, dynamic] of CALM)
  test(
    `${what}, three servers: a token that is replaced in the file and reloaded, and then deleted, costs no write`,
    () => withServers(({ agent }) => tokenReplaced(agent, what, dynamic), ACL),
    10 * 60_000,
  );

const headers = { "X-Consul-Token": MANAGER };
const ACL = {
  config: { acl: { enabled: true, default_policy: "deny", tokens: { master: MANAGER, agent: MANAGER } } },
  ready: async (url: string) => (await fetch(`${url}/v1/session/create`, { method: "PUT", headers, body: '{"Checks":[]}' })).ok,
};

/** Two nodes that ask this agent, and a writer. The new token is in force, and the old one deleted, for longer than the lease. */
async function tokenReplaced(consul: Consul, what: string, dynamic: Tree & { readonly ttl: number }): Promise<void> {
  const manage = async (path: string, body?: unknown, method = "PUT") => {
    const answer = await fetch(consul.url + path, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    expect([path, answer.status]).toEqual([path, 200]);
    return (await answer.json()) as { SecretID: string; AccessorID: string };
  };
  const Rules = `key_prefix "service/demo" { policy = "write" } session_prefix "" { policy = "write" }
    service_prefix "demo" { policy = "write" } agent_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`;
  // Several servers agree on the kind of their ACLs only after their election.
  await until("Consul takes policies", () => manage("/v1/acl/policy", { Name: "demo", Rules }), { withinMs: ELECTED_WITHIN_MS });
  const [old, next] = [
    await manage("/v1/acl/token", { Policies: [{ Name: "demo" }] }),
    await manage("/v1/acl/token", { Policies: [{ Name: "demo" }] }),
  ];
  const section = { url: consul.url, token: old.SecretID, register_service: true };
  await TestCluster.with({ nodes: 2, consul, dynamic, extra: () => ({ consul: section }) }, async (cluster) => {
    const leader = await cluster.untilHealthy();
    const writer = await cluster.writer();
    const since = performance.now();
    for (const node of cluster.nodes) {
      const from = node.log.length;
      node.editConfig((config) => {
        config["consul"] = { ...section, token: next.SecretID };
      });
      node.kill("SIGHUP");
      await node.untilLogs("the configuration was loaded again", { withinMs: 30_000, from });
    }
    await manage(`/v1/acl/token/${old.AccessorID}`, undefined, "DELETE");
    // Longer than the lease: whoever still showed the old one would have lost it.
    const end = performance.now() + (dynamic.ttl + 5) * 1000;
    while (performance.now() < end) await writer.afterNow(10_000);
    await undisturbed(`${what}, a token replaced`, { leader, writer, since });
    expect(await cluster.untilHealthy()).toBe(leader);
    for (const node of cluster.nodes) for (const secret of [old, next]) expect(node.log).not.toContain(secret.SecretID);
  });
}
