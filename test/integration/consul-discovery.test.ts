// Goal: Consul's DNS names the primary wherever it is, and nobody else, as soon as it has changed: after a switchover, and after the death
// of the primary's host, whose entry nobody is left to take away. Method: checks that would look again in ten minutes, so that only
// what the nodes say themselves can be the reason; questions to the DNS of a real agent.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { runPreparedQuery } from "../../lib/cli/prepared-query/program.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import type { Consul } from "../harness/consul.ts";
import { type ConsulDns, startConsulWithDns } from "../harness/consul-dns.ts";
import { LAZY } from "../harness/times.ts";
import { until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

const SOON = { withinMs: 30_000 };
const PRIMARY = "primary.demo.service.consul";
const REPLICA = "replica.demo.service.consul";
const WRITER = "raddb-writer.query.consul";

let consul: Consul;
let dns: ConsulDns;
let cluster: TestCluster;
let writer: Writer;

beforeAll(async () => {
  ({ consul, dns } = await startConsulWithDns());
  cluster = await TestCluster.shared({
    consul,
    dynamic: LAZY,
    extra: (index) => ({
      // The second one tells its agent of its health itself.
      consul: {
        url: consul.url,
        register_service: true,
        service_check_interval: "10m",
        service_details: true,
        service_check: index === 1 ? "ttl" : "http",
      },
      tags: { site: index === 0 ? "East 1" : "west" },
    }),
  });
  await cluster.untilHealthy();
  writer = await cluster.writer();
  const terminal = { clock: realClock(), env: {}, out: () => undefined, complain: (text: string) => void process.stderr.write(text) };
  expect(await runPreparedQuery(["-d", consul.url, "--service", "demo", "--prefix", "raddb", "create"], terminal)).toBe(0);
}, 90_000);
afterAll(async () => {
  await TestCluster.stopAll();
  await consul.stop();
});

const portsOf = (nodes: readonly ClusterNode[]) => nodes.map(({ place }) => place.postgresPort).sort((a, b) => a - b);

async function untilNamed(name: string, nodes: readonly ClusterNode[]): Promise<number> {
  const wanted = portsOf(nodes).join();
  await until(`${name} is ${nodes.map((node) => node.name).join(", ")}`, async () => (await dns.ports(name)).join() === wanted, {
    ...SOON,
    everyMs: 2,
  });
  return performance.now();
}

/** Waits until DNS names the new primary alone, and says how long after its first commit. */
async function follows(leader: ClusterNode, firstCommitAt: number, what: string): Promise<void> {
  const [byTag, byQuery] = await Promise.all([untilNamed(PRIMARY, [leader]), untilNamed(WRITER, [leader])]);
  const after = (at: number) => Math.round(at - firstCommitAt);
  console.log(
    `${what}: DNS names the new primary alone ${after(byTag)} ms after its first commit, by the prepared query ${after(byQuery)} ms`,
  );
}

test("the primary is named by its tag and by the writer's query, the replicas by theirs; tags and Meta tell more of each", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    await untilNamed(PRIMARY, [leader]);
    await untilNamed(WRITER, [leader]);
    await untilNamed(REPLICA, cluster.others(leader));
    await untilNamed("raddb-reader.query.consul", cluster.others(leader));
    await untilNamed("read-only.demo.service.consul", cluster.nodes);
    await untilNamed("async.demo.service.consul", cluster.others(leader));
    await untilNamed("site-east-1.demo.service.consul", [cluster.node("node1")]);
    const answer = await fetch(`${consul.url}/v1/catalog/service/demo`);
    const entries = (await answer.json()) as { ServiceID: string; ServiceMeta: Record<string, string> }[];
    expect(entries.map(({ ServiceID, ServiceMeta }) => [ServiceID, ServiceMeta["timeline"]])).toEqual(
      ["node1", "node2", "node3"].map((name) => [`demo/${name}`, "1"]),
    );
    for (const { ServiceMeta } of entries) expect(ServiceMeta["version"]).toMatch(/^\d+\.\d+$/);
  });
}, 60_000);

test("after a switchover DNS names the new primary alone, and the old one among the replicas", async () => {
  await cluster.during(async () => {
    const old = await cluster.untilHealthy();
    const [next = old] = cluster.others(old);
    const first = writer.afterNowBy(next.name, 30_000);
    const answer = await next.api("/switchover", { method: "POST", body: { leader: old.name, candidate: next.name }, timeoutMs: 30_000 });
    expect([answer.status, answer.text]).toEqual([200, `Successfully switched over to "${next.name}"`]);
    await follows(next, (await first).ackedAt, "switchover");
    await untilNamed(REPLICA, cluster.others(next));
  });
}, 90_000);

test("after the death of the primary's host DNS names the new primary alone: the tags are taken from the entry of the dead", async () => {
  await cluster.during(async () => {
    const old = await cluster.untilHealthy();
    await untilNamed(PRIMARY, [old]);
    await old.killHost();
    const first = await writer.afterNowBy((name) => name !== old.name, 60_000);
    const leader = await cluster.untilLeader({ among: cluster.others(old) });
    await follows(leader, first.ackedAt, "host death");
  });
}, 120_000);
