// Goal: what clients find the primary by goes on working with our nodes: HAProxy by our health checks, also when a host dies, and
// vip-manager by the leader's key in Consul.
// Method: both from Debian, as they are, with the configuration of their manuals; vip-manager on hosts of their own with a wire between them.

import { afterAll, describe, expect, test } from "bun:test";
import { untilAddressLeadsTo } from "../harness/address-sight.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { findProxy, Haproxy, type ProxyProgram, startVipManager } from "../harness/proxies.ts";
import { TTL_MS } from "../harness/times.ts";
import { withConnection } from "../harness/writer.ts";

const haproxyFound = findProxy("haproxy");
const vipManagerFound = findProxy("vip-manager");
const noHosts = whyNoNamespaces();
if (typeof haproxyFound === "string") console.log(`skipped: HAProxy: ${haproxyFound}`);
if (typeof vipManagerFound === "string") console.log(`skipped: vip-manager: ${vipManagerFound}`);
if (noHosts !== null) console.log(`skipped: hosts of their own: ${noHosts}`);

/** The lease, what the store adds to it, and a busy machine. */
const TAKEOVER_WITHIN_MS = TTL_MS + 60_000;
const MOVED_WITHIN_MS = 60_000;

afterAll(async () => {
  await TestCluster.stopAll();
  HostNetwork.closeAll();
});

describe.skipIf(typeof haproxyFound === "string")("HAProxy in front of three nodes", () => {
  test("balances readers over the replicas that want them, and finds the new primary when a host dies", async () => {
    const extra = (index: number) => (index === 2 ? { tags: { nofailover: true } } : {});
    await TestCluster.with({ extra }, async (cluster) => {
      const leader = await cluster.untilHealthy();
      const quiet = cluster.node("node3");
      const [heir = leader] = cluster.others(leader, quiet);
      const haproxy = await Haproxy.start(haproxyFound as ProxyProgram, cluster);
      const port = (target: "writer" | "reader") =>
        withConnection(haproxy[target], async (sql) => ((await sql`select inet_server_port() as port`) as { port: number }[])[0]?.port);
      try {
        await haproxy.untilUp("writer", [leader]);
        await haproxy.untilUp("reader", [heir, quiet]);
        expect([await port("reader"), await port("reader")].sort()).toEqual([heir.place.postgresPort, quiet.place.postgresPort].sort());
        // Told by the reload alone: nothing is restarted for it.
        quiet.editConfig((config) => {
          config["tags"] = { nofailover: true, noloadbalance: true };
        });
        quiet.kill("SIGHUP");
        await haproxy.untilUp("reader", [heir]);
        expect([await port("writer"), await port("reader")]).toEqual([leader.place.postgresPort, heir.place.postgresPort]);
        await leader.killHost();
        await haproxy.untilUp("writer", [heir], TAKEOVER_WITHIN_MS);
        await haproxy.untilUp("reader", []);
        expect(await port("writer")).toBe(heir.place.postgresPort);
        leader.start();
        await haproxy.untilUp("reader", [leader], TAKEOVER_WITHIN_MS);
        expect(await haproxy.up("writer")).toEqual([heir.name]);
      } finally {
        await haproxy.stop();
      }
    });
  }, 300_000);
});

describe.skipIf(typeof vipManagerFound === "string" || noHosts !== null)("vip-manager 1.0.1", () => {
  test("holds its address on the primary's host, before and after a switchover and a host's death", async () => {
    await withHostCluster({ nodes: 3, store: "consul" }, async ({ cluster, network }) => {
      const address = network.freeAddress;
      const consulUrl = `http://${cluster.consul.address}:${cluster.consul.httpPort}`;
      const managers = cluster.nodes.map((node, index) =>
        startVipManager(vipManagerFound as ProxyProgram, {
          node,
          cluster,
          consulUrl,
          address,
          netmask: 24,
          interface: "wire",
          enter: network.host(index).enter,
        }),
      );
      const follows = (node: ClusterNode, withinMs: number) => untilAddressLeadsTo({ cluster, network, address, node, withinMs });
      try {
        const leader = await cluster.untilHealthy();
        const [heir = leader] = cluster.others(leader);
        await follows(leader, MOVED_WITHIN_MS);
        const moved = await leader.api("/switchover", {
          method: "POST",
          body: { leader: leader.name, candidate: heir.name },
          timeoutMs: MOVED_WITHIN_MS,
        });
        console.log(`switchover: ${moved.text}`);
        await follows(heir, MOVED_WITHIN_MS);
        await cluster.untilHealthy();
        await heir.killHost();
        const next = await cluster.untilLeader({ among: cluster.others(heir), withinMs: TAKEOVER_WITHIN_MS });
        await follows(next, MOVED_WITHIN_MS);
      } finally {
        for (const manager of managers) await manager.stop();
      }
    });
  }, 300_000);
});
