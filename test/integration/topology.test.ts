// Goal: tags decide who follows whom and whose data is copied: replicatefrom, nostream, noloadbalance, clonefrom.
// Method: one cluster of real nodes over the store of the tests, with an archive; what the servers say of each other, and ctl topology.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { parseLsn } from "../../lib/model/lsn.ts";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 120_000;
const WITHIN_MS = 40_000;
const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
const TAGS: Readonly<Record<string, Tree>> = {
  // Not to found the cluster; it may lead afterwards.
  middle: { clonefrom: true, nofailover: true },
  cascade: { replicatefrom: "middle", nofailover: true },
  archive: { nostream: true, noloadbalance: true, nofailover: true },
};
let cluster: TestCluster;
let leader: ClusterNode;

beforeAll(async () => {
  cluster = await TestCluster.shared({
    nodes: ["first", "middle", "cascade", "archive"],
    start: false,
    dynamic: { loop_wait: 1, postgresql: { parameters: { archive_mode: "on", archive_timeout: "1s" } } },
    extra: (_, name) => ({ tags: TAGS[name] ?? {} }),
  });
  const archive = join(cluster.folder, "wal");
  for (const node of cluster.nodes) {
    node.archiveInto(archive);
  }
  leader = cluster.node("first");
  for (const node of cluster.nodes) node.start();
  await cluster.untilLeader();
  await cluster.sql(leader, "CREATE TABLE t (n int)");
  await retag("middle", { clonefrom: true });
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll(), LIMIT_MS);

async function retag(name: string, tags: Tree): Promise<void> {
  const node = cluster.node(name);
  node.editConfig((config) => {
    config["tags"] = tags;
  });
  expect((await node.api("/reload", { method: "POST" })).status).toBe(202);
}

function scenario(title: string, body: () => Promise<void>): void {
  test(title, () => cluster.during(body), LIMIT_MS);
}

/** Application names that stream from this server now, sorted. */
async function followers(node: ClusterNode): Promise<readonly string[]> {
  const rows = await cluster.sql<{ name: string }>(
    node,
    "SELECT application_name AS name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1",
  );
  return rows.map(({ name }) => name);
}

async function untilFollowers(node: ClusterNode, names: readonly string[]): Promise<void> {
  await until(
    `${names.join(", ") || "nobody"} streams from ${node.name}`,
    async () => {
      const found = await followers(node);
      if (found.join() !== names.join()) throw new Error(`found ${found.join(", ")}`);
      return true;
    },
    { withinMs: WITHIN_MS, everyMs: 50 },
  );
}

let rows = 0;

async function untilCopied(to: readonly ClusterNode[]): Promise<void> {
  rows += 1;
  await cluster.sql(leader, `INSERT INTO t VALUES (${rows})`);
  for (const node of to) {
    const has = async () => (await cluster.sql<{ n: number }>(node, "SELECT max(n) AS n FROM t"))[0]?.n === rows;
    await until(`row ${rows} on ${node.name}`, has, { withinMs: WITHIN_MS, everyMs: 50 });
  }
}

/**
 * Waits until `node` knows of `source` how far it is. Each file that is archived before it is full moves the WAL by up to 16 MB at once,
 * and for a moment everybody looks far behind.
 */
async function untilKnownNear(node: ClusterNode, source: string): Promise<void> {
  await cluster.sql(leader, "SELECT pg_switch_wal()");
  const [row] = await cluster.sql<{ lsn: string }>(leader, "SELECT pg_current_wal_lsn()::text AS lsn");
  const end = parseLsn(row?.lsn ?? "") ?? Number.NaN;
  const isNear = async () => {
    const lsn = parseLsn((await cluster.list([node])).members.find(({ name }) => name === source)?.lsn ?? "");
    return lsn !== null && lsn >= end;
  };
  await until(`${node.name} knows ${source} at ${row?.lsn}`, isNear, { withinMs: WITHIN_MS, everyMs: 50 });
}

function others(): readonly ClusterNode[] {
  return cluster.others(leader);
}

describe("a cluster of all kinds of replicas", () => {
  scenario("each follows whom its tags name", async () => {
    await untilFollowers(leader, ["middle"]);
    await untilFollowers(cluster.node("middle"), ["cascade"]);
    await untilCopied(others());
    expect(cluster.node("middle").log).toContain("trying to bootstrap from leader 'first'");
    expect(cluster.node("middle").log).toContain("replica has been created using basebackup");
  });

  scenario("copies come from the member tagged clonefrom, unless the leader is asked for", async () => {
    for (const [name, body, words] of [
      ["cascade", {}, "reinitialize: a new copy is made from replica 'middle'"],
      ["archive", {}, "reinitialize: a new copy is made from replica 'middle'"],
      ["cascade", { from_leader: true }, "reinitialize: a new copy is made from leader 'first'"],
    ] as const) {
      const node = cluster.node(name);
      await untilKnownNear(node, "middle");
      const from = node.log.length;
      expect((await node.api("/reinitialize", { method: "POST", body, timeoutMs: 30_000 })).status).toBe(200);
      await node.untilLogs(words, { withinMs: WITHIN_MS, from });
      await node.untilLogs("bootstrapped from", { withinMs: WITHIN_MS, from });
      await until("it serves again", async () => (await node.health("/health")) === 200, { withinMs: WITHIN_MS });
    }
    await untilFollowers(cluster.node("middle"), ["cascade"]);
    await untilCopied(others());
  });

  scenario("a nostream node lives from the archive: no source, no slot, its state says so, and it takes no load", async () => {
    const node = cluster.node("archive");
    const [row] = await cluster.sql<{ conninfo: string; slot: string }>(
      node,
      "SELECT current_setting('primary_conninfo') AS conninfo, current_setting('primary_slot_name') AS slot",
    );
    expect(row).toEqual({ conninfo: "", slot: "" });
    for (const server of cluster.nodes) {
      expect(await cluster.sql(server, "SELECT 1 FROM pg_replication_slots WHERE slot_name = 'archive'")).toEqual([]);
    }
    const { members } = await cluster.list();
    expect(members.find(({ name }) => name === "archive")).toMatchObject({ role: "replica", state: "in archive recovery" });
    expect(await Promise.all(["/replica", "/health", "/read-only"].map((path) => node.health(path)))).toEqual([503, 200, 503]);
    expect(await cluster.node("cascade").health("/replica")).toBe(200);
  });

  scenario("ctl topology draws who follows whom", async () => {
    const child = Bun.spawn([process.execPath, "run", CTL, "-c", leader.configPath, "topology"], {
      cwd: "/",
      stdout: "pipe",
      stderr: "ignore",
    });
    const text = await new Response(child.stdout).text();
    const names = [...text.matchAll(/^\| (\s*(?:\+ )?\w+) +\| 127/gm)].map(([, name]) => name);
    expect(names).toEqual(["first", "+ archive", "+ middle", "  + cascade"]);
  });

  scenario("a cascading replica whose source is stopped follows the leader, and its source again once that is back", async () => {
    const middle = cluster.node("middle");
    expect(await middle.terminate()).toBe(0);
    await untilFollowers(leader, ["cascade"]);
    await untilCopied([cluster.node("cascade")]);
    middle.start();
    await untilFollowers(middle, ["cascade"]);
    await untilFollowers(leader, ["middle"]);
    await cluster.node("cascade").untilLogs("following 'middle', as replicatefrom says", { withinMs: WITHIN_MS });
  });

  scenario(
    "after a switchover everybody has the new leader's WAL, and the cascade hangs on the leader that its source has become",
    async () => {
      const body = { leader: "first", candidate: "middle" };
      const answer = await leader.api("/switchover", { method: "POST", body, timeoutMs: 40_000 });
      expect([answer.status, answer.text]).toEqual([200, 'Successfully switched over to "middle"']);
      leader = cluster.node("middle");
      await untilFollowers(leader, ["cascade", "first"]);
      await untilCopied(others());
    },
  );

  scenario("a tag that is changed and reloaded changes the source at once", async () => {
    await retag("cascade", { replicatefrom: "first", nofailover: true });
    await untilFollowers(cluster.node("first"), ["cascade"]);
    await untilCopied(others());
  });
});
