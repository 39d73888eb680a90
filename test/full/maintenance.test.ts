// Goal: in pause PostgreSQL is the operator's and the lock follows it; a switchover is kept at its time; a restart that was scheduled
// outlives the supervisor. Method: three real nodes, whose PostgreSQLs are stopped and promoted by hand, past their supervisors.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { staysTrue, until } from "../harness/wait.ts";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.shared({ dynamic: { ttl: 20, loop_wait: 1 } });
}, 60_000);

afterAll(() => TestCluster.stopAll());

async function pause(): Promise<void> {
  await cluster.patchConfig({ pause: true });
  for (const node of cluster.nodes) await until("paused", async () => (await node.status())["pause"] === true, { withinMs: 20_000 });
}

async function holder(): Promise<string | null> {
  return (await cluster.key("leader"))?.value ?? null;
}

function another(than: ClusterNode): ClusterNode {
  const [node] = cluster.others(than);
  if (node === undefined) throw new Error("there are three nodes");
  return node;
}

function at(inMs: number): string {
  return new Date(Date.now() + inMs).toISOString().replace("Z", "+00:00");
}

test("in pause a switchover needs a candidate and no appointment; a replica that is promoted by hand runs on without the lock", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    const candidate = another(leader);
    await pause();
    const post = async (body: Readonly<Record<string, unknown>>) => {
      const { status, text } = await leader.api("/switchover", { method: "POST", body, timeoutMs: 60_000 });
      return [status, text];
    };
    expect(await post({ leader: leader.name })).toEqual([400, "Switchover is possible only to a specific candidate in a paused state"]);
    const refusal = [400, "Can't schedule switchover in the paused state"];
    expect(await post({ leader: leader.name, candidate: candidate.name, scheduled_at: at(60_000) })).toEqual(refusal);
    expect(await post({ leader: leader.name, candidate: candidate.name })).toEqual([
      200,
      `Successfully switched over to "${candidate.name}"`,
    ]);
    await cluster.untilHealthy();
    await candidate.untilLogs(`PAUSE: no action. I am (${candidate.name}), the leader with the lock`, { withinMs: 10_000 });

    await cluster.sql(leader, "select pg_promote()");
    await leader.untilLogs("PAUSE: continue to run as primary without lock", { withinMs: 10_000 });
    const runsOn = async () => ((await leader.status())["role"] === "primary" ? null : "it is no primary any more");
    await staysTrue("promoted by hand", runsOn, { forMs: 4_000, everyMs: 200 });
    expect([await holder(), await leader.health("/primary")]).toEqual([candidate.name, 503]);
    await cluster.patchConfig({ pause: null });
    expect(await cluster.untilHealthy()).toBe(candidate);
  });
}, 120_000);

test("in pause the lock goes with a PostgreSQL that is stopped by hand, nobody is promoted, and a supervisor that ends leaves all as it is", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    await pause();
    expect(await leader.terminate()).toBe(0);
    await leader.untilLogs("Leader key is not deleted and Postgresql is not stopped due paused state", { withinMs: 5_000 });
    expect(leader.postmasterPid()).not.toBeNull();
    expect(await holder()).toBe(leader.name);
    leader.start();
    await until("it leads on", async () => (await leader.health("/primary")) === 200, { withinMs: 20_000 });

    leader.killPostmaster("SIGINT");
    await until("the lock is released", async () => (await holder()) === null, { withinMs: 20_000 });
    await leader.untilLogs("PAUSE: postgres is not running", { withinMs: 10_000 });
    const nobodyLeads = async () => ((await cluster.leader()) === null && (await holder()) === null ? null : "somebody leads");
    await staysTrue("nobody is promoted", nobodyLeads, { forMs: 4_000, everyMs: 200 });
    const candidate = another(leader);
    const failover = await candidate.api("/failover", { method: "POST", body: { candidate: candidate.name }, timeoutMs: 60_000 });
    expect([failover.status, failover.text]).toEqual([200, `Successfully failed over to "${candidate.name}"`]);
    await cluster.patchConfig({ pause: null });
    expect(await cluster.untilHealthy()).toBe(candidate);
  });
}, 120_000);

test("a switchover is awaited, kept at its time, and dropped where nobody kept it", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    await cluster.putKey("failover", JSON.stringify({ leader: leader.name, scheduled_at: at(-10_000) }));
    await leader.untilLogs(/Found a stale switchover value, cleaning up: /, { withinMs: 10_000 });
    expect(await holder()).toBe(leader.name);

    const candidate = another(leader);
    const when = Date.now() + 5_000;
    const body = { leader: leader.name, candidate: candidate.name, scheduled_at: new Date(when).toISOString() };
    const scheduled = await another(leader).api("/switchover", { method: "POST", body });
    expect([scheduled.status, scheduled.text]).toEqual([202, "Switchover scheduled"]);
    expect((await cluster.list()).scheduled_switchover).toMatchObject({ from: leader.name, to: candidate.name });
    await leader.untilLogs(/Awaiting switchover at /, { withinMs: 5_000 });
    await until("the candidate leads", async () => (await candidate.health("/primary")) === 200, { withinMs: 30_000, everyMs: 20 });
    const late = Date.now() - when;
    console.log(`figure: a scheduled switchover: the candidate led ${late} ms after its time`);
    expect(late).toBeGreaterThan(0);
    expect(late).toBeLessThan(10_000);
    expect(await cluster.untilHealthy()).toBe(candidate);
  });
}, 120_000);

test("a restart that was scheduled outlives its supervisor, and its conditions count at its time", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    const replica = another(leader);
    const schedule = async (node: ClusterNode, body: Readonly<Record<string, unknown>>) =>
      (await node.api("/restart", { method: "POST", body })).text;
    expect(await schedule(leader, { schedule: at(4_000), role: "replica" })).toBe("Restart scheduled");
    await leader.untilLogs("not proceeding with the restart: host role mismatch", { withinMs: 15_000 });

    const when = Date.now() + 15_000;
    expect(await schedule(replica, { schedule: new Date(when).toISOString(), role: "replica" })).toBe("Restart scheduled");
    const startedAt = async () => (await replica.status())["postmaster_start_time"];
    const before = await startedAt();
    const own = async () => JSON.parse((await cluster.key(`members/${replica.name}`))?.value ?? "{}") as Record<string, unknown>;
    await until("the member key says so", async () => (await own())["scheduled_restart"] !== undefined, { withinMs: 5_000 });
    await replica.killSupervisor();
    replica.start();
    const kept = { role: "replica", postmaster_start_time: before };
    const found = async () => (await replica.status())["scheduled_restart"];
    await until("the appointment is found again", async () => (await found()) !== undefined, { withinMs: 10_000 });
    expect(await found()).toMatchObject(kept);
    await until("it was restarted", async () => ![undefined, before].includes((await startedAt()) as undefined), { withinMs: 40_000 });
    expect(Date.now()).toBeGreaterThan(when);
    await cluster.untilHealthy();
    expect((await replica.status())["scheduled_restart"]).toBeUndefined();
  });
}, 120_000);
