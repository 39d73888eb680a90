// Goal: a cluster over three datacenters is found from each of them: the primary wherever it is, a replica of the own site first, and
// where that is dead, one of the next site. The cluster's store is another matter (a Raft of its nodes). Method: a host for each site,
// with a node, and a Consul server of its own datacenter; the three are joined over their WAN gossip, and each site's DNS is asked.

import { afterAll, describe, expect, test } from "bun:test";
import { runPreparedQuery } from "../../lib/cli/prepared-query/program.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import type { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type Site, startSites } from "../harness/consul-sites.ts";
import { withHostCluster } from "../harness/host-cluster.ts";
import { HostNetwork, whyNoNamespaces } from "../harness/namespaces.ts";
import { until } from "../harness/wait.ts";

const SITES = ["east", "west", "south"] as const;
/** Each has a network of its own: Consul's own port. */
const HTTP_PORT = 8500;
const SOON = { withinMs: 60_000 };
const WRITER = "raddb-writer.query.consul";
const READER = "raddb-reader.query.consul";

const reason = whyNoNamespaces();
if (reason !== null) console.log(`skipped: hosts of their own: ${reason}`);

afterAll(() => HostNetwork.closeAll());

/** Each site asks the others in the order of the list, from itself on. */
async function makeQueries(sites: readonly Site[]): Promise<void> {
  const terminal = { clock: realClock(), env: {}, out: () => undefined, complain: (text: string) => void process.stderr.write(text) };
  for (const [index, { consul }] of sites.entries()) {
    const next = SITES.map((_, step) => SITES[(index + step) % SITES.length]).slice(1);
    const words = ["--service", "raddb", "--writer-tags", "writer", "--reader-tags", "query", "--datacenters", next.join()];
    expect(await runPreparedQuery(["-d", consul.url, ...words, "create"], terminal)).toBe(0);
  }
}

async function untilNamed(site: Site, name: string, node: ClusterNode): Promise<void> {
  const port = String(node.place.postgresPort);
  await until(`${name} in ${site.name} is ${node.name}`, async () => (await site.dns.ports(name)).join() === port, SOON);
}

/** What each site is told: the leader everywhere, and as a reader the own node, or that of the next site where the own does not read. */
async function untilRight(cluster: TestCluster, sites: readonly Site[], away: ClusterNode | null): Promise<void> {
  const leader = await cluster.untilLeader({ among: cluster.nodes.filter((node) => node !== away) });
  for (const [index, site] of sites.entries()) {
    await untilNamed(site, WRITER, leader);
    const nearest = sites.map((_, step) => cluster.node((index + step) % sites.length));
    const reader = nearest.find((node) => node !== leader && node !== away);
    if (reader !== undefined) await untilNamed(site, READER, reader);
  }
}

describe.skipIf(reason !== null)("a cluster over three sites", () => {
  test(
    "each site is told of the leader, and of a reader near by; after a death, of the next one",
    async () => {
      let sites: readonly Site[] = [];
      try {
        await withHostCluster(
          {
            store: "raft",
            dynamic: { ttl: 8, loop_wait: 2, retry_timeout: 2 },
            extra: (index) => ({
              tags: { site: SITES[index] },
              discovery: { consul: { host: `127.0.0.1:${HTTP_PORT}`, service: "raddb", service_check_interval: "4s" } },
            }),
          },
          async ({ cluster, network }) => {
            sites = await startSites(SITES, { hosts: SITES.map((_, index) => network.host(index)), httpPort: HTTP_PORT });
            await makeQueries(sites);
            const first = await cluster.untilHealthy();
            await untilRight(cluster, sites, null);
            const [reader = first, other = first] = cluster.others(first);
            await reader.killHost();
            await untilRight(cluster, sites, reader);
            reader.start();
            await cluster.untilHealthy();
            await untilRight(cluster, sites, null);
            const moved = await first.api("/switchover", {
              method: "POST",
              body: { leader: first.name, candidate: other.name },
              timeoutMs: 30_000,
            });
            expect(moved.status).toBe(200);
            await cluster.untilHealthy();
            await untilRight(cluster, sites, null);
            const dead = await cluster.untilHealthy();
            await dead.killHost();
            await untilRight(cluster, sites, dead);
            const leader = await cluster.untilLeader({ among: cluster.others(dead) });
            // Its own entry may have needed it as well.
            await leader.untilLogs(new RegExp(`the leader's tags were put right in the catalogue: .*demo/${dead.name}/site`), SOON);
          },
        );
      } finally {
        await Promise.all(sites.map(({ consul }) => consul.stop()));
      }
    },
    10 * 60_000,
  );
});
