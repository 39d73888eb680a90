// Goal: the coordinator of a Citus cluster always knows where a worker group's primary and standbys are, and while a primary changes
// place, queries wait instead of failing.
// Method: two groups of real nodes over the store of the tests, with a stand-in for the extension (docs/mpp.md).

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { addressOf, CitusCluster, DistributedWriter } from "../harness/citus-cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { PASSWORDS } from "../harness/passwords.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 90_000;
const WITHIN_MS = 40_000;
let citus: CitusCluster;
let coordinator: ClusterNode;

beforeAll(async () => {
  citus = await CitusCluster.start({ coordinators: ["c1"], workers: ["w1", "w2"] });
  coordinator = citus.coordinator.node(0);
}, LIMIT_MS);
afterAll(() => citus.stop(), LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => citus.during(body), LIMIT_MS);
}

describe("a Citus cluster", () => {
  scenario("is founded with the extension in its database, what Citus needs of the server, and quorum commit", async () => {
    await citus.coordinator.untilHealthy();
    const leader = await citus.worker.untilHealthy();
    for (const node of [coordinator, leader]) {
      expect(await citus.sql(node, "SELECT extname FROM pg_extension WHERE extname = 'citus'")).toHaveLength(1);
      const names = ["shared_preload_libraries", "wal_level", "max_prepared_transactions", "citus.local_hostname"];
      const shown = await citus.sql(node, `SELECT ${names.map((name) => `current_setting('${name}') AS "${name}"`).join(", ")}`);
      const folder = (node.config["postgresql"] as { parameters: { unix_socket_directories: string } }).parameters.unix_socket_directories;
      expect(Object.values(shown[0] ?? {})).toEqual(["citus", "logical", "200", folder]);
      expect(await citus.sql(node, "SELECT nodeid, rolename, authinfo FROM pg_dist_authinfo")).toEqual([
        { nodeid: 0, rolename: "postgres", authinfo: `password=${PASSWORDS.superuser}` },
      ]);
    }
    expect(JSON.parse((await citus.worker.key("1/config"))?.value ?? "")).toMatchObject({ synchronous_mode: "quorum" });
    expect(`${coordinator.log}${leader.log}`).not.toContain(PASSWORDS.superuser);
    expect((await coordinator.api("/cluster")).json).toMatchObject({ scope: "demo", members: [{ name: "c1" }] });
  });

  scenario("a switchover of the workers changes the primary's row, and queries of the coordinator wait for it", async () => {
    const leader = await citus.worker.untilHealthy();
    const [other = leader] = citus.worker.others(leader);
    const id = await citus.untilRegistered(coordinator, leader);
    await citus.untilVoter(other);
    await citus.sql(coordinator, "CREATE EXTENSION dblink SCHEMA public");
    await citus.sql(leader, "CREATE TABLE written (n int)");
    const before = (await citus.calls(coordinator)).length;
    const writer = new DistributedWriter(coordinator);
    await until("the first rows", () => writer.written > 3, { withinMs: WITHIN_MS });
    const asked = await leader.api("/switchover", {
      method: "POST",
      body: { leader: leader.name, candidate: other.name },
      timeoutMs: WITHIN_MS,
    });
    expect(asked).toMatchObject({ status: 200 });
    const [written, id2] = [writer.written, await citus.untilRegistered(coordinator, other)];
    await until("more rows", () => writer.written > written + 3, { withinMs: WITHIN_MS });
    await writer.stop();
    expect(writer.failures).toEqual([]);
    expect(await citus.sql(other, "SELECT count(DISTINCT n)::int AS n FROM written")).toEqual([{ n: writer.written }]);
    expect(id2).toBe(id);
    const [held, ...rest] = (await citus.calls(coordinator)).slice(before);
    expect(held).toBe(`update ${id} to ${addressOf(leader).replace(":", "-demoted:")}`);
    expect(rest).toContain(`update ${id} to ${addressOf(other)}`);
  });

  scenario("a restart of the workers' primary holds the queries as well", async () => {
    const leader = await citus.worker.untilHealthy();
    const id = await citus.untilRegistered(coordinator, leader);
    const before = (await citus.calls(coordinator)).length;
    const writer = new DistributedWriter(coordinator);
    expect(await leader.api("/restart", { method: "POST", body: {}, timeoutMs: WITHIN_MS })).toMatchObject({ status: 200 });
    const { written } = writer;
    await until("more rows", () => writer.written > written + 3, { withinMs: WITHIN_MS });
    await writer.stop();
    expect(writer.failures).toEqual([]);
    const held = addressOf(leader).replace(":", "-demoted:");
    const calls = (await citus.calls(coordinator)).slice(before);
    expect(calls.slice(0, 2)).toEqual([`update ${id} to ${held}`, `update ${id} to ${addressOf(leader)}`]);
  });

  scenario("queries that are held for a primary that does not come back go on when the time is up", async () => {
    const leader = await citus.worker.untilHealthy();
    await citus.untilRegistered(coordinator, leader);
    const event = { type: "before_demote", group: 1, leader: leader.name, timeout: 1, cooldown: 1 };
    const before = (await citus.calls(coordinator)).length;
    expect(await coordinator.api("/citus", { method: "POST", body: event })).toMatchObject({ status: 200, text: "OK" });
    await citus.sql(coordinator, "SELECT citus.run_on_group(1, 'INSERT INTO written VALUES (-1)')");
    expect(await citus.sql(leader, "SELECT n FROM written WHERE n = -1")).toHaveLength(1);
    await coordinator.untilLogs("queries for group 1 were held as long as they may be", { withinMs: WITHIN_MS });
    expect((await citus.calls(coordinator)).slice(before)).toEqual([]);
  });

  scenario("the transaction that holds queries is seen in pg_stat_activity, and the next event of its group ends it", async () => {
    const leader = await citus.worker.untilHealthy();
    await citus.untilRegistered(coordinator, leader);
    const event = { group: 1, leader: leader.name, timeout: 60, cooldown: 1 };
    const holding = "SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND query ~ 'citus_update_node.*-demoted'";
    const tell = (type: string) => coordinator.api("/citus", { method: "POST", body: { ...event, type } });
    expect(await tell("before_demote")).toMatchObject({ status: 200, text: "OK" });
    expect(await citus.sql(coordinator, holding)).toHaveLength(1);
    expect(await tell("after_promote")).toMatchObject({ status: 200, text: "OK" });
    await until("nothing is held", async () => (await citus.sql(coordinator, holding)).length === 0, { withinMs: WITHIN_MS });
    await citus.untilRegistered(coordinator, leader);
  });

  scenario("an event about somebody who does not lead that group, or that says nothing, changes nothing", async () => {
    const leader = await citus.worker.untilHealthy();
    const before = await citus.calls(coordinator);
    const event = { type: "before_demote", group: 1, leader: "", timeout: 1, cooldown: 1 };
    for (const name of [...citus.worker.others(leader).map((node) => node.name), "nobody"]) {
      const answer = await coordinator.api("/mpp", { method: "POST", body: { ...event, leader: name } });
      expect(answer).toMatchObject({ status: 200, text: "OK" });
      await coordinator.untilLogs(`Discarding event {"type":"before_demote","group":1,"leader":"${name}"`, { withinMs: WITHIN_MS });
    }
    expect(await citus.calls(coordinator)).toEqual(before);
    const wrong = await coordinator.api("/citus", { method: "POST", body: { ...event, group: "1" } });
    expect(wrong).toMatchObject({ status: 400, text: "group is not a whole number from 0 on" });
  });
});
