// Goal: the agent holds exactly the entry that is wanted, whatever it had before. Method: a real Consul agent, its entry
// looked at through its own API.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ConsulServices, type WantedService } from "../../lib/dcs/consul/service.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { Consul } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { CountingProxy } from "../harness/counting-proxy.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { steadyClock } from "./steady-clock.ts";
import { expectError, value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 30_000;
const clock = steadyClock();
const within = () => ({ deadline: ms(clock.now() + 5_000) });
const REPLICA: WantedService = {
  scope: "Demo_1",
  name: "node1",
  connUrl: "postgres://127.0.0.1:19001/postgres",
  apiUrl: "http://127.0.0.1:1/patroni",
  role: "replica",
  healthy: true,
  ttl: seconds(20),
};

describe("service registration", () => {
  let consul: Consul;
  beforeAll(async () => {
    consul = await Consul.start();
  }, CASE_TIMEOUT_MS);
  afterAll(() => consul.stop());

  const section = (more = {}) => consulConfig(consul.url, { registerService: true, serviceTags: ["blue"], ...more });
  const services = (config = section()): ConsulServices =>
    new ConsulServices({ config, clock, log: recordingLog(), scope: REPLICA.scope, name: REPLICA.name });
  const agent = async (): Promise<Record<string, Record<string, unknown>>> => {
    const answer = await fetch(`${consul.url}/v1/agent/services`);
    return (await answer.json()) as Record<string, Record<string, unknown>>;
  };

  test(
    "registered once, again when the role changes, left alone otherwise, gone when not wanted",
    async () => {
      const ours = services();
      expect(value(await ours.reconcile(null, within()))).toBe("unchanged");
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("registered");
      expect((await agent())["Demo_1/node1"]).toMatchObject({
        Service: "demo-1",
        Tags: ["blue", "replica"],
        Address: "127.0.0.1",
        Port: 19001,
        EnableTagOverride: true,
      });
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("unchanged");
      expect(value(await ours.reconcile({ ...REPLICA, healthy: false }, within()))).toBe("unchanged");
      expect(value(await ours.reconcile({ ...REPLICA, role: "primary" }, within()))).toBe("registered");
      expect((await agent())["Demo_1/node1"]?.["Tags"]).toEqual(["blue", "primary", "master"]);
      const checks = (await (await fetch(`${consul.url}/v1/agent/checks`)).json()) as Record<string, { Status: string }>;
      expect(Object.keys(checks)).toEqual(["service:Demo_1/node1"]);
      expect(checks["service:Demo_1/node1"]?.Status).toBe("passing");
      expect(value(await ours.reconcile(null, within()))).toBe("deregistered");
      expect(await agent()).toEqual({});
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "an agent that lost the entry, or its check, gets it back",
    async () => {
      const ours = services();
      value(await ours.reconcile(REPLICA, within()));
      await fetch(`${consul.url}/v1/agent/service/deregister/Demo_1/node1`, { method: "PUT" });
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("registered");
      await fetch(`${consul.url}/v1/agent/check/deregister/service:Demo_1/node1`, { method: "PUT" });
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("registered");
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("unchanged");
      await consul.kill();
      expectError(await ours.reconcile(REPLICA, within()), "unavailable");
      await consul.restart();
      expect(["unchanged", "registered"]).toContain(value(await ours.reconcile(REPLICA, within())));
      expect(Object.keys(await agent())).toEqual(["Demo_1/node1"]);
      value(await ours.reconcile(null, within()));
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "changed tags, interval and token lead to a new registration; one that stays costs one request",
    async () => {
      const proxy = await CountingProxy.start(consul.httpPort);
      const ours = services({ ...section(), url: proxy.url });
      value(await ours.reconcile(REPLICA, within()));
      const before = proxy.requests.length;
      expect(value(await ours.reconcile(REPLICA, within()))).toBe("unchanged");
      expect(proxy.requests.length - before).toBe(1);
      for (const more of [{ serviceTags: ["green"] }, { serviceCheckInterval: "7s" }, { token: "other" }]) {
        ours.reconfigure(section(more));
        expect(value(await ours.reconcile(REPLICA, within()))).toBe("registered");
      }
      value(await ours.reconcile(null, within()));
      await ours.close();
      await proxy.close();
    },
    CASE_TIMEOUT_MS,
  );
});
