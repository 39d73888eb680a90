// The core's rules one by one, in an orderly world: elections, replication and reads. Disorder is the simulator's: test/raft/simulation.

import { describe, expect, test } from "bun:test";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { bytes, CoreWorld, founding, idOf, TIMINGS } from "./core-world.ts";

describe("elections", () => {
  test("of three members exactly one leads, and all follow it", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    for (const member of world.members.values()) expect(member.raft.role.leader).toBe(leader);
  });

  test("a single member leads at once", () => {
    const world = new CoreWorld(1);
    world.run(1);
    expect(world.leader()).toBe(idOf(1));
  });

  test("a leader that hears no majority steps down, and the others elect another", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const old = world.leader();
    world.cut.add(old);
    world.run(2500);
    expect(world.members.get(old)?.raft.role.role).not.toBe("leader");
    expect(world.leader()).not.toBe(old);
  });

  test("a member that was cut off and comes back disturbs nobody's term", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const away = [...world.members.keys()].find((id) => id !== leader) as typeof leader;
    const before = world.members.get(leader)?.raft.role.term;
    world.cut.add(away);
    world.run(10_000);
    world.cut.delete(away);
    world.run(2000);
    expect(world.leader()).toBe(leader);
    expect(world.members.get(away)?.raft.role.term).toBe(before as never);
  });

  test("no vote request leaves before the own vote is durable", () => {
    const world = new CoreWorld(1);
    const member = world.add(2, founding(3));
    world.now += 5000;
    const first = member.raft.step(world.now, [{ kind: "tick" }]);
    expect(first.messages.map(({ message }) => message.kind)).toEqual(["vote-request", "vote-request"]);
    const granted = { kind: "vote-answer", purpose: "pre", term: term(1), verdict: "granted" } as const;
    const campaigning = member.raft.step(world.now, [{ kind: "message", from: idOf(1), message: granted }]);
    expect(campaigning.messages).toEqual([]);
    const durable = member.raft.step(world.now, [{ kind: "written", sequence: campaigning.writes?.sequence as number }]);
    expect(durable.messages.map(({ message }) => message)).toMatchObject([{ purpose: "election" }, { purpose: "election" }]);
  });

  test("when the leader's process is known to be gone, the next one leads within two heartbeats and a vote", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const old = world.leader();
    world.cut.add(old);
    for (const id of world.members.keys()) if (id !== old) world.step(id, { kind: "peer-lost", peer: old });
    world.run(201);
    expect(world.leader()).not.toBe(old);
  });
});

describe("replication", () => {
  test("what the leader accepts is committed everywhere in its order, with a cluster time that never goes back", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    for (const text of ["a", "b", "c"]) {
      const output = world.step(world.leader(), { kind: "propose", id: 1, payload: bytes(text) });
      expect(output.accepted).toHaveLength(1);
      world.run(50);
    }
    for (const number of [1, 2, 3]) {
      expect(world.payloads(number)).toEqual(["a", "b", "c"]);
      const times = world.member(number).committed.map((entry) => entry.time);
      expect(times).toEqual(times.toSorted((a, b) => a - b));
    }
  });

  test("where nobody writes, cluster time goes on: a new leader adds the silence since it heard the old one, and no more", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const old = world.leader();
    const stamp = () => {
      const [accepted] = world.step(world.leader(), { kind: "propose", id: 1, payload: bytes("x") }).accepted;
      world.run(50);
      const entry = world.member(Number(world.leader())).committed.find(({ index }) => index === accepted?.index);
      return { time: entry?.time ?? Number.NaN, at: world.now - 50 };
    };
    const before = stamp();
    world.run(60_000);
    world.cut.add(old);
    const cutAt = world.now;
    world.run(TIMINGS.electionMaxMs * 3);
    const electedAt = world.now;
    const after = stamp();
    expect(world.leader()).not.toBe(old);
    const [passed, lost] = [after.time - before.time, electedAt - cutAt + TIMINGS.heartbeatMs];
    expect(passed).toBeLessThanOrEqual(after.at - before.at);
    expect(passed).toBeGreaterThanOrEqual(after.at - before.at - lost);
  });

  test("a follower that lost messages gets them again", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    world.cut.add(idOf(away));
    for (const text of ["a", "b"]) world.step(leader, { kind: "propose", id: 1, payload: bytes(text) });
    world.settle();
    world.cut.delete(idOf(away));
    world.run(500);
    expect(world.payloads(away)).toEqual(["a", "b"]);
  });

  test("what is durable on two of three is handed out, also where the leader's own disk is the slow one, and no sooner", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const handedOut = () => world.members.get(leader)?.committed.filter(({ kind }) => kind === "command").length;
    const [first, second] = [...world.members.keys()].filter((id) => id !== leader) as [typeof leader, typeof leader];
    for (const id of world.members.keys()) world.slow.add(id);
    world.step(leader, { kind: "propose", id: 1, payload: bytes("a") });
    world.settle();
    expect(handedOut()).toBe(0);
    world.slow.delete(first);
    world.settle();
    expect(handedOut()).toBe(0);
    world.slow.delete(second);
    world.settle();
    expect(handedOut()).toBe(1);
    expect(world.members.get(leader)?.raft.durable).toBe(logIndex(1));
  });

  test("a proposal to a follower is refused with the leader's name", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const follower = [...world.members.keys()].find((id) => id !== world.leader()) as ReturnType<typeof idOf>;
    const output = world.step(follower, { kind: "propose", id: 7, payload: bytes("x") });
    expect(output.refused).toMatchObject([{ id: 7, refusal: { kind: "not-leader", leader: { id: world.leader() } } }]);
  });

  test("what a step has put out stays as it was, whatever later steps put out", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const accepted = world.step(leader, { kind: "propose", id: 1, payload: bytes("first") });
    world.step(leader, { kind: "transfer", to: null });
    const refused = world.step(leader, { kind: "propose", id: 2, payload: bytes("second") });
    expect([accepted, refused].map((output) => [output.accepted.length, output.refused.length])).toEqual([
      [1, 0],
      [0, 1],
    ]);
  });

  test("uncommitted entries of an old leader give way, also where terms differ behind equal ones", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const old = world.leader();
    world.cut.add(old);
    for (let count = 0; count < 5; count++) world.step(old, { kind: "propose", id: count, payload: bytes(`lost ${count}`) });
    world.settle();
    world.run(2500);
    world.step(world.leader(), { kind: "propose", id: 1, payload: bytes("kept") });
    world.settle();
    world.cut.delete(old);
    world.run(1500);
    for (const number of [1, 2, 3]) expect(world.payloads(number)).toEqual(["kept"]);
  });
});

describe("reads", () => {
  test("a read is confirmed by a majority and by nothing less", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const asked = world.step(leader, { kind: "read", id: 1 });
    expect(asked.readsReady).toEqual([]);
    world.settle();
    expect(world.members.get(leader)?.outputs.flatMap((output) => output.readsReady)).toMatchObject([{ id: 1 }]);
    for (const id of world.members.keys()) if (id !== leader) world.cut.add(id);
    world.step(leader, { kind: "read", id: 2 });
    world.run(2000);
    const outputs = world.members.get(leader)?.outputs ?? [];
    expect(outputs.flatMap((output) => output.readsReady).map(({ id }) => id)).toEqual([1]);
    expect(outputs.flatMap((output) => output.refused)).toMatchObject([{ id: 2, refusal: { kind: "not-leader" } }]);
  });
});
