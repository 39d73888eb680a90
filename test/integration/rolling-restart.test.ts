// Goal: every PostgreSQL of a cluster is restarted one after the other, replicas first and the leader by a switchover, while a client
// writes. Method: the real program on three real nodes; what ran before and after is asked of the servers themselves.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { type CtlTool, ownCtl } from "../harness/ctl-tools.ts";
import { serverStarts } from "../harness/server-starts.ts";

const LIMIT_MS = 300_000;
let cluster: TestCluster;
let ctl: CtlTool;

beforeAll(async () => {
  cluster = await TestCluster.shared();
  ctl = ownCtl(cluster);
  await cluster.untilHealthy();
}, LIMIT_MS);
afterAll(() => TestCluster.stopAll());

test(
  "a rolling restart shows its steps, restarts replicas first, hands over once and loses nothing",
  () =>
    cluster.during(async () => {
      const old = await cluster.untilHealthy();
      const [first, second] = cluster.others(old).map(({ name }) => name);
      const before = await serverStarts(cluster);
      const timeline = (await old.status())["timeline"] as number;

      const plan = await ctl.run(["rolling", "restart", "--dry-run"]);
      expect(plan.status).toBe(0);
      expect(plan.text).toContain(`1. restart ${first}: `);
      expect(plan.text).toContain(`2. restart ${second}: `);
      expect(plan.text).toMatch(new RegExp(`3\\. switchover from ${old.name} to (${first}|${second})`));
      expect(await serverStarts(cluster)).toEqual(before);
      expect((await ctl.run(["rolling", "restart"], "n\n")).text).toContain("Error: Aborted rolling restart");

      const writer = await cluster.writer();
      const done = await ctl.run(["rolling", "restart", "--yes"]);
      expect(done.text).toContain("Success: every member was restarted\n");
      expect(done.status).toBe(0);
      const steps = done.text.match(/^\S+: (restart$|switchover|restarted)/gm);
      expect(steps).toEqual([
        `${first}: restart`,
        `${first}: restarted`,
        `${second}: restart`,
        `${second}: restarted`,
        `${old.name}: switchover`,
        `${old.name}: restarted`,
      ]);
      const leader = await cluster.untilHealthy();
      expect(leader).not.toBe(old);
      expect((await leader.status())["timeline"]).toBe(timeline + 1);
      const after = await serverStarts(cluster);
      for (const { name } of cluster.nodes) expect(after[name]).not.toBe(before[name]);
      await writer.afterNowBy(leader.name, 20_000);
      expect(writer.overlaps()).toEqual([]);
      expect(await writer.lost(leader)).toEqual([]);
      // Nothing is left of it: another call would begin anew.
      expect(await cluster.sight.key(`service/${cluster.scope}.rolling_restart`)).toBeNull();
    }),
  LIMIT_MS,
);
