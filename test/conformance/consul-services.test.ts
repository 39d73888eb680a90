// Goal: the agent holds exactly the entry that is wanted, whatever it had before. Method: a real Consul agent, its entry
// looked at through its own API.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ConsulServices } from "../../lib/dcs/consul/service.ts";
import type { WantedService } from "../../lib/dcs/consul/service-entry.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { Consul } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { type ConsulDns, startConsulWithDns } from "../harness/consul-dns.ts";
import { CountingProxy } from "../harness/counting-proxy.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { until } from "../harness/wait.ts";
import { steadyClock } from "./steady-clock.ts";
import { expectError, value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 60_000;
const SOON = { withinMs: 20_000 };
/** Nobody listens where the check would look, at a random moment of the interval: what is looked at here is what the entry begins with. */
const SELDOM = "10h";
const clock = steadyClock();
const within = () => ({ deadline: ms(clock.now() + 5_000) });
const REPLICA: WantedService = {
  id: "Demo_1/node1",
  service: "Demo_1",
  cluster: "service/Demo_1",
  connUrl: "postgres://127.0.0.1:19001/postgres",
  apiUrl: "http://127.0.0.1:1/patroni",
  role: "replica",
  healthy: true,
  ttl: seconds(20),
  details: null,
};

const PRIMARY = (name: string, port: number): WantedService => ({
  ...REPLICA,
  id: `Demo_1/${name}`,
  connUrl: `postgres://127.0.0.1:${port}/postgres`,
  role: "primary",
});

describe("service registration", () => {
  let consul: Consul;
  let dns: ConsulDns;
  beforeAll(async () => {
    ({ consul, dns } = await startConsulWithDns());
  }, CASE_TIMEOUT_MS);
  afterAll(() => consul.stop());

  const section = (more = {}) =>
    consulConfig(consul.url, { registerService: true, serviceTags: ["blue"], serviceCheckInterval: SELDOM, ...more });
  const services = (config = section()): ConsulServices => new ConsulServices({ config, clock, log: recordingLog(), id: REPLICA.id });
  const agent = async (): Promise<Record<string, Record<string, unknown>>> => {
    const answer = await fetch(`${consul.url}/v1/agent/services`);
    return (await answer.json()) as Record<string, Record<string, unknown>>;
  };

  const catalogue = (method: "GET" | "PUT", path: string, body?: unknown) =>
    fetch(`${consul.url}/v1/catalog/${path}`, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });

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

  test(
    "the tags of a leader that another agent still shows are gone from DNS with one word of the new leader, and come back with it",
    async () => {
      const elsewhere = await Consul.start({ joins: consul, nodeName: "elsewhere" });
      const name = "primary.demo-1.service.consul";
      const [old, next] = [PRIMARY("node1", 19_001), PRIMARY("node2", 19_002)];
      const ofOld = new ConsulServices({ config: { ...section(), url: elsewhere.url }, clock, log: recordingLog(), id: old.id });
      const ofNext = new ConsulServices({ config: section(), clock, log: recordingLog(), id: next.id });
      value(await ofOld.reconcile(old, within()));
      await until("the old leader is in DNS", async () => (await dns.ports(name)).join() === "19001", SOON);
      value(await ofNext.reconcile(next, within()));
      const stands = (mayCorrect: boolean) =>
        ofNext.leaderEntryStands(next, { ...within(), datacenters: "own", isMember: () => false, mayCorrect: () => mayCorrect });
      await until("the new leader is in DNS", async () => (await dns.ports(name)).includes(19_002), SOON);
      expect(value(await stands(false))).toEqual({ kind: "not-leading" });
      expect(await dns.ports(name)).toEqual([19_001, 19_002]);
      expect(value(await stands(true))).toEqual({ kind: "corrected", ids: ["Demo_1/node1"] });
      expect(await dns.ports(name)).toEqual([19_002]);
      expect(await dns.ports("demo-1.service.consul")).toEqual([19_001, 19_002]);
      expect(value(await stands(true))).toEqual({ kind: "there" });
      // The former leader leads again: its agent may still have the tags, which the catalogue has not.
      const again = new ConsulServices({ config: { ...section(), url: elsewhere.url }, clock, log: recordingLog(), id: old.id });
      value(await again.reconcile(old, within()));
      await until(
        "the catalogue is put right",
        async () => {
          const standing = await again.leaderEntryStands(old, {
            ...within(),
            datacenters: "own",
            isMember: () => false,
            mayCorrect: () => true,
          });
          return standing.ok && standing.value.kind === "there";
        },
        SOON,
      );
      expect(await dns.ports(name)).toEqual([19_001]);
      value(await ofNext.reconcile(null, within()));
      value(await again.reconcile(null, within()));
      for (const services of [ofOld, ofNext, again]) await services.close();
      await elsewhere.stop();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a replica's entry is a primary's with one word, ahead of its agent, and no tag of the replica's comes back with the agent's own",
    async () => {
      // Of a name of its own: what the agent has yet to tell of another test's end is not in the way.
      const replica: WantedService = { ...REPLICA, id: "ahead/node1", service: "ahead" };
      const primary: WantedService = { ...replica, role: "primary" };
      const ours = new ConsulServices({ config: section(), clock, log: recordingLog(), id: replica.id });
      const tags = async () => {
        const [entry] = (await (await catalogue("GET", "service/ahead")).json()) as { ServiceTags: string[] }[];
        return entry?.ServiceTags;
      };
      const stands = () =>
        ours.leaderEntryStands(primary, { ...within(), datacenters: "own", isMember: () => false, mayCorrect: () => true });
      value(await ours.reconcile(replica, within()));
      await until("the replica is in the catalogue", async () => (await tags())?.includes("replica") === true, SOON);
      expect(value(await stands())).toEqual({ kind: "corrected", ids: [replica.id] });
      expect(await tags()).toEqual(["blue", "primary", "master"]);
      value(await ours.reconcile(primary, within()));
      expect(value(await stands())).toEqual({ kind: "there" });
      expect([await tags(), (await agent())[replica.id]?.["Tags"]]).toEqual([
        ["blue", "primary", "master"],
        ["blue", "primary", "master"],
      ]);
      value(await ours.reconcile(null, within()));
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "an entry that went away between the look and the word is not made anew",
    async () => {
      const [old, next] = [PRIMARY("node1", 19_001), PRIMARY("node2", 19_002)];
      const ours = new ConsulServices({ config: section(), clock, log: recordingLog(), id: next.id });
      const node = await catalogue("PUT", "register", {
        Node: "gone",
        Address: "127.0.0.1",
        Service: {
          ID: "Demo_1/node1",
          Service: "demo-1",
          Tags: ["primary"],
          Port: 19_001,
          EnableTagOverride: true,
          Meta: { cluster: REPLICA.cluster },
        },
      });
      expect(node.status).toBe(200);
      value(await ours.reconcile(next, within()));
      const entries = async () => (await (await catalogue("GET", "service/demo-1")).json()) as { ServiceID: string }[];
      await until("the new leader is in the catalogue", async () => (await entries()).length === 2, SOON);
      // Asked between the two: the one moment in which a test can put itself there.
      const goesAway = (): boolean => {
        const body = JSON.stringify({ Node: "gone", ServiceID: old.id });
        const request = `(await fetch("${consul.url}/v1/catalog/deregister", { method: "PUT", body: process.argv[1] })).ok || process.exit(1)`;
        const done = Bun.spawnSync([process.execPath, "-e", request, body]);
        return done.exitCode === 0;
      };
      expectError(
        await ours.leaderEntryStands(next, { ...within(), datacenters: "own", isMember: () => false, mayCorrect: goesAway }),
        "condition-failed",
      );
      expect((await entries()).map(({ ServiceID }) => ServiceID)).toEqual(["Demo_1/node2"]);
      value(await ours.reconcile(null, within()));
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a check that is pushed follows each push at once, and one that the agent does not know asks for a new entry",
    async () => {
      const ours = services(section({ serviceCheck: "ttl", serviceCheckInterval: "10m" }));
      const push = async (status: "passing" | "critical") => value(await ours.push({ status, output: "by the test" }, within()));
      expect(await push("passing")).toBe(false);
      value(await ours.reconcile({ ...REPLICA, healthy: false }, within()));
      const name = "replica.demo-1.service.consul";
      expect(await push("passing")).toBe(true);
      await until("it is in DNS", async () => (await dns.ports(name)).join() === "19001", SOON);
      expect(await push("critical")).toBe(true);
      await until("it is out of DNS", async () => (await dns.ports(name)).length === 0, SOON);
      value(await ours.reconcile(null, within()));
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a check that exists keeps its status when its service is registered in another role: it takes a push to make it pass",
    async () => {
      const ours = services(section({ serviceCheck: "ttl", serviceCheckInterval: "10m" }));
      const status = async () => {
        const checks = (await (await fetch(`${consul.url}/v1/agent/checks`)).json()) as Record<string, { Status: string }>;
        return checks["service:Demo_1/node1"]?.Status;
      };
      value(await ours.reconcile(REPLICA, within()));
      expect(await status()).toBe("passing");
      expect(value(await ours.push({ status: "critical", output: "no replica any more" }, within()))).toBe(true);
      expect(value(await ours.reconcile({ ...REPLICA, role: "primary" }, within()))).toBe("registered");
      expect(await status()).toBe("critical");
      expect(value(await ours.push({ status: "passing", output: "by the test" }, within()))).toBe(true);
      expect(await status()).toBe("passing");
      value(await ours.reconcile(null, within()));
      await ours.close();
    },
    CASE_TIMEOUT_MS,
  );
});
