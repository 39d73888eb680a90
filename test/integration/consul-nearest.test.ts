// Goal: a reader's prepared query names the replica of the own site, and where that has gone, one of the next site. Method: two real
// datacenters joined over their WAN gossip, their entries made by hand; test/full/consul-sites has the same with nodes and hosts of their own.

import { afterAll, expect, test } from "bun:test";
import { runPreparedQuery } from "../../lib/cli/prepared-query/program.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { type Site, startSites } from "../harness/consul-sites.ts";
import { until } from "../harness/wait.ts";

const READER = "raddb-reader.query.consul";
const SOON = { withinMs: 60_000, everyMs: 20 };

let sites: readonly Site[] = [];
afterAll(() => Promise.all(sites.map(({ consul }) => consul.stop())));

async function agent(site: Site, path: string, body: unknown): Promise<void> {
  const answer = await fetch(`${site.consul.url}/v1/agent/service/${path}`, { method: "PUT", body: JSON.stringify(body) });
  expect(answer.status).toBe(200);
}

const enter = (site: Site, port: number) => agent(site, "register", { Name: "raddb", ID: "raddb/reader", Port: port, Tags: ["replica"] });

async function untilReader(site: Site, port: number): Promise<void> {
  await until(`${site.name} is told of ${port}`, async () => (await site.dns.ports(READER)).join() === String(port), SOON);
}

test("the nearest replica is the own site's, after its end the next site's, and the own one again when it is back", async () => {
  sites = await startSites(["east", "west"]);
  const [east, west] = sites as [Site, Site];
  await enter(east, 5001);
  await enter(west, 5002);
  const terminal = { clock: realClock(), env: {}, out: () => undefined, complain: (text: string) => void process.stderr.write(text) };
  for (const [site, other] of [
    [east, west],
    [west, east],
  ] as const) {
    const words = ["-d", site.consul.url, "--service", "raddb", "--datacenters", other.name, "create"];
    expect(await runPreparedQuery(words, terminal)).toBe(0);
  }
  await untilReader(east, 5001);
  await untilReader(west, 5002);
  await agent(east, "deregister/raddb%2Freader", null);
  await untilReader(east, 5002);
  await untilReader(west, 5002);
  await enter(east, 5003);
  await untilReader(east, 5003);
}, 120_000);
