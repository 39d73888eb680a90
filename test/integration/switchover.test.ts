// Goal: an operator moves the primary over REST, from any node; whatever cannot be done is refused with a reason and changes nothing.
// Method: one cluster for all tests, a long loop_wait (so that whatever is faster was woken), a client that writes every 10 ms.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type ListedCluster, TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { stalledMs } from "../harness/stall.ts";
import { LAZY, TTL_MS } from "../harness/times.ts";
import { staysTrue, until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

/** How long a write is waited for on a busy machine. How late it came is judged by itself, without what the machine stood still. */
const WRITE_WITHIN_MS = 20_000;

let cluster: TestCluster;
let writer: Writer;
let leader: ClusterNode;
/** node4 never leads: nothing that happens here is a reason to restart it. */
let bystanderStarted: string;

async function started(name: string): Promise<string> {
  const [row] = await cluster.sql<{ at: string }>(cluster.node(name), "select pg_postmaster_start_time()::text as at");
  return row?.at ?? "";
}

beforeAll(async () => {
  cluster = await TestCluster.shared({
    dynamic: LAZY,
    extra: (index) => (index === 3 ? { tags: { nofailover: true } } : {}),
    nodes: ["node1", "node2", "node3", "node4"],
  });
  leader = await cluster.untilHealthy();
  if (leader.name === "node4") throw new Error("a node with nofailover won the first race");
  writer = await cluster.writer();
  bystanderStarted = await started("node4");
}, 60_000);
afterAll(() => TestCluster.stopAll());

/** Members that may take over, the leader left out. */
function candidates(): readonly ClusterNode[] {
  return cluster.others(leader).filter(({ name }) => name !== "node4");
}

async function post(node: ClusterNode, path: string, body: unknown): Promise<readonly [number, string]> {
  const answer = await node.api(path, { method: "POST", body, timeoutMs: 40_000 });
  return [answer.status, answer.text];
}

/** The new leader's write gap, with the whole cluster streaming from it again. */
async function settled(since: number, what: string): Promise<ClusterNode> {
  const now = await cluster.untilHealthy();
  await writer.afterNow(WRITE_WITHIN_MS);
  const gap = Math.round(writer.longestGap(since).ms);
  console.log(`${what}: write gap ${gap} ms`);
  expect(writer.longestOwnGap(since)).toBeLessThan(3_000);
  expect(writer.overlaps()).toEqual([]);
  expect(await cluster.key("failover").then((key) => key?.value || "{}")).toMatch(/^\{\}$/);
  leader = now;
  return now;
}

describe("what cannot be done", () => {
  test(
    "is refused with a reason by every node, and nothing is changed",
    () =>
      cluster.during(async () => {
        const [a = leader] = candidates();
        const past = "2009-01-01T00:00:00Z";
        const future = "2099-01-01T00:00:00Z";
        const cases: readonly (readonly [string, unknown, number, string | RegExp])[] = [
          ["/switchover", {}, 400, /./],
          ["/switchover", "no json", 400, /./],
          ["/switchover", [1], 400, /./],
          ["/switchover", { candidate: a.name }, 400, "Switchover could be performed only from a specific leader"],
          ["/switchover", { leader: a.name }, 412, "leader name does not match"],
          ["/switchover", { leader: "nobody" }, 412, "leader name does not match"],
          ["/switchover", { leader: leader.name, candidate: "nobody" }, 412, "candidate does not exists"],
          ["/switchover", { leader: leader.name, candidate: leader.name }, 400, "Switchover target and source are the same"],
          [
            "/switchover",
            { leader: leader.name, candidate: "node4" },
            412,
            "switchover is not possible: no good candidates have been found",
          ],
          ["/switchover", { leader: leader.name, scheduled_at: past }, 422, "Cannot schedule switchover in the past"],
          ["/switchover", { leader: leader.name, scheduled_at: "soon" }, 422, /^Unable to parse scheduled timestamp/],
          [
            "/switchover",
            { leader: leader.name, scheduled_at: "2099-01-01T00:00:00" },
            400,
            "Timezone information is mandatory for the scheduled switchover",
          ],
          ["/failover", { leader: leader.name }, 400, "Failover could be performed only to a specific candidate"],
          ["/failover", { candidate: "nobody" }, 412, "candidate does not exists"],
          ["/failover", { candidate: "node4" }, 412, "failover is not possible: no good candidates have been found"],
          ["/failover", { candidate: a.name, scheduled_at: future }, 400, "Failover can't be scheduled"],
        ];
        for (const node of [leader, a]) {
          for (const [path, body, status, text] of cases) {
            const answer = await post(node, path, body);
            expect([path, body, answer[0], typeof text === "string" ? answer[1] : text.test(answer[1])]).toEqual([
              path,
              body,
              status,
              typeof text === "string" ? text : true,
            ]);
          }
          expect((await node.api("/switchover", { method: "DELETE" })).status).toBe(404);
        }
        expect(await cluster.key("failover").then((key) => key?.value || "{}")).toBe("{}");
        expect(await cluster.untilHealthy()).toBe(leader);
        expect(new Set(writer.acknowledged.map(({ timeline }) => timeline)).size).toBe(1);
      }),
    60_000,
  );

  test(
    "a candidate whose supervisor is silent is refused; the switchover to anybody goes elsewhere",
    () =>
      cluster.during(async () => {
        const [silent = leader, other = leader] = candidates();
        silent.sigstop();
        expect(await post(leader, "/switchover", { leader: leader.name, candidate: silent.name })).toEqual([
          412,
          "switchover is not possible: no good candidates have been found",
        ]);
        const since = performance.now();
        expect(await post(leader, "/switchover", { leader: leader.name })).toEqual([200, `Successfully switched over to "${other.name}"`]);
        silent.sigcont();
        expect(await settled(since, "switchover beside a silent member")).toBe(other);
      }),
    60_000,
  );
});

describe("a switchover", () => {
  test(
    "to anybody, asked of the leader",
    () =>
      cluster.during(async () => {
        const [from, since] = [leader, performance.now()];
        const [status, text] = await post(leader, "/switchover", { leader: leader.name });
        const now = await settled(since, "switchover to anybody");
        expect([status, text]).toEqual([200, `Successfully switched over to "${now.name}"`]);
        expect(now).not.toBe(from);
        expect(now.name).not.toBe("node4");
      }),
    60_000,
  );

  test(
    "to a named candidate, asked of a third node",
    () =>
      cluster.during(async () => {
        const [candidate = leader, third = leader] = candidates();
        const since = performance.now();
        expect(await post(third, "/switchover", { leader: leader.name, candidate: candidate.name })).toEqual([
          200,
          `Successfully switched over to "${candidate.name}"`,
        ]);
        expect(await settled(since, "switchover asked of a third node")).toBe(candidate);
      }),
    60_000,
  );

  test(
    "asked of the candidate itself, as a failover that names the leader",
    () =>
      cluster.during(async () => {
        const [candidate = leader] = candidates();
        const since = performance.now();
        expect(await post(candidate, "/failover", { leader: leader.name, candidate: candidate.name })).toEqual([
          200,
          `Successfully switched over to "${candidate.name}"`,
        ]);
        expect(await settled(since, "switchover asked of the candidate")).toBe(candidate);
      }),
    60_000,
  );

  test(
    "loses nothing that was acknowledged, and does not restart a replica that only changes its source",
    () =>
      cluster.during(async () => {
        expect(await started("node4")).toBe(bystanderStarted);
        const at = writer.acknowledged.length;
        await writer.afterNow(WRITE_WITHIN_MS);
        const rows = new Set((await cluster.sql<{ id: string }>(leader, "select id from witness")).map(({ id }) => id));
        expect(writer.acknowledged.slice(0, at).filter(({ id }) => !rows.has(id))).toEqual([]);
      }),
    60_000,
  );
});

describe("a scheduled switchover", () => {
  test(
    "is shown, and taken back by DELETE on another node",
    () =>
      cluster.during(async () => {
        const [candidate = leader] = candidates();
        const at = "2099-01-01T12:00:00+00:00";
        expect(await post(candidate, "/switchover", { leader: leader.name, candidate: candidate.name, scheduled_at: at })).toEqual([
          202,
          "Switchover scheduled",
        ]);
        expect(((await leader.api("/cluster")).json as ListedCluster).scheduled_switchover).toEqual({
          at,
          from: leader.name,
          to: candidate.name,
        });
        expect((await candidate.api("/switchover", { method: "DELETE" })).status).toBe(200);
        expect(((await leader.api("/cluster")).json as ListedCluster).scheduled_switchover).toBeUndefined();
        expect((await leader.api("/switchover", { method: "DELETE" })).status).toBe(404);
      }),
    60_000,
  );

  test(
    "happens at its time, not before",
    () =>
      cluster.during(async () => {
        const [candidate = leader] = candidates();
        const at = new Date(Date.now() + 4_000);
        const since = performance.now();
        expect(
          await post(candidate, "/switchover", { leader: leader.name, candidate: candidate.name, scheduled_at: at.toISOString() }),
        ).toEqual([202, "Switchover scheduled"]);
        const old = leader;
        await staysTrue(
          "the old leader leads until the appointed time",
          async () => ((await old.health("/primary")) === 200 ? null : "it does not"),
          {
            forMs: at.getTime() - Date.now() - 100,
          },
        );
        await writer.afterNowBy(candidate.name, WRITE_WITHIN_MS);
        const late = Date.now() - at.getTime();
        console.log(`scheduled switchover: first write ${late} ms after its time`);
        expect(late - stalledMs(performance.now() - late)).toBeLessThan(3_000);
        expect(await settled(since, "scheduled switchover")).toBe(candidate);
      }),
    60_000,
  );
});

describe("a failover", () => {
  test(
    "to a named candidate beside a healthy leader, asked of a third node",
    () =>
      cluster.during(async () => {
        const [candidate = leader, third = leader] = candidates();
        const since = performance.now();
        expect(await post(third, "/failover", { candidate: candidate.name })).toEqual([
          200,
          `Successfully failed over to "${candidate.name}"`,
        ]);
        expect(await settled(since, "failover asked of a third node")).toBe(candidate);
      }),
    60_000,
  );

  test(
    "works without a leader: paused, nobody takes over until somebody is named",
    () =>
      cluster.during(async () => {
        const old = leader;
        const [candidate = leader] = candidates();
        await cluster.patchConfig({ pause: true });
        await until(
          "every node knows of the pause",
          async () => {
            const all = await Promise.all(cluster.nodes.map((node) => node.status()));
            return all.every((status) => status["pause"] === true);
          },
          { withinMs: 15_000 },
        );
        expect(await post(candidate, "/switchover", { leader: old.name })).toEqual([
          400,
          "Switchover is possible only to a specific candidate in a paused state",
        ]);
        expect(
          await post(candidate, "/switchover", { leader: old.name, candidate: candidate.name, scheduled_at: "2099-01-01T00:00:00Z" }),
        ).toEqual([400, "Can't schedule switchover in the paused state"]);
        await old.killHost();
        await until("the lock is free", async () => (await cluster.key("leader")) === null, { withinMs: TTL_MS + 20_000 });
        await staysTrue("nobody takes the lock", async () => (await cluster.key("leader"))?.value ?? null, { forMs: 3_000 });
        expect(await post(candidate, "/failover", { candidate: candidate.name })).toEqual([
          200,
          `Successfully failed over to "${candidate.name}"`,
        ]);
        await writer.afterNowBy(candidate.name, WRITE_WITHIN_MS);
        await cluster.patchConfig({ pause: null });
        old.start();
        expect(await cluster.untilHealthy()).toBe(candidate);
        expect(writer.overlaps()).toEqual([]);
      }),
    90_000,
  );
});
