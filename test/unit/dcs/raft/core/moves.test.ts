// Goal: a member that has moved is entered at its new address beside newcomers at its old and its new one. Method: cores in an orderly
// world; the newcomers never run, so that nobody hears them.

import { describe, expect, test } from "bun:test";
import type { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { Output } from "../../../../../lib/dcs/raft/core/types.ts";
import type { RaftMember } from "../../../../../lib/model/raft.ts";
import { CoreWorld, idOf, memberOf, TIMINGS } from "./core-world.ts";

/** Three members with a leader; `away` is one that follows. */
function three() {
  const world = new CoreWorld(3);
  world.run(2000);
  const leader = world.leader();
  const raft = world.members.get(leader)?.raft as Raft;
  const away = [1, 2, 3].find((number) => idOf(number) !== leader) as number;
  const add = (member: RaftMember): Output =>
    world.step(leader, { kind: "change-members", id: 1, change: { kind: "add", member, replaces: null } });
  const move = (member: RaftMember): Output => world.step(leader, { kind: "change-members", id: 2, change: { kind: "move", member } });
  return { world, raft, away, add, move };
}

describe("a member that has moved", () => {
  test("is not replaced any more by the newcomer at its old address", () => {
    const { world, raft, away, add, move } = three();
    world.cut.add(idOf(away));
    world.run(2 * TIMINGS.electionMaxMs);
    expect(add({ id: idOf(9), address: memberOf(away).address }).accepted).toHaveLength(1);
    world.settle();
    expect(raft.status().configuration.learners).toMatchObject([{ id: idOf(9), replaces: idOf(away) }]);
    expect(move({ id: idOf(away), address: "elsewhere:1" }).accepted).toHaveLength(1);
    const { voters, learners } = raft.status().configuration;
    expect(voters).toContainEqual({ id: idOf(away), address: "elsewhere:1" });
    expect(learners).toEqual([{ id: idOf(9), address: memberOf(away).address, replaces: null }]);
  });

  test("takes the address of a newcomer that nobody hears any more, and not before", () => {
    const { world, raft, away, add, move } = three();
    expect(add(memberOf(4)).accepted).toHaveLength(1);
    world.settle();
    const { address } = memberOf(4);
    const reason = `${address} is the address of the member ${idOf(4)}`;
    expect(move({ id: idOf(away), address }).refused).toEqual([{ id: 2, refusal: { kind: "invalid", reason } }]);
    world.run(2 * TIMINGS.electionMaxMs);
    expect(move({ id: idOf(away), address }).accepted).toHaveLength(1);
    const { voters, learners } = raft.status().configuration;
    expect(voters).toContainEqual({ id: idOf(away), address });
    expect(learners).toEqual([]);
  });
});
