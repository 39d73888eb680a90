// Goal: what the configuration says at run time is in force without a restart of the supervisor: by role, by node, by cluster; what is
// wrong costs only itself.
// Method: two real nodes over the store of the tests; PATCH /config, changed node files with SIGHUP and POST /reload, and what servers,
// API and log show.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

const WITHIN_MS = 20_000;
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.shared({ nodes: 2, dynamic: { loop_wait: 1 } });
  await cluster.untilHealthy();
}, 90_000);
afterAll(() => TestCluster.stopAll(), 60_000);

async function show(node: ClusterNode, name: string): Promise<unknown> {
  return (await cluster.sql<{ value: string }>(node, `SELECT current_setting('${name}', true) AS value`))[0]?.value;
}

async function untilShows(node: ClusterNode, name: string, value: string): Promise<void> {
  await until(
    `${name} of ${node.name} is ${value}`,
    async () => {
      const found = await show(node, name);
      if (found !== value) throw new Error(`it is ${found}`);
      return true;
    },
    { withinMs: WITHIN_MS, everyMs: 100 },
  );
}

async function roles(): Promise<{ readonly leader: ClusterNode; readonly replica: ClusterNode }> {
  const leader = await cluster.untilHealthy();
  const [replica] = cluster.others(leader) as [ClusterNode];
  return { leader, replica };
}

const ident = (node: ClusterNode): string => readFileSync(join(node.dataDir, "pg_ident.conf"), "utf8");

describe("the cluster's configuration", () => {
  test("of a role is in force with that role, and changes hands with it", async () => {
    await cluster.during(async () => {
      const { leader, replica } = await roles();
      await cluster.patchConfig({
        postgresql: {
          parameters: { work_mem: "5MB", maintenance_work_mem: "5MB" },
          parameters_primary: { work_mem: "6MB" },
          parameters_replica: { work_mem: "7MB" },
          pg_ident: ["everywhere a b"],
          pg_ident_primary: ["primary a b"],
        },
      });
      await untilShows(leader, "work_mem", "6MB");
      await untilShows(replica, "work_mem", "7MB");
      await untilShows(replica, "maintenance_work_mem", "5MB");
      expect([ident(leader), ident(replica)]).toEqual([expect.stringContaining("primary a b"), expect.stringContaining("everywhere a b")]);
      const body = { leader: leader.name, candidate: replica.name };
      expect((await leader.api("/switchover", { method: "POST", body, timeoutMs: 60_000 })).status).toBe(200);
      await untilShows(replica, "work_mem", "6MB");
      await cluster.untilHealthy();
      await untilShows(leader, "work_mem", "7MB");
      expect([ident(leader), ident(replica)]).toEqual([expect.stringContaining("everywhere a b"), expect.stringContaining("primary a b")]);
    });
  }, 90_000);

  test("that is wrong costs only itself, and is reported", async () => {
    await cluster.during(async () => {
      const { leader, replica } = await roles();
      const wrong = { max_connections: 5, no_such_thing: 1, effective_cache_size: "often", temp_buffers: "9MB" };
      await cluster.patchConfig({ ttl: "soon", maximum_lag_on_failover: "far", postgresql: { parameters: wrong } });
      for (const node of [leader, replica]) {
        await untilShows(node, "temp_buffers", "9MB");
        for (const words of [
          'WARNING: ttl: "soon" is not a number of seconds',
          'WARNING: maximum_lag_on_failover: "far" is not a size',
          "WARNING: postgresql.parameters.max_connections: 5 is not a whole number from 25 on; 100 is used",
          'postgresql.parameters.no_such_thing: unrecognized configuration parameter "no_such_thing"',
          'postgresql.parameters.effective_cache_size: invalid value for parameter "effective_cache_size"',
        ]) {
          await node.untilLogs(words, { withinMs: WITHIN_MS });
        }
        expect((await node.status())["pending_restart"]).toBeUndefined();
      }
      const none = Object.fromEntries(Object.keys(wrong).map((name) => [name, null]));
      await cluster.patchConfig({ ttl: 20, maximum_lag_on_failover: null, postgresql: { parameters: none } });
    });
  }, 60_000);

  test("that asks for more than a standby was started with restarts it once the primary has it, although that came first", async () => {
    await cluster.during(async () => {
      const { leader, replica } = await roles();
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: 130 } } });
      await until("both wait for a restart", async () => (await pending(leader)) && (await pending(replica)), { withinMs: WITHIN_MS });
      await leader.untilLogs("INFO: Changed max_connections from '100' to '130' (restart might be required)", { withinMs: WITHIN_MS });
      expect((await leader.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 })).status).toBe(200);
      await untilShows(replica, "max_connections", "130");
      await cluster.untilHealthy();
      expect(replica.log).toContain("INFO: Resuming paused WAL replay for PostgreSQL 14+");
      await until("nobody waits", async () => !(await pending(leader)) && !(await pending(replica)), { withinMs: WITHIN_MS });
    });
  }, 90_000);

  test("that asks for less is taken by a standby after its primary, and until then it says that it waits", async () => {
    await cluster.during(async () => {
      const { leader, replica } = await roles();
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: null } } });
      await until("both wait for a restart", async () => (await pending(leader)) && (await pending(replica)), { withinMs: WITHIN_MS });
      expect((await replica.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 })).status).toBe(200);
      expect(await show(replica, "max_connections")).toBe("130");
      await replica.untilLogs("max_connections value in pg_controldata: 130, in the global configuration: 100.", { withinMs: WITHIN_MS });
      await until("it still waits", () => pending(replica), { withinMs: WITHIN_MS });
      expect((await replica.status())["pending_restart_reason"]).toEqual({ max_connections: { old_value: "130", new_value: "100" } });
      expect((await leader.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 })).status).toBe(200);
      await until(
        "the standby has what its primary has",
        async () => {
          await replica.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 });
          return (await show(replica, "max_connections")) === "100";
        },
        { withinMs: WITHIN_MS, everyMs: 500 },
      );
      await until("nobody waits", async () => !(await pending(leader)) && !(await pending(replica)), { withinMs: WITHIN_MS });
      await cluster.untilHealthy();
    });
  }, 90_000);

  test("is in force on a node that joins later from its first start on: it waits for no restart", async () => {
    await cluster.during(async () => {
      const { leader, replica } = await roles();
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: 77, maintenance_work_mem: "6MB" } } });
      await untilShows(leader, "maintenance_work_mem", "6MB");
      const pending = { restart_pending: true };
      await until("a restart is pending", async () => (await leader.status())["pending_restart"], { withinMs: WITHIN_MS, everyMs: 100 });
      expect((await leader.api("/restart", { method: "POST", body: pending, timeoutMs: 60_000 })).status).toBe(200);
      await replica.terminate();
      rmSync(replica.dataDir, { recursive: true });
      replica.start();
      await cluster.untilHealthy();
      expect([await show(replica, "max_connections"), await show(replica, "maintenance_work_mem")]).toEqual(["77", "6MB"]);
      expect((await replica.status())["pending_restart"]).toBeUndefined();
    });
  }, 90_000);
});

describe("a node's file", () => {
  test("is read again on SIGHUP and POST /reload: tags, log, REST API and parameters; a broken one changes nothing", async () => {
    await cluster.during(async () => {
      const { replica } = await roles();
      const original = readFileSync(replica.configPath, "utf8");
      replica.editConfig((config) => {
        config["tags"] = { noloadbalance: true, rack: "r1" };
        config["log"] = { ...(config["log"] as Tree), level: "DEBUG" };
        config["restapi"] = { ...(config["restapi"] as Tree), http_extra_headers: { "X-Rack": "r1" } };
        config["watchdog"] = { mode: "off" };
        const postgresql = config["postgresql"] as Tree;
        postgresql["parameters"] = { ...(postgresql["parameters"] as Tree), work_mem: "3MB" };
      });
      replica.kill("SIGHUP");
      await until("it carries no load", async () => (await replica.health("/replica")) === 503, { withinMs: WITHIN_MS });
      await untilShows(replica, "work_mem", "7MB");
      await replica.untilLogs(" DEBUG: ", { withinMs: WITHIN_MS });
      await until("the member key says so", async () => (await tagsOf(replica))["rack"] === "r1", { withinMs: WITHIN_MS });
      const answer = await fetch(`${replica.apiUrl}/patroni`);
      expect(answer.headers.get("x-rack")).toBe("r1");

      writeFileSync(replica.configPath, "scope: [");
      expect(await replica.api("/reload", { method: "POST" })).toMatchObject({ status: 202, text: "reload scheduled" });
      await replica.untilLogs("the configuration stays as it was", { withinMs: WITHIN_MS });
      expect(await replica.health("/replica")).toBe(503);

      writeFileSync(replica.configPath, original);
      expect((await replica.api("/reload", { method: "POST" })).status).toBe(202);
      await until("it carries load again", async () => (await replica.health("/replica")) === 200, { withinMs: WITHIN_MS });
    });
  }, 60_000);
});

async function pending(node: ClusterNode): Promise<boolean> {
  const { members } = await cluster.list([node]);
  return members.find(({ name }) => name === node.name)?.pending_restart === true;
}

async function tagsOf(node: ClusterNode): Promise<Readonly<Record<string, unknown>>> {
  const member = JSON.parse((await cluster.key(`members/${node.name}`))?.value ?? "{}") as { readonly tags?: Tree };
  return member.tags ?? {};
}
