// Goal: in several datacenters a leader's entry is the only one with a leader's tags, and prepared queries fall back on the other
// datacenter; a node that somebody else runs is registered from its REST API. Method: two Consul servers joined over their WAN gossip.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { runPreparedQuery } from "../../lib/cli/prepared-query/program.ts";
import { ConsulServices } from "../../lib/dcs/consul/service.ts";
import type { WantedService } from "../../lib/dcs/consul/service-entry.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { type Site, startSites } from "../harness/consul-sites.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { until } from "../harness/wait.ts";
import { steadyClock } from "./steady-clock.ts";
import { value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 90_000;
const SOON = { withinMs: 30_000 };
const clock = steadyClock();
const within = () => ({ deadline: ms(clock.now() + 10_000) });

let east: Site;
let west: Site;
beforeAll(async () => {
  [east, west] = (await startSites(["east", "west"])) as [Site, Site];
}, CASE_TIMEOUT_MS);
afterAll(() => Promise.all([east.consul.stop(), west.consul.stop()]));

function entry(id: string, port: number, role: WantedService["role"], tags: readonly string[]): WantedService {
  const place = { connUrl: `postgres://127.0.0.1:${port}/postgres`, apiUrl: "http://127.0.0.1:1/patroni" };
  return { id, service: "raddb", cluster: "service/raddb", ...place, role, healthy: true, ttl: seconds(20), details: { tags, meta: {} } };
}

function at(site: Site, { id }: WantedService): ConsulServices {
  const config = consulConfig(site.consul.url, { registerService: true, serviceCheck: "ttl", serviceCheckInterval: "10m" });
  return new ConsulServices({ config, clock, log: recordingLog(), id });
}

async function untilNamed(site: Site, name: string, ports: readonly number[]): Promise<void> {
  await until(`${name} in ${site.name} is ${ports.join()}`, async () => (await site.dns.ports(name)).join() === ports.join(), SOON);
}

describe("two datacenters", () => {
  test(
    "a leader takes the leader's tags from an entry in the other datacenter; who asks there is told of it, and of a reader near by",
    async () => {
      const old = entry("raddb/n1", 19_001, "primary", ["writer"]);
      const next = entry("raddb/n2", 19_002, "primary", ["writer"]);
      const reader = entry("raddb/n3", 19_003, "replica", ["query"]);
      const [ofOld, ofNext, ofReader] = [at(west, old), at(east, next), at(west, reader)];
      const terminal = { clock: realClock(), env: {}, out: () => undefined, complain: (text: string) => void process.stderr.write(text) };
      const tags = ["--service", "raddb", "--writer-tags", "writer", "--reader-tags", "query", "--nearest", "2"];
      expect(await runPreparedQuery(["-d", east.consul.url, ...tags, "--in", "east,west", "create"], terminal)).toBe(0);
      value(await ofOld.reconcile(old, within()));
      value(await ofReader.reconcile(reader, within()));
      await untilNamed(west, "writer.raddb.service.consul", [19_001]);
      await untilNamed(east, "raddb-writer.query.consul", [19_001]);
      value(await ofNext.reconcile(next, within()));
      await untilNamed(east, "writer.raddb.service.consul", [19_002]);
      const stands = (datacenters: "own" | "all") =>
        ofNext.leaderEntryStands(next, { ...within(), datacenters, isMember: () => false, mayCorrect: () => true });
      expect(value(await stands("own"))).toEqual({ kind: "there" });
      expect(await west.dns.ports("writer.raddb.service.consul")).toEqual([19_001]);
      expect(value(await stands("all"))).toEqual({ kind: "corrected", ids: ["raddb/n1"] });
      expect(await west.dns.ports("writer.raddb.service.consul")).toEqual([]);
      expect(value(await stands("all"))).toEqual({ kind: "there" });
      for (const site of [east, west]) {
        await untilNamed(site, "raddb-writer.query.consul", [19_002]);
        await untilNamed(site, "raddb-reader.query.consul", [19_003]);
      }
      const nearer = entry("raddb/n4", 19_004, "replica", ["query"]);
      const ofNearer = at(east, nearer);
      value(await ofNearer.reconcile(nearer, within()));
      await untilNamed(east, "raddb-reader.query.consul", [19_004]);
      value(await ofNearer.push({ status: "critical", output: "by the test" }, within()));
      await untilNamed(east, "raddb-reader.query.consul", [19_003]);
      for (const services of [ofOld, ofNext, ofReader, ofNearer]) {
        value(await services.reconcile(null, within()));
        await services.close();
      }
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "the discovery that runs alone registers what a node's REST API says, follows it, and takes the entry away when it ends",
    async () => {
      const folder = mkdtempSync(join(tmpdir(), "discovery-"));
      let role: "primary" | "replica" = "primary";
      // The answers of a Patroni, as far as they are asked for.
      const api = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: (request) => {
          const { pathname, search } = new URL(request.url);
          const document = {
            state: "running",
            role,
            server_version: 150018,
            timeline: 7,
            patroni: { version: "4.1.5", scope: "pat", name: "p1" },
          };
          const well = ["/patroni", `/${role}`, ...(role === "replica" ? ["/async"] : [])].includes(pathname);
          return Response.json(document, { status: well && search !== "?lag=1MB" ? 200 : 503 });
        },
      });
      const file = join(folder, "node.yml");
      const config = {
        scope: "pat",
        name: "p1",
        restapi: { listen: `127.0.0.1:${api.port}`, connect_address: `127.0.0.1:${api.port}` },
        consul: { url: east.consul.url },
        discovery: { consul: { url: west.consul.url, service: "Pat DB", service_check_interval: "2s" } },
        tags: { site: "west" },
        postgresql: {
          listen: "127.0.0.1:19099",
          connect_address: "127.0.0.1:19099",
          data_dir: join(folder, "data"),
          authentication: { superuser: { username: "postgres" }, replication: { username: "replicator" } },
        },
      };
      writeFileSync(file, stringify(config), { mode: 0o600 });
      const program = join(import.meta.dir, "../../workers/discovery.ts");
      const child = spawn(process.execPath, ["run", program, file], { stdio: ["ignore", "inherit", "inherit"] });
      const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
      try {
        for (const tag of ["writer", "any", "primary", "read-only", "site-west"])
          await untilNamed(west, `${tag}.pat-db.service.consul`, [19_099]);
        role = "replica";
        for (const tag of ["query", "replica", "async", "lag-medium"]) await untilNamed(west, `${tag}.pat-db.service.consul`, [19_099]);
        await untilNamed(west, "writer.pat-db.service.consul", []);
        const listed = await fetch(`${west.consul.url}/v1/catalog/service/pat-db`);
        expect(await listed.json()).toMatchObject([
          { ServiceID: "pat/p1/site", ServiceMeta: { timeline: "7", version: "15.18", cluster: "service/pat" } },
        ]);
        await api.stop(true);
        await untilNamed(west, "any.pat-db.service.consul", []);
        child.kill("SIGTERM");
        expect(await ended).toBe(0);
        const left = await fetch(`${west.consul.url}/v1/agent/services`);
        expect(await left.json()).toEqual({});
      } finally {
        child.kill("SIGKILL");
        await api.stop(true);
        rmSync(folder, { recursive: true, force: true });
      }
    },
    CASE_TIMEOUT_MS,
  );
});
