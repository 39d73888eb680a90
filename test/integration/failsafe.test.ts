// Goal: in failsafe mode a primary goes on without the store for as long as every member agrees, and no longer; nothing else changes.
// Method: three real nodes whose store is frozen (Consul) or killed (the only member of the Raft, a witness) and given back.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { OutsideConsul, type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { staysTrue, until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

/** So that the members have seconds to answer in, on a busy machine too. */
const TTL_MS = 8_000;
const OUTAGE_MS = 1.5 * TTL_MS;
/** A gap says more about the machine than about the product while no write fails; a step-down would take longer than this. */
const UNDISTURBED_GAP_MAX_MS = 2_000;
const ACTIVE = /^patroni_failsafe_mode_is_active\{.*\} 1$/m;

let store: OutsideStore;
let cluster: TestCluster;
/** From the second test on. */
let writer: Writer;

beforeAll(async () => {
  store = await startOutsideStore();
  cluster = await TestCluster.shared({
    outside: store,
    dynamic: { ttl: TTL_MS / 1000, loop_wait: 1, retry_timeout: 2, failsafe_mode: true },
  });
}, 60_000);

afterAll(async () => {
  await TestCluster.stopAll();
  await store.stop();
});

async function takeStore(): Promise<void> {
  if (store instanceof OutsideConsul) store.consul.sigstop();
  else await store.kill();
}

async function giveStoreBack(): Promise<void> {
  if (store instanceof OutsideConsul) store.consul.sigcont();
  else await store.restart();
}

function addresses(): Readonly<Record<string, string>> {
  return Object.fromEntries(cluster.nodes.map((node) => [node.name, `${node.apiUrl}/patroni`]));
}

async function isActive(node: ClusterNode): Promise<boolean> {
  return (await node.status())["failsafe_mode_is_active"] === true && ACTIVE.test((await node.api("/metrics")).text);
}

test("the leader keeps the failsafe key: every member with its api_url, shown by every node", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    await until(
      "the key names everybody",
      async () => Bun.deepEquals(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}"), addresses()),
      {
        withinMs: 10_000,
      },
    );
    for (const node of cluster.nodes) {
      await until(`${node.name} shows it`, async () => Bun.deepEquals((await node.api("/failsafe")).json, addresses()), {
        withinMs: 5_000,
      });
      expect((await node.status())["failsafe_mode_is_active"]).toBeUndefined();
      expect((await node.api("/metrics")).text).toMatch(/^patroni_failsafe_member\{.*\} 1$/m);
    }
    const beat = { name: "stranger", conn_url: "postgres://h/postgres", api_url: "http://h/patroni" };
    const answer = await leader.api("/failsafe", { method: "POST", body: beat });
    expect([answer.status, answer.text]).toEqual([500, "Running as a leader"]);
  });
}, 60_000);

test("three nodes live through the loss of their store, for longer than ttl, without one failed write, and say that they do", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    // A commit that takes long on a busy machine is no failed one.
    writer = await cluster.writer({ answerMaxMs: 60_000 });
    const before = await cluster.list();
    const begun = performance.now();
    await takeStore();
    const isPrimary = async () => ((await leader.health("/primary")) === 200 ? null : "/primary is not 200");
    await staysTrue("without the store", isPrimary, { forMs: OUTAGE_MS, everyMs: 100 });
    await leader.untilLogs("continue to run as a leader because failsafe mode is enabled and all members are accessible", {
      withinMs: 20_000,
    });
    for (const node of cluster.nodes) expect(await isActive(node)).toBe(true);
    await giveStoreBack();
    await until("the leader counts on the store again", async () => !(await isActive(leader)), { withinMs: 15_000 });
    await staysTrue("with the store", isPrimary, { forMs: 1_000, everyMs: 50 });
    await writer.afterNow(20_000);
    const gap = writer.longestGap(begun);
    console.log(`figure: failsafe mode, no store for 1.5 × ttl: longest time between two writes ${Math.round(gap.ms)} ms`);
    expect(writer.longestOwnGap(begun)).toBeLessThan(UNDISTURBED_GAP_MAX_MS);
    expect(await cluster.untilHealthy()).toBe(leader);
    const after = await cluster.list();
    expect(after.members.map(({ name, timeline }) => [name, timeline])).toEqual(
      before.members.map(({ name, timeline }) => [name, timeline]),
    );
    // Attempts are numbered from 0: a failed one leaves a hole.
    expect(writer.acknowledged.map(({ id }) => id)).toEqual(writer.acknowledged.map((_, index) => `${leader.name}-${index}`));
  });
}, 90_000);

test("once a member is gone the primary steps down within ttl, and takes its lock again when the store is back", async () => {
  await cluster.during(async () => {
    const leader = await cluster.untilHealthy();
    const [gone] = cluster.others(leader);
    if (gone === undefined) throw new Error("there are three nodes");
    await writer.afterNow(20_000);
    await takeStore();
    await until("failsafe mode is active", () => isActive(leader), { withinMs: 2 * TTL_MS });
    const from = leader.log.length;
    const killedAt = performance.now();
    await gone.killHost();
    await until("the primary serves nobody", async () => (await leader.health("/primary")) !== 200, { withinMs: 2 * TTL_MS });
    await leader.untilLogs("demoting self because DCS is not accessible and I was a leader", { withinMs: 20_000, from });
    await until("a standby serves reads", async () => (await leader.status())["role"] === "replica", { withinMs: 30_000 });
    const lastWrite = Math.max(...writer.acknowledged.map(({ ackedAt }) => ackedAt));
    console.log(`figure: failsafe mode, a member died: last write after ${Math.round(lastWrite - killedAt)} ms`);
    expect(lastWrite - killedAt).toBeLessThan(TTL_MS);
    await giveStoreBack();
    gone.start();
    await writer.afterNow(30_000);
    await cluster.untilHealthy();
    expect(writer.overlaps()).toEqual([]);
    expect(await writer.lost(await cluster.untilLeader())).toEqual([]);
  });
}, 120_000);
