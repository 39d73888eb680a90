import { describe, expect, test } from "bun:test";
import { serviceDefinition, serviceId, serviceName, type WantedService } from "../../../lib/dcs/consul/service.ts";
import { seconds } from "../../../lib/model/units.ts";

const OPTIONS = { serviceTags: ["blue"], serviceCheckInterval: "5s", serviceCheckTlsServerName: null };
const NODE2: WantedService = {
  scope: "demo",
  name: "node2",
  connUrl: "postgres://127.0.0.1:19002/postgres",
  apiUrl: "http://127.0.0.1:19012/patroni",
  role: "primary",
  healthy: true,
  ttl: seconds(20),
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

describe("the service's entry", () => {
  // As a Patroni 4.1.5 cluster was seen in Consul's catalogue.
  test("matches what Patroni registers for a primary", () => {
    expect(serviceDefinition(NODE2, OPTIONS)).toEqual({
      ID: "demo/node2",
      Name: "demo",
      Address: "127.0.0.1",
      Port: 19002,
      Tags: ["blue", "primary", "master"],
      EnableTagOverride: true,
      Check: { HTTP: "http://127.0.0.1:19012/primary", Interval: "5s", DeregisterCriticalServiceAfter: "100s", Status: "passing" },
    });
  });

  test("matches what Patroni registers for a replica, and starts critical while it is not healthy", () => {
    const replica = serviceDefinition({ ...NODE2, name: "node3", role: "replica", healthy: false }, OPTIONS);
    expect(replica.Tags).toEqual(["blue", "replica"]);
    expect(replica.Check).toEqual({ HTTP: "http://127.0.0.1:19012/replica", Interval: "5s", DeregisterCriticalServiceAfter: "100s" });
  });

  test("writes a standby leader with a dash, and no master tag", () => {
    const leader = serviceDefinition({ ...NODE2, role: "standby_leader" }, OPTIONS);
    expect(leader.Tags).toEqual(["blue", "standby-leader"]);
    expect(leader.Check.HTTP).toBe("http://127.0.0.1:19012/standby-leader");
  });

  test("takes address, port and TLS name as they are configured", () => {
    const wanted = { ...NODE2, connUrl: "postgres://[2001:db8::1]/postgres", apiUrl: "https://db1.example:8008/patroni" };
    const definition = serviceDefinition(wanted, { ...OPTIONS, serviceCheckInterval: "2s", serviceCheckTlsServerName: "db.example" });
    expect([definition.Address, definition.Port]).toEqual(["2001:db8::1", 5432]);
    expect(definition.Check).toMatchObject({ HTTP: "https://db1.example:8008/primary", Interval: "2s", TLSServerName: "db.example" });
    expect(serviceId(NODE2)).toBe("demo/node2");
  });
});
