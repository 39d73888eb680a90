// Goal: a rolling restart stops where a node does not come back, touches nothing more, and goes on where it ended; with --pending it takes
// those that wait for a restart and no others; in synchronous mode no commit is acknowledged by the primary alone. Method: three real nodes, one of which is given a
// library that does not exist.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import type { ClusterNode, Tree } from "../harness/cluster-node.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { serverStarts } from "../harness/server-starts.ts";
import { until } from "../harness/wait.ts";

const LIMIT_MS = 300_000;
let cluster: TestCluster;
let ctl: CtlTool;

beforeAll(async () => {
  const dynamic = { synchronous_mode: true, synchronous_mode_strict: true, loop_wait: 1 };
  cluster = await TestCluster.shared({ dynamic });
  ctl = ownCtl(cluster);
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

function setLibrary(node: ClusterNode, library: string | null): void {
  node.editConfig((config) => {
    const { parameters } = config["postgresql"] as { parameters: Tree };
    if (library === null) delete parameters["shared_preload_libraries"];
    else parameters["shared_preload_libraries"] = library;
  });
  node.kill("SIGHUP");
}

async function pending(): Promise<readonly string[]> {
  return (await cluster.list()).members.filter((member) => member.pending_restart === true).map(({ name }) => name);
}

async function untilPending(names: readonly string[]): Promise<void> {
  await until(`pending: ${names.join(", ")}`, async () => JSON.stringify(await pending()) === JSON.stringify([...names].sort()), {
    withinMs: 60_000,
  });
}

async function untilSynchronous(): Promise<void> {
  await until("a synchronous standby", async () => (await cluster.syncStandbys()).length === 1, { withinMs: 60_000 });
}

test(
  "in strict synchronous mode every member is restarted, and each commit is one that a standby has",
  () =>
    cluster.during(async () => {
      await cluster.untilHealthy();
      await untilSynchronous();
      const before = await serverStarts(cluster);
      const writer = await cluster.writer();
      const done = await ctl.run(["rolling", "restart", "--yes"]);
      expect([done.status, done.text]).toEqual([0, expect.stringContaining("Success: every member was restarted\n")]);
      const leader = await cluster.untilHealthy();
      const after = await serverStarts(cluster);
      for (const { name } of cluster.nodes) expect(after[name]).not.toBe(before[name]);
      await writer.afterNowBy(leader.name, 60_000);
      expect(await writer.lost(leader)).toEqual([]);
      expect(writer.acknowledged.filter((row) => row.synchronousStandbyNames === "")).toEqual([]);
    }),
  LIMIT_MS,
);

test(
  "with --pending those are restarted that wait for it, and no others",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const [first, second] = cluster.others(leader) as [ClusterNode, ClusterNode];
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: 110 } } });
      await untilPending(cluster.nodes.map(({ name }) => name));
      expect((await ctl.run(["restart", cluster.scope, first.name, "--force"])).status).toBe(0);
      await cluster.untilHealthy();
      await untilPending([leader.name, second.name]);
      // The one that was restarted may have been it; until there is another nobody could take over.
      await untilSynchronous();
      const before = await serverStarts(cluster);
      const done = await ctl.run(["rolling", "restart", "--pending", "--force"]);
      expect([done.status, done.text]).toEqual([0, expect.stringContaining("Success: every member was restarted\n")]);
      await cluster.untilHealthy();
      const after = await serverStarts(cluster);
      expect(after[first.name]).toBe(before[first.name] as string);
      for (const { name } of [leader, second]) expect(after[name]).not.toBe(before[name]);
      await untilPending([]);
      // What somebody left behind is no reason to leave out what is wanted now.
      const left = { begunAt: new Date().toISOString(), by: "ann@host", before: { [leader.name]: "of before" }, synchronous: 1, turn: 3 };
      await cluster.sight.putKey(`service/${cluster.scope}.rolling_restart`, JSON.stringify(left));
      const none = (await ctl.run(["rolling", "restart", "--pending", "--force"])).text;
      expect(none).toContain(`by ann@host; restarted: ${leader.name}; left: nobody. A new one begins.\n`);
      expect(none).toEndWith("No member needs a restart\n");
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: 90 } } });
      await untilPending(cluster.nodes.map(({ name }) => name));
      const refused = await ctl.run(["rolling", "restart", "--pending", "--force"]);
      expect([refused.status, refused.text]).toEqual([
        1,
        expect.stringContaining("max_connections: a lower value is restarted on the leader first"),
      ]);
      await cluster.patchConfig({ postgresql: { parameters: { max_connections: 110 } } });
      await untilPending([]);
    }),
  LIMIT_MS,
);

test(
  "where a node does not come back nothing more is touched; once it is mended the same command goes on",
  () =>
    cluster.during(async () => {
      const leader = await cluster.untilHealthy();
      const order =
        (await ctl.run(["rolling", "restart", "--dry-run"])).text.match(/restart (node\d):/g)?.map((words) => words.slice(8, 13)) ?? [];
      const bad = cluster.node(order[0] ?? "");
      const good = cluster.node(order[1] ?? "");
      setLibrary(bad, "no_such_library");
      await untilPending([bad.name]);
      const before = await serverStarts(cluster);
      const stopped = await ctl.run(["rolling", "restart", "--yes", "--step-timeout", "20"]);
      expect(stopped.status).toBe(1);
      expect(stopped.text).toContain(`Not restarted yet, or not seen to be: `);
      expect(stopped.text).toContain(good.name);
      expect(stopped.text).not.toContain(`${good.name}: restart`);
      const again = await ctl.run(["rolling", "restart", "--yes"]);
      expect([again.status, again.text]).toEqual([1, expect.stringMatching(new RegExp(`every member to be well first:\n${bad.name}: `))]);

      setLibrary(bad, null);
      await until("it starts", async () => (await bad.api("/restart", { method: "POST", body: {}, timeoutMs: 60_000 })).status === 200, {
        withinMs: 120_000,
        everyMs: 1_000,
      });
      await cluster.untilHealthy();
      const mended = (await serverStarts(cluster))[bad.name];
      const done = await ctl.run(["rolling", "restart", "--yes"]);
      expect(done.text).toContain(`restarted: ${bad.name}; left: `);
      expect([done.status, done.text]).toEqual([0, expect.stringContaining("Success: every member was restarted\n")]);
      await cluster.untilHealthy();
      const after = await serverStarts(cluster);
      expect(after[bad.name]).toBe(mended as string);
      for (const { name } of [leader, good]) expect(after[name]).not.toBe(before[name]);
    }),
  LIMIT_MS,
);
