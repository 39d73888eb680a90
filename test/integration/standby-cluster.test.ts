// Goal: a cluster follows another one as its standby, with a leader of its own, and is promoted and demoted by an operator.
// Method: two clusters of real nodes over the store of the tests; the second follows the first, driven by ctl and REST as people do it.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { StandbySite } from "../harness/standby-site.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 90_000;
const WITHIN_MS = 40_000;
let both: StandbySite;

beforeAll(async () => {
  both = await StandbySite.shared({ nodes: ["s1", "s2"], standbyCluster: { recovery_min_apply_delay: "10ms" } });
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll(), LIMIT_MS);

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => both.during(body), LIMIT_MS);
}

async function health(node: ClusterNode): Promise<Readonly<Record<string, number | null>>> {
  const paths = ["primary", "leader", "standby-leader", "replica", "read-only"];
  return Object.fromEntries(await Promise.all(paths.map(async (path) => [path, await node.health(`/${path}`)] as const)));
}

async function keyOf(name: string): Promise<unknown> {
  return JSON.parse((await both.site.key(name))?.value || "{}");
}

describe("a standby cluster", () => {
  scenario("is founded as a copy of the remote primary, with a leader that follows it and members that follow the leader", async () => {
    const leader = await both.untilStandbys();
    const [replica = leader] = both.site.others(leader);
    await both.untilCopied();
    expect(await health(leader)).toEqual({ primary: 503, leader: 200, "standby-leader": 200, replica: 503, "read-only": 200 });
    expect(await health(replica)).toEqual({ primary: 503, leader: 503, "standby-leader": 503, replica: 200, "read-only": 200 });
    expect((await both.site.key("initialize"))?.value).toBe((await both.main.key("initialize"))?.value ?? "");
    expect(await keyOf(`members/${leader.name}`)).toMatchObject({ role: "standby_leader", state: "running" });
    expect(await leader.status()).toMatchObject({ role: "standby_leader", replication_state: "streaming" });
    expect((await leader.api("/metrics")).text).toMatch(/^patroni_standby_leader\{[^}]*\} 1$/m);
    expect(await both.setting(leader, "primary_slot_name")).toBe("site");
    expect(await both.setting(leader, "recovery_min_apply_delay")).toBe("10ms");
    expect(await both.setting(replica, "recovery_min_apply_delay")).toBe("0");
    expect(await both.setting(replica, "primary_conninfo")).toContain(`port=${leader.place.postgresPort}`);
    await leader.untilLogs(`no action. I am (${leader.name}), the standby leader with the lock`, { withinMs: WITHIN_MS });
    await replica.untilLogs(`following a standby leader (${leader.name})`, { withinMs: WITHIN_MS });
    expect((await both.ctl("list")).text).toContain("| Standby Leader | streaming |");
    const published = async () => ((await keyOf("status")) as { optime?: number }).optime;
    await until("the leader's position is published", published, { withinMs: WITHIN_MS });
  });

  scenario("hands its lead over without a promotion", async () => {
    const before = await both.untilStandbys();
    const [candidate = before] = both.site.others(before);
    const body = { leader: before.name, candidate: candidate.name };
    const answer = await before.api("/switchover", { method: "POST", body, timeoutMs: 30_000 });
    expect([answer.status, answer.text]).toEqual([200, `Successfully switched over to "${candidate.name}"`]);
    expect((await both.untilStandbys()).name).toBe(candidate.name);
    await candidate.untilLogs("promoted self to a standby leader by acquiring session lock", { withinMs: WITHIN_MS });
    await both.untilCopied();
    expect((await both.site.list()).members.map(({ timeline }) => timeline)).toEqual([1, 1]);
  });

  scenario("is promoted with ctl, and demoted again: what it wrote alone is gone, and it follows", async () => {
    const { main, site, source } = both;
    const leader = await both.untilStandbys();
    const again = await both.ctl("demote-cluster", "--force", "--host", "127.0.0.1");
    expect(again).toMatchObject({ status: 1, text: "Error: Cluster is already in the required state\n" });
    const promoted = await both.ctl("promote-cluster", "--force");
    expect(promoted).toMatchObject({ status: 0, text: expect.stringContaining(" cluster is successfully promoted\n") });
    expect((await site.untilHealthy()).name).toBe(leader.name);
    expect(await health(leader)).toMatchObject({ primary: 200, "standby-leader": 503 });
    expect((await main.leader())?.name).toBe("m1");
    await site.sql(leader, "INSERT INTO t VALUES (1000000)");
    await main.sql(source, "INSERT INTO t SELECT 0 FROM generate_series(1, 1000)");
    expect(((await keyOf("history")) as readonly (readonly unknown[])[]).map(([timeline]) => timeline)).toEqual([1]);

    const port = String(source.place.postgresPort);
    const demoted = await both.ctl("demote-cluster", "--force", "--host", "127.0.0.1", "--port", port, "--primary-slot-name", "site");
    expect(demoted).toMatchObject({ status: 0, text: expect.stringContaining(" cluster is successfully demoted\n") });
    const section = { host: "127.0.0.1", port: source.place.postgresPort, primary_slot_name: "site" };
    expect(await keyOf("config")).toMatchObject({ standby_cluster: section });
    await leader.untilLogs("cannot be a real primary in standby cluster", { withinMs: WITHIN_MS });
    await both.untilStandbys();
    await both.untilCopied();
    expect(await site.sql(site.node(0), "SELECT n FROM t WHERE n = 1000000")).toEqual([]);
    expect((await site.list()).members.map(({ timeline }) => timeline)).toEqual([1, 1]);
    // The history of the time on its own would make every member look far behind.
    await until("the abandoned history is gone", async () => (await site.key("history"))?.value === "[]", { withinMs: WITHIN_MS });
  });
});
