// Goal: an entry that is not wanted any more is taken out of the catalogue; a new leader's comes there in one step with the end of the old
// one's. Method: the paths of a Consul agent that a registration takes, answered by a server of the test.

import { expect, test } from "bun:test";
import type { WantedService } from "../../../lib/dcs/consul/service-entry.ts";
import { seconds } from "../../../lib/model/units.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { ServiceRegistration, type ServiceSource } from "../../../lib/runtime/service-registration.ts";
import { consulConfig } from "../../harness/consul-config.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { until } from "../../harness/wait.ts";

const WANTED: WantedService = {
  id: "demo/node1",
  service: "demo",
  cluster: "service/demo",
  connUrl: "postgres://127.0.0.1:1/postgres",
  apiUrl: "http://127.0.0.1:1/patroni",
  role: "replica",
  healthy: true,
  ttl: seconds(20),
  details: null,
};
const SOURCE: ServiceSource = {
  wanted: () => WANTED,
  isHealthy: async () => true,
  isMember: () => false,
  holdsLock: () => false,
};

/** An agent with at most one entry; `registered` and `deregistered` resolve with the next of their kind. */
function agent() {
  let entry: { readonly Name: string; readonly Address: string; readonly Port: number } | null = null;
  let registered = Promise.withResolvers<void>();
  let deregistered = Promise.withResolvers<void>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/v1/agent/service/register") {
        entry = (await request.json()) as NonNullable<typeof entry>;
        registered.resolve();
        registered = Promise.withResolvers();
        return new Response("");
      }
      if (pathname.startsWith("/v1/agent/service/deregister/")) {
        entry = null;
        deregistered.resolve();
        deregistered = Promise.withResolvers();
        return new Response("");
      }
      if (entry === null) return new Response("not found", { status: 404 });
      const Service = { Service: entry.Name, Address: entry.Address, Port: entry.Port };
      return Response.json({ Service, Checks: [{ CheckID: "service:demo/node1" }] });
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    stands: () => entry !== null,
    registered: () => registered.promise,
    deregistered: () => deregistered.promise,
    stop: () => server.stop(true),
  };
}

test("an entry goes when the configuration that is loaded again wants none, and comes back with it", async () => {
  const consul = agent();
  const config = consulConfig(consul.url, { registerService: true });
  const registration = new ServiceRegistration({
    config,
    clock: realClock(),
    log: recordingLog(),
    id: WANTED.id,
    source: SOURCE,
    datacenters: "own",
  });
  const noted = async (event: Promise<void>) => {
    registration.note();
    await event;
  };
  await noted(consul.registered());
  registration.reconfigure({ ...config, registerService: false });
  await noted(consul.deregistered());
  registration.reconfigure(config);
  await noted(consul.registered());
  expect(consul.stands()).toBe(true);
  registration.reconfigure({ ...config, serviceTags: ["blue"] });
  await registration.close();
  expect(consul.stands()).toBe(false);
  await consul.stop();
});

test("the servers are told of a new leader, and of the end of the old one's tags, without waiting for its agent", async () => {
  const meta = { cluster: WANTED.cluster };
  const listed = (name: string, tags: readonly string[]) => ({
    Node: name,
    ServiceID: `demo/${name}`,
    ServiceName: "demo",
    ServiceTags: tags,
    ServiceAddress: "127.0.0.1",
    ServicePort: 1,
    ServiceMeta: meta,
    ServiceEnableTagOverride: true,
    ModifyIndex: 7,
  });
  const corrected = Promise.withResolvers<readonly { readonly ID: string; readonly Tags: readonly string[] }[]>();
  let registrations = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/v1/agent/service/register") {
        registrations += 1;
        // The agent answers the leader's registration only once the servers know.
        if (registrations > 1) await corrected.promise;
        return new Response("");
      }
      if (pathname === "/v1/catalog/service/demo")
        return Response.json([listed("node1", ["replica"]), listed("node2", ["primary", "master"])]);
      if (pathname === "/v1/txn") {
        const operations = (await request.json()) as { Service: { Service: { ID: string; Tags: readonly string[] } } }[];
        corrected.resolve(operations.map((each) => each.Service.Service));
        return Response.json({});
      }
      if (pathname.startsWith("/v1/agent/service/deregister/")) return new Response("");
      return new Response("not found", { status: 404 });
    },
  });
  let wanted: WantedService = WANTED;
  const config = consulConfig(`http://127.0.0.1:${server.port}`, { registerService: true });
  const source: ServiceSource = { ...SOURCE, wanted: () => wanted, holdsLock: () => true };
  const log = recordingLog();
  const registration = new ServiceRegistration({ config, clock: realClock(), log, id: WANTED.id, source, datacenters: "own" });
  registration.note();
  await until("it is registered", () => log.lines.some((line) => line.includes("registered service")), { withinMs: 30_000 });
  wanted = { ...WANTED, role: "primary" };
  registration.note();
  const tags = new Map((await corrected.promise).map(({ ID, Tags }) => [ID, Tags]));
  expect(tags.get("demo/node2")).toEqual([]);
  expect(tags.get("demo/node1")).toContain("primary");
  await registration.close();
  await server.stop(true);
});
