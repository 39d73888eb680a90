// The core's rules one by one, in an orderly world. Disorder is the simulator's: test/raft/simulation.

import { describe, expect, test } from "bun:test";
import type { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import { CHUNK_BYTES_MAX } from "../../../../../lib/dcs/raft/core/snapshots.ts";
import type { RaftEvent, SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId, term } from "../../../../../lib/model/raft.ts";
import { bytes, CoreWorld, founding, idOf, memberOf, TIMINGS } from "./core-world.ts";

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

describe("membership", () => {
  test("a newcomer learns first and votes once it has caught up; a removed leader hands over", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    for (let count = 0; count < 200; count++) world.step(world.leader(), { kind: "propose", id: count, payload: bytes(`${count}`) });
    world.settle();
    world.add(4, { ...founding(3), configuration: founding(3).configuration });
    const added = world.step(world.leader(), {
      kind: "change-members",
      id: 1,
      change: { kind: "add", member: memberOf(4), replaces: null },
    });
    expect(added.accepted).toHaveLength(1);
    world.run(1000);
    const configuration = world.member(1).raft.status().configuration;
    expect(configuration.voters.map(({ id }) => id)).toEqual([1, 2, 3, 4].map(idOf));
    expect(configuration).toMatchObject({ outgoing: null, learners: [] });
    expect(world.payloads(4)).toHaveLength(200);

    const old = world.leader();
    world.step(old, { kind: "change-members", id: 2, change: { kind: "remove", id: old } });
    world.run(3000);
    expect(world.leader()).not.toBe(old);
    const after = world.members.get(world.leader())?.raft.status().configuration;
    expect(after?.voters.map(({ id }) => id)).not.toContain(old);
    expect(after?.outgoing).toBeNull();
  });

  test("a learner whose process was lost votes only once its next process has answered: what it holds now is not known", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const raft = world.members.get(leader)?.raft as Raft;
    const learner = idOf(4);
    world.step(leader, { kind: "change-members", id: 1, change: { kind: "add", member: memberOf(4), replaces: null } });
    // Nothing of its own is there: the test answers for it.
    const answer = (): RaftEvent => {
      const sent = world.members.get(leader)?.outputs.flatMap(({ messages }) => messages) ?? [];
      const last = sent.flatMap(({ to, message }) => (to === learner && message.kind === "append" ? [message] : [])).at(-1);
      if (last === undefined) throw new Error("it was sent nothing");
      const head = { kind: "append-answer", term: last.term, outcome: "matched", damage: null, round: last.round } as const;
      return { kind: "message", from: learner, message: { ...head, index: raft.status().lastIndex } };
    };
    world.run(TIMINGS.heartbeatMs);
    const before = answer();
    world.step(leader, before, { kind: "peer-lost", peer: learner });
    world.step(leader, before);
    world.settle();
    expect(raft.status().configuration).toMatchObject({ outgoing: null, learners: [{ id: learner }] });
    world.run(TIMINGS.heartbeatMs);
    world.step(leader, answer());
    expect(raft.status().configuration).toMatchObject({ voters: [{}, {}, {}, { id: learner }], learners: [] });
  });

  test("a newcomer at a voter's address replaces it when that voter is gone, and is refused while it lives", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const dead = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    const newcomer = { id: idOf(9), address: memberOf(dead).address };
    const change = { kind: "add", member: newcomer, replaces: null } as const;
    const refused = world.step(leader, { kind: "change-members", id: 1, change });
    expect(refused.refused).toMatchObject([{ refusal: { kind: "invalid" } }]);
    world.cut.add(idOf(dead));
    world.run(1500);
    world.add(9, founding(3));
    expect(world.step(leader, { kind: "change-members", id: 2, change }).accepted).toHaveLength(1);
    world.run(1500);
    const configuration = world.members.get(leader)?.raft.status().configuration;
    expect(configuration?.voters.map(({ id }) => id).toSorted()).toEqual([1, 2, 3, 9].filter((n) => n !== dead).map(idOf));
  });
});

describe("a member that has moved", () => {
  test("keeps its place under its new address, in one step", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const member = { id: idOf(2), address: "elsewhere:1" };
    expect(
      world.step(world.leader(), { kind: "change-members", id: 1, change: { kind: "move", members: [member] } }).accepted,
    ).toHaveLength(1);
    world.run(1000);
    for (const number of [1, 2, 3]) {
      const { voters, outgoing } = world.member(number).raft.status().configuration;
      expect(voters).toEqual([memberOf(1), member, memberOf(3)]);
      expect(outgoing).toBeNull();
    }
  });

  test("is not entered at another member's address, nor where it is no member", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const move = (member: { readonly id: MemberId; readonly address: string }) =>
      world.step(world.leader(), { kind: "change-members", id: 1, change: { kind: "move", members: [member] } });
    const { address } = memberOf(3);
    const reason = `${address} is the address of the member ${idOf(3)}`;
    expect(move({ id: idOf(2), address })).toMatchObject({ accepted: [], refused: [{ id: 1, refusal: { kind: "invalid", reason } }] });
    expect(move({ id: idOf(9), address: "elsewhere:1" })).toMatchObject({
      accepted: [],
      refused: [{ refusal: { kind: "invalid", reason: `${idOf(9)} is not a member` } }],
    });
  });
});

describe("the removal of a voter", () => {
  /** What the leader answers to the removal of the one while the other is silent or damaged. */
  function removal(state: "well" | "silent" | "damaged" | "unheard" | "restarted") {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const [leaving, other] = [1, 2, 3].filter((number) => idOf(number) !== leader) as [number, number];
    if (state === "silent") {
      world.cut.add(idOf(other));
      world.run(1500);
    } else if (state === "damaged") {
      const head = { kind: "append-answer", term: world.member(other).raft.role.term, outcome: "damaged" } as const;
      const message = { ...head, index: logIndex(0), damage: 5, round: 1 };
      world.step(leader, { kind: "message", from: idOf(other), message });
    } else if (state === "restarted") {
      // It has answered a moment ago, and what its next process finds on its disk is not known.
      world.step(leader, { kind: "peer-lost", peer: idOf(other) });
    } else if (state === "unheard") {
      // The leader's process was held up; what the other one said before that has waited for it.
      const answers = world.member(other).outputs.flatMap(({ messages }) => messages.map(({ message }) => message));
      const message = answers.filter(({ kind }) => kind === "append-answer").at(-1);
      if (message === undefined) throw new Error("it never answered");
      world.now += 4 * TIMINGS.electionMaxMs;
      world.step(leader, { kind: "message", from: idOf(other), message });
    }
    const asked = world.step(leader, { kind: "change-members", id: 1, change: { kind: "remove", id: idOf(leaving) } });
    return { world, leader, leaving, other, asked };
  }

  test.each(["silent", "unheard", "restarted"] as const)("is refused where another one is %s: what is left could not go on", (state) => {
    const { other, asked } = removal(state);
    expect(asked.accepted).toEqual([]);
    const reason = `without it 2 voters would be left, of which 2 must be well, and ${memberOf(other).address} does not answer; mend or remove that first`;
    expect(asked.refused).toEqual([{ id: 1, refusal: { kind: "invalid", reason } }]);
  });

  test("is done once the other one has answered after a restart", () => {
    const { world, leader, leaving } = removal("restarted");
    world.run(2 * TIMINGS.heartbeatMs);
    expect(world.step(leader, { kind: "change-members", id: 2, change: { kind: "remove", id: idOf(leaving) } }).accepted).toHaveLength(1);
  });

  test("is done where it is the silent one itself", () => {
    const { world, leader, other } = removal("silent");
    expect(world.step(leader, { kind: "change-members", id: 2, change: { kind: "remove", id: idOf(other) } }).accepted).toHaveLength(1);
  });

  test("is refused where another one's log is damaged: it could not vote", () => {
    const { other, asked } = removal("damaged");
    const reason = `without it 2 voters would be left, of which 2 must be well, and ${memberOf(other).address} has a damaged log; mend or remove that first`;
    expect(asked.refused).toEqual([{ id: 1, refusal: { kind: "invalid", reason } }]);
  });

  test("is done where all are well", () => {
    const { world, leader, leaving, asked } = removal("well");
    expect(asked.accepted).toHaveLength(1);
    world.run(1000);
    const configuration = world.members.get(leader)?.raft.status().configuration;
    expect(configuration?.voters.map(({ id }) => id)).not.toContain(idOf(leaving));
    expect(configuration?.outgoing).toBeNull();
  });
});

describe("snapshots and damage", () => {
  test("a member that needs what the log no longer holds gets the snapshot in chunks, then entries", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    world.cut.add(idOf(away));
    for (let count = 0; count < 3000; count++) world.step(leader, { kind: "propose", id: count, payload: bytes(`${count}`) });
    world.settle();
    const raft = world.members.get(leader)?.raft;
    // Until it has been silent for a while the log is kept for it.
    world.run(1500);
    const meta = raft?.snapshotMeta(logIndex(2500));
    if (meta === undefined) throw new Error("the leader is there");
    const size = 100_000;
    world.step(leader, { kind: "snapshot-saved", meta, size });
    world.cut.delete(idOf(away));
    let received = 0;
    for (let round = 0; round < 200 && received < size; round++) {
      world.run(100);
      for (const chunk of world.members.get(leader)?.outputs.flatMap((output) => output.chunksToSend) ?? []) {
        if (chunk.offset !== received) continue;
        const { to, length, ...head } = chunk;
        world.step(to, { kind: "message", from: leader, message: { kind: "snapshot-chunk", ...head, data: new Uint8Array(length) } });
        received += length;
        world.settle();
      }
    }
    expect(received).toBe(size);
    world.step(idOf(away), { kind: "snapshot-installed", meta, size });
    world.run(1000);
    const applied = world.member(away).committed.map((entry) => entry.index);
    expect(applied.filter((index) => index > 2000)).toEqual(
      Array.from({ length: (raft?.status().commit ?? 0) - 2500 }, (_, index) => logIndex(2501 + index)),
    );
  });

  test("a member gets whole what takes four times as long to send as snapshots come one after the other, and catches up", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    const raft = world.members.get(leader)?.raft as Raft;
    const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
    world.cut.add(idOf(away));
    const size = 40 * CHUNK_BYTES_MAX;
    const files: SnapshotMeta[] = [];
    let installing: SnapshotMeta | null = null;
    const chunks = () =>
      world.members
        .get(leader)
        ?.outputs.splice(0)
        .flatMap((output) => output.chunksToSend) ?? [];
    const tenth = (at: number): void => {
      for (let count = 0; count < 300; count++) world.step(leader, { kind: "propose", id: count, payload: bytes("a") });
      world.settle();
      if (at % 10 === 0) {
        const meta = raft.snapshotMeta(raft.status().commit);
        const kept = [...files.slice(-1), ...raft.snapshotsInUse];
        files.splice(0, files.length, ...files.filter((file) => kept.includes(file)), meta);
        world.step(leader, { kind: "snapshot-saved", meta, size });
      }
      if (installing !== null) world.step(idOf(away), { kind: "snapshot-installed", meta: installing, size });
      installing = null;
      world.run(100);
      for (const { to, length, ...head } of chunks()) {
        if (!files.includes(head.meta)) continue;
        world.step(to, { kind: "message", from: leader, message: { kind: "snapshot-chunk", ...head, data: new Uint8Array(length) } });
        if (head.offset + length === size) installing = head.meta;
      }
      world.settle();
    };
    for (let at = 1; at <= 30; at++) tenth(at);
    world.cut.delete(idOf(away));
    const isThere = (): boolean => {
      const { commit, firstIndex } = raft.status();
      return world.member(away).raft.status().applied > commit - 1000 && firstIndex > commit - 10_000;
    };
    for (let at = 31; at <= 200 && !isThere(); at++) tenth(at);
    const { commit, firstIndex } = raft.status();
    expect(world.member(away).raft.status().applied).toBeGreaterThan(commit - 1000);
    // And the log is short again.
    expect(firstIndex).toBeGreaterThan(commit - 10_000);
  });

  test("a damaged log gives no vote and counts for nothing until the leader has made it whole", () => {
    const world = new CoreWorld(3);
    world.run(2000);
    const leader = world.leader();
    for (const text of ["a", "b", "c"]) world.step(leader, { kind: "propose", id: 1, payload: bytes(text) });
    world.settle();
    const [damaged, other] = [1, 2, 3].filter((number) => idOf(number) !== leader) as [number, number];
    const kept = world.member(damaged).committed.slice(0, 2);
    const hardState = { term: world.member(damaged).raft.role.term, votedFor: null };
    world.add(damaged, founding(3), { entries: kept, log: "damaged", hardState });
    const request = { kind: "vote-request", purpose: "transfer", term: term(50), lastIndex: logIndex(99), lastTerm: term(49) } as const;
    expect(world.step(idOf(damaged), { kind: "message", from: idOf(other), message: request }).messages).toEqual([]);
    world.cut.add(idOf(other));
    world.step(leader, { kind: "propose", id: 2, payload: bytes("d") });
    world.run(300);
    expect(world.member(damaged).outputs.some((output) => output.repaired === "whole")).toBe(true);
    expect(world.member(damaged).outputs.flatMap((output) => output.writes?.writes ?? [])).toContainEqual({ kind: "whole" });
    expect(world.member(damaged).raft.status().health).toBe("whole");
    expect(world.payloads(damaged)).toEqual(["a", "b", "c", "d"]);
  });
});
