// The core's rules of membership one by one, in an orderly world: who comes, who moves, who is removed.

import { describe, expect, test } from "bun:test";
import type { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { RaftEvent } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId } from "../../../../../lib/model/raft.ts";
import { bytes, CoreWorld, founding, idOf, memberOf, TIMINGS } from "./core-world.ts";

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
