import { describe, expect, test } from "bun:test";
import { correctionsOf } from "../../../lib/dcs/consul/service-catalogue.ts";
import {
  clusterIdentity,
  pushEvery,
  serviceDefinition,
  serviceId,
  serviceName,
  type WantedService,
} from "../../../lib/dcs/consul/service-entry.ts";
import { seconds } from "../../../lib/model/units.ts";

const OPTIONS = { serviceTags: ["blue"], serviceCheck: "http", serviceCheckInterval: "5s", serviceCheckTlsServerName: null } as const;
const NODE2: WantedService = {
  id: "demo/node2",
  service: "demo",
  cluster: "service/demo",
  connUrl: "postgres://127.0.0.1:19002/postgres",
  apiUrl: "http://127.0.0.1:19012/patroni",
  role: "primary",
  healthy: true,
  ttl: seconds(20),
  details: null,
};

describe("the service's name", () => {
  test("follows the rule character by character", () => {
    const cases: readonly [string, string][] = [
      ["demo", "demo"],
      ["Demo_DB.prod east", "demo-db-prod-east"],
      ["a/b", "au0047b"],
      ["a+b", "au0043b"],
      ["grün", "gru0252n"],
      ["🐘", "u128024"],
      ["x".repeat(300), "x".repeat(230)],
      ["", ""],
    ];
    for (const [scope, name] of cases) expect([scope, serviceName(scope)]).toEqual([scope, name]);
  });
});

test("a cluster is told from those of other namespaces and groups, in no more characters than Consul takes", () => {
  const node = { namespace: "service", scope: "demo", citus: null };
  expect(clusterIdentity(node)).toBe("service/demo");
  expect(clusterIdentity({ ...node, citus: { group: 2, database: "d" } })).toBe("service/demo/2");
  const long = clusterIdentity({ ...node, scope: "x".repeat(600), citus: { group: 12, database: "d" } });
  expect([long.length, long.slice(-3)]).toEqual([512, "/12"]);
});

describe("the service's entry", () => {
  // As a Patroni 4.1.5 cluster was seen in Consul's catalogue.
  test("matches what Patroni registers for a primary, and says in Meta of which cluster it is", () => {
    expect(serviceDefinition(NODE2, OPTIONS)).toEqual({
      ID: "demo/node2",
      Name: "demo",
      Address: "127.0.0.1",
      Port: 19002,
      Tags: ["blue", "primary", "master"],
      Meta: { cluster: "service/demo" },
      EnableTagOverride: true,
      Check: { HTTP: "http://127.0.0.1:19012/primary", Interval: "5s", DeregisterCriticalServiceAfter: "100s", Status: "passing" },
    });
  });

  test("matches what Patroni registers for a replica, and starts critical while it is not healthy", () => {
    const replica = serviceDefinition({ ...NODE2, id: "demo/node3", role: "replica", healthy: false }, OPTIONS);
    expect(replica.Tags).toEqual(["blue", "replica"]);
    expect(replica.Check).toEqual({ HTTP: "http://127.0.0.1:19012/replica", Interval: "5s", DeregisterCriticalServiceAfter: "100s" });
  });

  test("writes a standby leader with a dash, and no master tag", () => {
    const leader = serviceDefinition({ ...NODE2, role: "standby_leader" }, OPTIONS);
    expect(leader.Tags).toEqual(["blue", "standby-leader"]);
    expect(leader.Check).toMatchObject({ HTTP: "http://127.0.0.1:19012/standby-leader" });
  });

  test("takes address, port and TLS name as they are configured", () => {
    const wanted = { ...NODE2, connUrl: "postgres://[2001:db8::1]/postgres", apiUrl: "https://db1.example:8008/patroni" };
    const definition = serviceDefinition(wanted, { ...OPTIONS, serviceCheckInterval: "2s", serviceCheckTlsServerName: "db.example" });
    expect([definition.Address, definition.Port]).toEqual(["2001:db8::1", 5432]);
    expect(definition.Check).toMatchObject({ HTTP: "https://db1.example:8008/primary", Interval: "2s", TLSServerName: "db.example" });
    expect(serviceId({ scope: "demo", name: "node2" })).toBe("demo/node2");
  });

  test("has a check that the node pushes itself, where that is asked for", () => {
    const definition = serviceDefinition(NODE2, { ...OPTIONS, serviceCheck: "ttl", serviceCheckInterval: "6s" });
    expect(definition.Check).toEqual({ TTL: "6s", DeregisterCriticalServiceAfter: "100s", Status: "passing" });
    expect(Number(pushEvery({ serviceCheckInterval: "6s" }))).toBe(2000);
    expect(["1ms", "0s"].map((serviceCheckInterval) => Number(pushEvery({ serviceCheckInterval })))).toEqual([100, 100]);
  });

  test("carries more tags and Meta only where they are asked for", () => {
    const details = { tags: ["read-only", "sync", "lag-low", "site-east"], meta: { timeline: "3", version: "15.18" } };
    const definition = serviceDefinition({ ...NODE2, role: "replica", details }, OPTIONS);
    expect(definition.Tags).toEqual(["blue", "replica", "read-only", "sync", "lag-low", "site-east"]);
    expect(definition.Meta).toEqual({ timeline: "3", version: "15.18", cluster: "service/demo" });
  });
});

describe("the tags of a leader", () => {
  const entry = (id: string, tags: readonly string[], more = {}) => ({
    Node: `host-${id}`,
    ServiceID: id,
    ServiceName: "demo",
    ServiceTags: [...tags],
    ServiceAddress: "127.0.0.1",
    ServicePort: 5432,
    ServiceMeta: { cluster: "service/demo" } as Record<string, string>,
    ServiceEnableTagOverride: true,
    ModifyIndex: 7,
    ...more,
  });
  const judged = (
    entries: ReturnType<typeof entry>[],
    more: Partial<Pick<WantedService, "role" | "details">> & { datacenters?: "own" | "all" } = {},
  ) =>
    correctionsOf(entries, serviceDefinition({ ...NODE2, role: more.role ?? "primary", details: more.details ?? null }, OPTIONS), {
      datacenters: more.datacenters ?? "own",
      isMember: (id) => id === "demo/known",
    }).map(({ entry: { ServiceID }, tags }) => [ServiceID, tags]);
  const corrected = (...entries: ReturnType<typeof entry>[]) => judged(entries);

  test("are taken from every other entry, and other tags are left there", () => {
    const ours = entry("demo/node2", ["blue", "primary", "master"]);
    expect(corrected(ours, entry("demo/node1", ["blue", "primary", "master"]), entry("demo/node3", ["blue", "replica"]))).toEqual([
      ["demo/node1", ["blue"]],
    ]);
    expect(corrected(ours, entry("demo/node1", ["standby-leader"]))).toEqual([["demo/node1", []]]);
    expect(corrected(ours)).toEqual([]);
  });

  test("are put back on the own entry where they were overridden, beside what somebody added", () => {
    expect(corrected(entry("demo/node2", ["mine"]))).toEqual([["demo/node2", ["mine", "blue", "primary", "master"]]]);
    expect(corrected(entry("demo/node2", ["mine", "primary", "master"]))).toEqual([]);
  });

  test("take the place of a replica's on the own entry, also of those that a former word left there; what somebody added stays", () => {
    for (const tags of [
      ["blue", "replica", "mine"],
      ["mine", "query", "any", "read-only", "sync", "lag-low", "replica"],
      ["replica", "mine", "blue", "primary", "master"],
    ]) {
      const left = tags.filter((tag) => ["any", "mine", "read-only"].includes(tag));
      expect(corrected(entry("demo/node2", tags))).toEqual([["demo/node2", [...left, "blue", "primary", "master"]]]);
    }
    expect(corrected(entry("demo/node2", ["mine", "blue", "primary", "master"]))).toEqual([]);
    const standby = entry("demo/node2", ["blue", "standby-leader", "query"]);
    const details = { tags: ["query"], meta: {} };
    expect(judged([standby], { role: "standby_leader", details })).toEqual([]);
  });

  test("are left to other clusters of the same service's name: another namespace, another group, also where a member has our ID", () => {
    for (const cluster of ["other/demo", "service/demo/1"]) {
      const ServiceMeta = { cluster };
      expect(corrected(entry("demo/node1", ["primary", "master"], { ServiceMeta }))).toEqual([]);
      expect(corrected(entry("demo/node2", ["replica"], { ServiceMeta }))).toEqual([]);
    }
  });

  test("are taken from an entry that does not say whose it is only where it is a known member's", () => {
    const unnamed = (id: string) => entry(id, ["primary", "master"], { ServiceMeta: {} });
    expect(corrected(unnamed("demo/known"), unnamed("demo/node1"))).toEqual([["demo/known", []]]);
  });

  test("pass between a cluster and its standby cluster of the same name nowhere where several sites are looked at", () => {
    const [primary, standby] = [entry("demo/p", ["primary"]), entry("demo/s", ["standby-leader"])];
    expect(judged([primary, standby], { datacenters: "all" })).toEqual([["demo/p", []]]);
    expect(judged([primary, standby], { datacenters: "all", role: "standby_leader" })).toEqual([["demo/s", []]]);
  });

  test("are left where the agent would put them back", () => {
    expect(corrected(entry("demo/node2", ["primary", "master"]), entry("x", ["primary"], { ServiceEnableTagOverride: false }))).toEqual([]);
  });
});
