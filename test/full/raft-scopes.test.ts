// Goal: one Raft serves many clusters: what befalls one of them, the others do not notice.
// Method: two clusters of other scopes, whose nodes are clients of one member without PostgreSQL; the primary of the one dies.

import { afterAll, expect, test } from "bun:test";
import { TestCluster } from "../harness/cluster.ts";
import { LockWatch } from "../harness/lock-watch.ts";
import { startOutsideStore } from "../harness/outside-store.ts";

afterAll(() => TestCluster.stopAll());

test("two clusters of one Raft each have a leader of their own, and the death of the one's primary changes nothing in the other", async () => {
  const outside = await startOutsideStore("raft");
  try {
    await TestCluster.with({ outside, scope: "north", nodes: 2 }, async (north) => {
      await TestCluster.with({ outside, scope: "south", nodes: 2 }, async (south) => {
        const [died, stays] = [await north.untilHealthy(), await south.untilHealthy()];
        const lock = new LockWatch(south);
        const writer = await south.writer();
        await died.killHost();
        await north.untilHealthy({ nodes: north.others(died) });
        await writer.afterNow(30_000);
        const changes = await lock.stop();
        expect(changes.map(({ holder }) => holder)).toEqual([stays.name]);
        expect((await north.key("leader"))?.value).not.toBe(died.name);
        const alive = [...north.others(died), stays];
        const scopes = await Promise.all(alive.map(async (node) => (await node.api("/cluster")).json));
        expect(scopes).toMatchObject([{ scope: "north" }, { scope: "south" }]);
        expect(await writer.lost(stays)).toEqual([]);
      });
    });
  } finally {
    await outside.stop();
  }
}, 240_000);
