// Goal: each worker alone does its one thing, tells a shell how it went, and endangers nobody.
// Method: the real programs on a real PostgreSQL, as clients of a store that lives on without them; what they changed is read
// from that store and /proc.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode } from "../harness/cluster-node.ts";
import { type OutsideStore, startOutsideStore } from "../harness/outside-store.ts";
import { PROMPT, TTL_MS } from "../harness/times.ts";
import { until } from "../harness/wait.ts";
import { RunningWorker, runWorker } from "./fixtures/worker-alone.ts";

const WORKERS = ["supervisor", "leader-race", "touch-member", "watch", "failsafe-write", "http-api", "vip"] as const;

/** Nothing is judged by it. */
const PATIENT = { withinMs: 60_000 };
let outside: OutsideStore;
let cluster: TestCluster;
let node: ClusterNode;
beforeAll(async () => {
  outside = await startOutsideStore();
  cluster = await TestCluster.shared({ nodes: 1, outside, dynamic: { ...PROMPT, failsafe_mode: true } });
  node = cluster.node(0);
  await cluster.untilHealthy();
}, 60_000);
afterAll(async () => {
  await TestCluster.stopAll();
  await outside?.stop();
});

/** Everything that the cluster keeps. */
async function keys(): Promise<string> {
  const all = await cluster.sight.keys(cluster.path(""));
  return [...all].map(([path, { value, session }]) => `${path} ${value} ${session}`).join("\n");
}

describe("beside a running supervisor of the same node", () => {
  test.each(WORKERS)(
    "%s refuses with status 4, prints nothing on stdout, and the supervisor goes on",
    async (worker) => {
      const run = await runWorker(node, worker);
      expect(run.complaint).toContain(`pid ${node.pid}`);
      expect({ code: run.code, out: run.out }).toEqual({ code: 4, out: "" });
      expect(await node.health("/primary")).toBe(200);
    },
    120_000,
  );

  test("leader-race --perform refuses as well", async () => {
    const run = await runWorker(node, "leader-race", ["--perform", node.configPath]);
    expect(run.code).toBe(4);
    expect(await node.health("/primary")).toBe(200);
  }, 120_000);
});

describe("what a shell gets told", () => {
  test.each(WORKERS)(
    "%s: wrong words are status 2, a missing file is status 1",
    async (worker) => {
      const [words, file] = await Promise.all([
        runWorker(node, worker, ["one.yml", "two.yml"]),
        runWorker(node, worker, ["/nowhere/node.yml"]),
      ]);
      expect(words).toMatchObject({ code: 2, out: "" });
      expect(words.complaint).toContain("usage:");
      expect(file).toMatchObject({ code: 1, out: "" });
      expect(file.complaint).toContain("/nowhere/node.yml");
    },
    120_000,
  );

  test("an unknown flag is status 2", async () => {
    expect(await runWorker(node, "touch-member", ["--perform", node.configPath])).toMatchObject({ code: 2, out: "" });
  }, 120_000);
});

describe("without a supervisor", () => {
  beforeAll(async () => {
    expect(await node.terminate()).toBe(0);
  }, 30_000);

  test("leader-race judges one pass, says decision, rule and facts, and changes nothing", async () => {
    const before = await keys();
    const run = await runWorker(node, "leader-race");
    expect(run.code).toBe(0);
    const answer = JSON.parse(run.out);
    expect(answer).toMatchObject({ worker: "leader-race", name: node.name, performed: false });
    expect(answer.decision.rule).toBeString();
    expect(answer.decision.effect.kind).toBe("start");
    expect(answer.facts.local.dataDirectory.kind).toBe("valid");
    expect(answer.facts.local.control.state).toBe("shut down");
    expect(await keys()).toBe(before);
    expect(node.postmasterPid()).toBeNull();
  }, 120_000);

  test("failsafe-write refuses while this node does not hold the lock", async () => {
    const before = await cluster.key("failsafe");
    const run = await runWorker(node, "failsafe-write");
    expect(run).toMatchObject({ code: 1, out: "" });
    expect(run.complaint).toContain("does not hold the lock");
    expect(await cluster.key("failsafe")).toEqual(before);
  }, 120_000);

  test("touch-member refuses where a living session that is not its own owns the key", async () => {
    const foreign = await cluster.sight.openSession("somebody", 60_000);
    await cluster.sight.putKey(cluster.path(`members/${node.name}`), "{}", foreign);
    const run = await runWorker(node, "touch-member");
    expect(run).toMatchObject({ code: 1, out: "" });
    expect(run.complaint).toContain(foreign);
    expect((await cluster.key(`members/${node.name}`))?.session).toBe(foreign);
    await cluster.endSession(foreign);
  }, 120_000);

  test("watch prints each change and the lease mark; touch-member publishes once, renews its own session, and lets it run out", async () => {
    const watch = new RunningWorker(node, "watch", [node.configPath]);
    await watch.untilPrints("the start", ({ kind }) => kind === "start", PATIENT.withinMs);
    const first = await runWorker(node, "touch-member");
    expect(first.code).toBe(0);
    const published = JSON.parse(first.out);
    expect(published).toMatchObject({ worker: "touch-member", member: { state: "stopped", role: "replica" }, livesAtLeastMs: TTL_MS });
    const again = JSON.parse((await runWorker(node, "touch-member")).out);
    expect(again.session).toBe(published.session);
    const isOurs = ({ key }: Readonly<Record<string, unknown>>): boolean => key === `members/${node.name}`;
    await watch.untilPrints("the member key", (line) => line["kind"] === "put" && isOurs(line), PATIENT.withinMs);
    await watch.untilPrints("the lease mark", ({ kind }) => kind === "lease", PATIENT.withinMs);
    await watch.untilPrints("the member key's end", (line) => line["kind"] === "delete" && isOurs(line), TTL_MS + PATIENT.withinMs);
    expect(await watch.end("SIGTERM")).toMatchObject({ code: 0 });
  }, 240_000);

  test("leader-race --perform refuses where the watchdog is switched off: nothing could be armed", async () => {
    node.editConfig((config) => {
      config["watchdog"] = { mode: "off" };
    });
    const run = await runWorker(node, "leader-race", ["--perform", node.configPath]);
    node.editConfig((config) => {
      delete config["watchdog"];
    });
    expect(run).toMatchObject({ code: 1, out: "" });
    expect(run.complaint).toContain("watchdog.mode");
    expect(await cluster.key("leader")).toBeNull();
  }, 120_000);
});

describe("leader-race --perform", () => {
  test("holds the lock under a guard, with http-api and failsafe-write beside it; SIGTERM stops PostgreSQL, then releases", async () => {
    const race = new RunningWorker(node, "leader-race", ["--perform", node.configPath]);
    const api = new RunningWorker(node, "http-api", [node.configPath]);
    try {
      await api.untilPrints("its address", ({ listening }) => listening !== undefined, PATIENT.withinMs);
      await until("/primary is 200", async () => (await node.health("/primary")) === 200, PATIENT);
      expect(guards(node)).toBe(1);
      expect((await node.api("/patroni")).json).toMatchObject({ role: "primary", state: "running" });
      expect((await node.api("/restart", { method: "POST", body: {} })).status).toBe(503);
      expect((await node.api("/config", { method: "PATCH", body: { ttl: 40 } })).status).not.toBe(200);
      expect((await runWorker(node, "touch-member")).code).toBe(4);
      expect((await runWorker(node, "http-api")).code).toBe(4);
      const failsafe = await runWorker(node, "failsafe-write");
      expect(failsafe.complaint).toBe("");
      expect(JSON.parse((await cluster.key("failsafe"))?.value ?? "{}")).toEqual({ [node.name]: `${node.apiUrl}/patroni` });
      const released = untilReleased();
      const ended = race.end("SIGTERM");
      expect(await released).toBe("PostgreSQL was down");
      expect(await ended).toMatchObject({ code: 0 });
      // PostgreSQL's role in its answers may be 250 ms old.
      await until("/primary is 503", async () => (await node.health("/primary")) === 503, PATIENT);
    } finally {
      race.process.kill("SIGKILL");
      await api.end("SIGTERM");
    }
  }, 240_000);

  test("paused, its end stops PostgreSQL all the same", async () => {
    const race = new RunningWorker(node, "leader-race", ["--perform", node.configPath]);
    await until("PostgreSQL is primary", () => isPrimary(), PATIENT);
    const config = JSON.parse((await cluster.key("config"))?.value ?? "{}") as Record<string, unknown>;
    const put = (value: unknown) => cluster.putKey("config", JSON.stringify(value));
    await put({ ...config, pause: true });
    await until(
      "it knows of the pause",
      async () => JSON.parse((await cluster.key(`members/${node.name}`))?.value ?? "{}").pause === true,
      PATIENT,
    );
    expect(await race.end("SIGINT")).toMatchObject({ code: 0 });
    expect(node.postmasterPid()).toBeNull();
    expect(await cluster.key("leader")).toBeNull();
    await put(config);
  }, 240_000);

  test("killed, its guard stops PostgreSQL before the lease ends", async () => {
    const race = new RunningWorker(node, "leader-race", ["--perform", node.configPath]);
    await until("PostgreSQL is primary", () => isPrimary(), PATIENT);
    await race.end("SIGKILL");
    await until("PostgreSQL is down", () => node.postmasterPid() === null, { withinMs: TTL_MS });
    expect(await cluster.key("leader")).not.toBeNull();
  }, 240_000);
});

describe("while the store is away", () => {
  test("each says so with status 3; leader-race still judges", async () => {
    await outside.kill();
    const [race, failsafe, watch] = await Promise.all(["leader-race", "failsafe-write", "watch"].map((worker) => runWorker(node, worker)));
    const touch = await runWorker(node, "touch-member");
    expect(race?.code).toBe(3);
    expect(JSON.parse(race?.out ?? "").decision.rule).toStartWith("outage-");
    for (const run of [touch, failsafe, watch]) expect(run).toMatchObject({ code: 3, out: "" });
  }, 240_000);
});

function guards(of: ClusterNode): number {
  const listed = Bun.spawnSync(["pgrep", "-f", `guard.sh ${of.dataDir}.matriarch`]).stdout.toString();
  return listed.split("\n").filter(Boolean).length;
}

async function isPrimary(): Promise<boolean> {
  const [row] = await cluster.sql<{ standby: boolean }>(node, "select pg_is_in_recovery() as standby");
  return row?.standby === false;
}

/** Looks at the server at the moment in which the lock is first seen free. */
async function untilReleased(): Promise<string> {
  await until("the lock is released", async () => (await cluster.key("leader")) === null, { ...PATIENT, everyMs: 2 });
  return node.postmasterPid() === null ? "PostgreSQL was down" : "PostgreSQL was up";
}
