// Goal: whatever happens to single members, or to all of them at once, nothing that was acknowledged is lost, there is one
// cluster, and clients notice no more than a request that has to be repeated.
// Method: members as real processes without PostgreSQL, SIGKILL, wiped folders, an operator's requests; clients write all the time.

import { afterAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { Store } from "../../lib/dcs/store.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { wholeFromEnvironment } from "../harness/from-environment.ts";
import { KeyWriters, RaftProcesses } from "../harness/raft-processes.ts";
import { cases } from "../harness/times.ts";

afterAll(() => RaftProcesses.stopAll());

/** 100 in the full tier. */
const KILL_ROUNDS = wholeFromEnvironment("RAFT_KILL_ROUNDS", 3);
const WRITERS = 8;

async function started(count: number): Promise<RaftProcesses> {
  const raft = await RaftProcesses.make(count);
  for (const member of raft.members) member.start();
  return raft;
}

/** Values that are there, by a linearizable read. */
async function keysBelow(store: Store, prefix: string): Promise<ReadonlySet<string>> {
  const snapshot = await store.snapshot(prefix, { deadline: ms(realClock().now() + 10_000), consistency: "consistent" });
  if (!snapshot.ok) throw new Error(JSON.stringify(snapshot.error));
  return new Set(snapshot.value.entries.map(({ key }) => key));
}

async function missing(store: Store, writers: KeyWriters): Promise<readonly string[]> {
  const there = await keysBelow(store, "w/");
  return [...writers.acknowledged].filter((key) => !there.has(key));
}

function writersOf(raft: RaftProcesses): KeyWriters {
  return new KeyWriters(
    Array.from({ length: WRITERS }, () => raft.client()),
    "w/",
  );
}

describe("members of a Raft", () => {
  test(
    `SIGKILL of all members while ${WRITERS} clients write, ${KILL_ROUNDS} rounds: no acknowledged write is lost`,
    async () => {
      const raft = await started(3);
      await raft.during(async () => {
        await raft.untilServing(3);
        const writers = writersOf(raft);
        for (let round = 0; round < KILL_ROUNDS; round++) {
          await writers.more(50);
          await Promise.all(raft.members.map((member) => member.kill()));
          for (const member of raft.members) member.start();
        }
        await raft.untilServing(3);
        await writers.more(50);
        await writers.stop();
        expect(await missing(raft.client(), writers)).toEqual([]);
        console.log(
          `${KILL_ROUNDS} rounds of killing all members: ${writers.acknowledged.size} writes acknowledged, ${writers.repeated} repeated`,
        );
        expect(writers.lost).toEqual([]);
      });
    },
    90_000 + 15_000 * KILL_ROUNDS,
  );

  test("a fourth and a fifth member under load, the leader removed, a dead member replaced: no write that a repetition does not mend", async () => {
    const raft = await started(3);
    await raft.during(async () => {
      await raft.untilServing(3);
      const writers = writersOf(raft);
      for (const count of [4, 5]) {
        (await raft.another()).start();
        await raft.untilServing(count);
        await writers.more(100);
      }
      const leader = await raft.untilServing(5);
      expect((await raft.ask({ kind: "remove", member: leader.address })).heard).toEqual({ kind: "done" });
      await leader.kill();
      await writers.more(100);
      await raft.untilServing(4);
      const dead = raft.members.find((member) => member.running);
      if (dead === undefined) throw new Error("nobody runs");
      await dead.kill();
      await writers.more(100);
      const successor = await raft.another(dead.address);
      successor.start();
      await raft.untilServing(4);
      await writers.more(100);
      await writers.stop();
      expect(await missing(raft.client(), writers)).toEqual([]);
      expect(writers.lost).toEqual([]);
      console.log(`membership changes under load: ${writers.acknowledged.size} writes acknowledged, ${writers.repeated} repeated`);
    });
  }, 150_000);

  test.each(
    cases<readonly [string, readonly number[], number]>([["backwards, a second between", [2, 1, 0], 1000]], [["in order", [0, 1, 2], 0]]),
  )(
    "started %s: one cluster, and each wiped member joins it again",
    async (_, order, pauseMs) => {
      const raft = await RaftProcesses.make(3);
      await raft.during(async () => {
        for (const index of order) {
          raft.members[index]?.start();
          await Bun.sleep(pauseMs);
        }
        await raft.untilServing(3);
        const writers = writersOf(raft);
        await writers.more(20);
        for (const member of raft.members) {
          await member.kill();
          member.wipe();
          member.start();
          await raft.untilServing(3);
        }
        await writers.more(20);
        await writers.stop();
        expect(await missing(raft.client(), writers)).toEqual([]);
      });
    },
    120_000,
  );

  // One at a time: whoever wipes a second voter before the first has been replaced has lost a majority (docs/raft.md).
  test.each(cases([0, 1, 3], [2, 4]))(
    "a member wiped %p × 150 ms after the start of all: one cluster of all three in the end, never two",
    async (step) => {
      const raft = await RaftProcesses.make(3);
      await raft.during(async () => {
        for (const member of raft.members) member.start();
        const victim = raft.members[step % 3];
        await Bun.sleep(150 * step);
        await victim?.kill();
        victim?.wipe();
        const before = clustersOf(await raft.statuses());
        expect(before.length).toBeLessThanOrEqual(1);
        victim?.start();
        await raft.untilServing(3);
        const after = clustersOf(await raft.statuses());
        expect(after).toHaveLength(1);
        if (before.length === 1) expect(after).toEqual(before);
      });
    },
    120_000,
  );

  test("a witness refuses a folder that is in use, and a damaged one, each with one line", async () => {
    const raft = await started(1);
    await raft.during(async () => {
      const [first] = raft.members;
      if (first === undefined) throw new Error("no member");
      await raft.untilServing(1);
      const second = Bun.spawn([process.execPath, "run", `${import.meta.dir}/../../workers/raft-node.ts`], {
        env: { ...process.env, PATRONI_RAFT_SELF_ADDR: "127.0.0.1:1", PATRONI_RAFT_DATA_DIR: first.folder },
        stdout: "ignore",
        stderr: "pipe",
      });
      expect(await second.exited).toBe(4);
      expect(await new Response(second.stderr).text()).toContain(`another member runs in ${first.folder}`);
      await first.terminate();
      rmSync(`${first.folder}/identity`);
      first.start();
      expect(await first.exited).toBe(1);
      expect(first.log).toContain("the file identity is missing");
    });
  }, 90_000);
});

function clustersOf(statuses: readonly { readonly cluster: string | null }[]): readonly string[] {
  return [...new Set(statuses.flatMap(({ cluster }) => cluster ?? []))];
}
