// Goal: what an operator does to a running cluster, over REST and by editing files, does that and nothing else.
// Method: one cluster for all tests, loop_wait 10 (so that whatever is faster was woken); PostgreSQL and the store are asked themselves.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ListedCluster, TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { ownMs } from "../harness/stall.ts";
import type { SeenSession } from "../harness/store-sight.ts";
import { staysTrue, until } from "../harness/wait.ts";
import type { Writer } from "../harness/writer.ts";

let cluster: TestCluster;
let writer: Writer;
let leader: ClusterNode;
let replica: ClusterNode;

beforeAll(async () => {
  cluster = await TestCluster.shared({ dynamic: { loop_wait: 10 } });
  leader = await cluster.untilHealthy();
  replica = cluster.others(leader)[0] as ClusterNode;
  writer = await cluster.writer();
}, 60_000);
afterAll(() => TestCluster.stopAll());

async function post(node: ClusterNode, path: string, body: unknown = {}): Promise<readonly [number, string]> {
  const answer = await node.api(path, { method: "POST", body, timeoutMs: 60_000 });
  return [answer.status, answer.text];
}

async function show(node: ClusterNode, setting: string): Promise<string> {
  const [row] = await cluster.sql<{ value: string }>(node, `select current_setting('${setting}') as value`);
  return row?.value ?? "";
}

async function untilShows(node: ClusterNode, setting: string, value: string): Promise<void> {
  await until(`${setting} is ${value} on ${node.name}`, async () => (await show(node, setting)) === value, { withinMs: 20_000 });
}

async function started(node: ClusterNode): Promise<string> {
  const [row] = await cluster.sql<{ at: string }>(node, "select pg_postmaster_start_time()::text as at");
  return row?.at ?? "";
}

async function pendingRestarts(): Promise<readonly string[]> {
  const { members } = await cluster.list([leader]);
  return members.filter((member) => member.pending_restart === true).map(({ name }) => name);
}

/** The living sessions under which the members and the lock stand, as the store has them. */
async function untilSessionsHave(ttlMs: number, withinMs: number): Promise<void> {
  await until(
    `the session of every member, and of the lock, is one of ${ttlMs} ms`,
    async () => {
      const members = await Promise.all(cluster.nodes.map(({ name }) => cluster.sessionOf(`members/${name}`)));
      const lock = await cluster.sessionOf("leader");
      const isRight = (session: SeenSession | null, index: number): boolean =>
        session?.ttlMs === ttlMs && [null, `demo-${cluster.nodes[index]?.name}`].includes(session.name);
      if (!members.every(isRight)) throw new Error(JSON.stringify(members));
      return lock !== null && members.some((session) => session?.id === lock.id);
    },
    { withinMs },
  );
}

describe("reload", () => {
  test(
    "by POST /reload or SIGHUP the file's change is in force on this node alone",
    () =>
      cluster.during(async () => {
        const before = await show(leader, "work_mem");
        const setWorkMem = (value: string) =>
          replica.editConfig((config) => {
            ((config["postgresql"] as Tree)["parameters"] as Tree)["work_mem"] = value;
          });
        setWorkMem("7MB");
        expect(await post(replica, "/reload")).toEqual([202, "reload scheduled"]);
        await untilShows(replica, "work_mem", "7MB");
        setWorkMem("8MB");
        replica.kill("SIGHUP");
        await untilShows(replica, "work_mem", "8MB");
        expect(await show(leader, "work_mem")).toBe(before);
      }),
    60_000,
  );

  test(
    "a broken file is one error in the log, and everything stays as it was",
    () =>
      cluster.during(async () => {
        const good = replica.config;
        const from = replica.log.length;
        const pid = replica.postmasterPid();
        appendFileSync(replica.configPath, "\n  : [ this is no YAML\n");
        replica.kill("SIGHUP");
        await replica.untilLogs("ERROR", { withinMs: 20_000, from });
        expect(replica.log.slice(from).match(/ ERROR: /g)).toHaveLength(1);
        replica.writeConfig({ ...good, postgresql: { ...(good["postgresql"] as Tree), listen: "127.0.0.1:99999" } });
        expect((await post(replica, "/reload"))[0]).toBe(202);
        await replica.untilLogs("postgresql.listen", { withinMs: 20_000, from });
        replica.writeConfig(good);
        expect(replica.postmasterPid()).toBe(pid as number);
        expect(await show(replica, "work_mem")).toBe("8MB");
        expect(await cluster.untilHealthy()).toBe(leader);
      }),
    60_000,
  );
});

describe("PATCH /config", () => {
  test(
    "of a parameter that needs no restart is in force on all nodes at once, whichever was asked",
    () =>
      cluster.during(async () => {
        const answer = await replica.api("/config", {
          method: "PATCH",
          body: { postgresql: { parameters: { work_mem: "9MB", log_min_messages: "error" } } },
        });
        expect(answer.status).toBe(200);
        const from = performance.now();
        for (const node of cluster.nodes) await untilShows(node, "log_min_messages", "error");
        expect(ownMs(from)).toBeLessThan(5_000);
        expect(await show(leader, "work_mem")).toBe("9MB");
        // The file is stronger than the DCS.
        expect(await show(replica, "work_mem")).toBe("8MB");
        expect(await pendingRestarts()).toEqual([]);
      }),
    60_000,
  );

  test(
    "of ttl and loop_wait is in effect on all nodes, and the lock stays with its session's owner",
    () =>
      cluster.during(async () => {
        await cluster.patchConfig({ ttl: 30, loop_wait: 1 });
        await untilSessionsHave(30_000, 20_000);
        const [positions, from] = [cluster.nodes.map((node) => node.log.length), performance.now()];
        // Three of the cycles before would take 20 s at least.
        for (const [index, node] of cluster.nodes.entries()) {
          await node.untilLogs(/(no action.*?){3}/s, { withinMs: 60_000, from: positions[index] ?? 0 });
        }
        expect(ownMs(from)).toBeLessThan(10_000);
        // A session is exchanged in a cycle: as long as they are short, that is soon.
        await cluster.patchConfig({ ttl: 20 });
        await untilSessionsHave(20_000, 60_000);
        await cluster.patchConfig({ loop_wait: 10 });
        expect(await cluster.untilHealthy()).toBe(leader);
        expect((await cluster.key("leader"))?.value).toBe(leader.name);
      }),
    110_000,
  );

  test(
    "of max_connections waits for a restart on each node, says so with its reason, and standbys do not fall below their primary",
    () =>
      cluster.during(async () => {
        await cluster.patchConfig({ postgresql: { parameters: { max_connections: 60 } } });
        await until("all members wait for a restart", async () => (await pendingRestarts()).length === cluster.nodes.length, {
          withinMs: 15_000,
        });
        const status = await replica.status();
        expect(status["pending_restart"]).toBe(true);
        expect(status["pending_restart_reason"]).toEqual({ max_connections: { old_value: "100", new_value: "60" } });
        expect(await post(replica, "/restart")).toEqual([200, "restarted successfully"]);
        expect(await show(replica, "max_connections")).toBe("100");
        expect(await post(leader, "/restart", { restart_pending: true })).toEqual([200, "restarted successfully"]);
        expect(await show(leader, "max_connections")).toBe("60");
        await until(
          "the standby has seen the primary's value",
          async () => {
            await post(replica, "/restart");
            return (await show(replica, "max_connections")) === "60";
          },
          { withinMs: 20_000, everyMs: 500 },
        );
        await until("one member waits for a restart", async () => (await pendingRestarts()).length === 1, {
          withinMs: 15_000,
        });
        expect(await cluster.untilHealthy()).toBe(leader);
      }),
    60_000,
  );
});

describe("restart", () => {
  test(
    "of the leader is done in place: the lock stays, and the writer sees a moment",
    () =>
      cluster.during(async () => {
        const [before, session] = [await started(leader), (await cluster.key("leader"))?.session];
        const since = performance.now();
        expect(await post(leader, "/restart")).toEqual([200, "restarted successfully"]);
        await writer.afterNow(20_000);
        console.log(`restart of the leader: write gap ${Math.round(writer.longestGap(since).ms)} ms`);
        expect(await started(leader)).not.toBe(before);
        expect((await cluster.key("leader"))?.session).toBe(session as string);
        expect(await cluster.untilHealthy()).toBe(leader);
      }),
    60_000,
  );

  test(
    "whose conditions do not hold is refused, and nothing is restarted",
    () =>
      cluster.during(async () => {
        const before = await started(replica);
        for (const [body, status] of [
          [{ role: "primary" }, 503],
          [{ restart_pending: true, role: "primary" }, 503],
          [{ postgres_version: "9.5.2" }, 503],
          [{ role: "nonsense" }, 400],
          [{ postgres_version: "x" }, 400],
          [{ timeout: -1 }, 400],
          [{ nonsense: 1 }, 400],
          [{ schedule: "2009-01-01T00:00:00Z" }, 422],
          [{ schedule: "2099-01-01T00:00:00" }, 400],
        ] as const) {
          expect([body, (await post(replica, "/restart", body))[0]]).toEqual([body, status]);
        }
        expect(await started(replica)).toBe(before);
      }),
    60_000,
  );

  test(
    "that is scheduled is shown, can be taken back, and happens at its time",
    () =>
      cluster.during(async () => {
        const before = await started(replica);
        expect((await replica.api("/restart", { method: "DELETE" })).status).toBe(404);
        expect((await post(replica, "/restart", { schedule: "2099-01-01T12:00:00+00:00" }))[0]).toBe(202);
        expect((await post(replica, "/restart", { schedule: "2099-01-01T12:00:00+00:00" }))[0]).toBe(409);
        await until(
          "GET /cluster shows it",
          async () => {
            const rows = (await cluster.list([leader])).members as readonly { name: string; scheduled_restart?: unknown }[];
            return rows.find(({ name }) => name === replica.name)?.scheduled_restart !== undefined;
          },
          { withinMs: 5_000 },
        );
        expect((await replica.api("/restart", { method: "DELETE" })).status).toBe(200);
        const at = new Date(Date.now() + 4_000).toISOString();
        expect((await post(replica, "/restart", { schedule: at }))[0]).toBe(202);
        await until("it was restarted", async () => (await started(replica)) !== before, { withinMs: 30_000 });
        expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(at));
        await until("the appointment is gone", async () => (await replica.status())["scheduled_restart"] === undefined, {
          withinMs: 5_000,
        });
        expect(await cluster.untilHealthy()).toBe(leader);
      }),
    60_000,
  );
});

describe("reinitialize", () => {
  test(
    "of a replica wipes its data and copies the leader's again",
    () =>
      cluster.during(async () => {
        const marker = join(replica.dataDir, "marker");
        writeFileSync(marker, "");
        expect(await post(replica, "/reinitialize")).toEqual([200, "reinitialize started"]);
        await until("the marker is gone", () => !existsSync(marker), { withinMs: 15_000 });
        expect(await cluster.untilHealthy()).toBe(leader);
        const rows = await cluster.sql<{ n: number }>(replica, "select count(*)::int as n from witness");
        expect(rows[0]?.n ?? 0).toBeGreaterThan(0);
      }),
    60_000,
  );

  test(
    "of the leader is refused",
    () =>
      cluster.during(async () => {
        const before = await started(leader);
        expect(await post(leader, "/reinitialize")).toEqual([503, "I am the leader, can not reinitialize"]);
        expect(await started(leader)).toBe(before);
      }),
    60_000,
  );
});

describe("pause", () => {
  async function pauseIs(wanted: boolean): Promise<void> {
    await cluster.patchConfig({ pause: wanted ? true : null });
    await until(
      `every node ${wanted ? "is paused" : "has resumed"}`,
      async () => {
        const all = await Promise.all(cluster.nodes.map((node) => node.status()));
        return all.every((status) => (status["pause"] === true) === wanted);
      },
      { withinMs: 15_000 },
    );
  }

  test(
    "SIGTERM of the leader's supervisor leaves PostgreSQL running, and a start takes it over as it is",
    () =>
      cluster.during(async () => {
        await pauseIs(true);
        expect(((await leader.api("/cluster")).json as ListedCluster).pause).toBe(true);
        const before = [leader.postmasterPid(), await started(leader)];
        const since = performance.now();
        expect(await leader.terminate()).toBe(0);
        await writer.afterNowBy(leader.name, 20_000);
        leader.start();
        await until("it leads again", async () => (await leader.health("/primary")) === 200, { withinMs: 30_000 });
        expect([leader.postmasterPid(), await started(leader)]).toEqual(before);
        expect(writer.longestOwnGap(since)).toBeLessThan(2_000);
        expect(new Set(writer.acknowledged.map(({ timeline }) => timeline)).size).toBe(1);
      }),
    60_000,
  );

  test(
    "a PostgreSQL that ended is not started, until the pause is over",
    () =>
      cluster.during(async () => {
        replica.killPostmaster("SIGINT");
        await until("the replica is down", () => replica.postmasterPid() === null, { withinMs: 30_000 });
        await staysTrue("nobody starts it", () => (replica.postmasterPid() === null ? null : "it runs"), { forMs: 2_000 });
        expect(await replica.health("/health")).toBe(503);
        await pauseIs(false);
        expect(await cluster.untilHealthy()).toBe(leader);
      }),
    60_000,
  );

  test(
    "a PostgreSQL that ended is started where an operator asks for a restart: a primary with the lock, a replica beside it",
    () =>
      cluster.during(async () => {
        await pauseIs(true);
        const before = writer.acknowledged.length;
        leader.killPostmaster();
        await until("the lock is given up", async () => (await cluster.key("leader")) === null, { withinMs: 30_000 });
        expect(await post(leader, "/restart")).toEqual([200, "restarted successfully"]);
        expect([await leader.health("/primary"), (await cluster.key("leader"))?.value]).toEqual([200, leader.name]);
        replica.killPostmaster("SIGINT");
        await until("the replica is down", () => replica.postmasterPid() === null, { withinMs: 30_000 });
        expect(await post(replica, "/restart")).toEqual([200, "restarted successfully"]);
        const streams = async () => (await replica.health("/replica?replication_state=streaming")) === 200;
        await until("the replica streams", streams, { withinMs: 20_000 });
        await pauseIs(false);
        expect(await cluster.untilHealthy()).toBe(leader);
        expect(new Set(writer.acknowledged.slice(before).map(({ node }) => node))).toEqual(new Set([leader.name]));
      }),
    60_000,
  );

  test(
    "a primary that crashed stays down, gives up the lock, and an operator's failover goes to the named node",
    () =>
      cluster.during(async () => {
        const old = leader;
        await pauseIs(true);
        old.killPostmaster();
        await until("the lock is given up", async () => (await cluster.key("leader")) === null, { withinMs: 30_000 });
        await staysTrue("nobody starts it", () => (old.postmasterPid() === null ? null : "it runs"), { forMs: 2_000 });
        expect(await cluster.key("leader")).toBeNull();
        expect(await post(replica, "/failover", { candidate: replica.name })).toEqual([
          200,
          `Successfully failed over to "${replica.name}"`,
        ]);
        await writer.afterNowBy(replica.name, 5_000);
        await pauseIs(false);
        leader = await cluster.untilHealthy();
        expect(leader).toBe(replica);
        expect(writer.overlaps()).toEqual([]);
      }),
    60_000,
  );
});
