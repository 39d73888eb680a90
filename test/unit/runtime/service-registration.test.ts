// Goal: an entry that is not wanted any more is taken out of the catalogue. Method: the three paths of a Consul agent that a registration
// takes, answered by a server of the test.

import { expect, test } from "bun:test";
import type { WantedService } from "../../../lib/dcs/consul/service-entry.ts";
import { seconds } from "../../../lib/model/units.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { ServiceRegistration, type ServiceSource } from "../../../lib/runtime/service-registration.ts";
import { consulConfig } from "../../harness/consul-config.ts";
import { recordingLog } from "../../harness/recording-log.ts";

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
