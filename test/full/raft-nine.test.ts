// Goal: nine members are one cluster as three are: founded in any order, it goes on while four are gone, and a leader that stands still
// for a while is followed by another one and then follows.
// Method: processes without PostgreSQL, started last to first; SIGKILL of four, SIGSTOP of the leader; a client writes all the time.

import { afterAll, expect, test } from "bun:test";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { value } from "../conformance/suite-context.ts";
import { KeyWriters, RaftProcesses } from "../harness/raft-processes.ts";
import { until } from "../harness/wait.ts";

const MEMBERS = 9;
const WITHIN_MS = 120_000;

afterAll(() => RaftProcesses.stopAll());

test("nine members serve, also without any four of them and while a leader stands still; no acknowledged write is lost", async () => {
  const raft = await RaftProcesses.make(MEMBERS);
  await raft.during(async () => {
    for (const member of raft.members.toReversed()) member.start();
    const first = await raft.untilServing(MEMBERS, WITHIN_MS);
    const writers = new KeyWriters([raft.client(), raft.client()], "w/");
    await writers.more(50, WITHIN_MS);

    // The leader among them.
    const gone = [first, ...raft.members.filter((member) => member !== first).slice(0, 3)];
    await Promise.all(gone.map((member) => member.kill()));
    await writers.more(50, WITHIN_MS);
    for (const member of gone) member.start();
    const leader = await raft.untilServing(MEMBERS, WITHIN_MS);

    const before = await termOf(raft, leader.address);
    leader.signal("SIGSTOP");
    await writers.more(50, WITHIN_MS);
    leader.signal("SIGCONT");
    // Whether it leads again by then does not matter: it has heard of the one that led meanwhile.
    await until("a later term", async () => ((await termOf(raft, leader.address)) > before ? true : null), { withinMs: WITHIN_MS });
    await raft.untilServing(MEMBERS, WITHIN_MS);
    await writers.more(20, WITHIN_MS);
    await writers.stop();
    expect(writers.lost).toEqual([]);
    const within = { deadline: ms(realClock().now() + WITHIN_MS), consistency: "consistent" } as const;
    const there = new Set(value(await raft.client().snapshot("w/", within)).entries.map(({ key }) => key));
    expect([...writers.acknowledged].filter((key) => !there.has(key))).toEqual([]);
    console.log(`nine members: ${writers.acknowledged.size} writes acknowledged, ${writers.repeated} repeated`);
  });
}, 600_000);

async function termOf(raft: RaftProcesses, address: string): Promise<number> {
  return (await raft.statuses()).find(({ member }) => member.address === address)?.term ?? 0;
}
