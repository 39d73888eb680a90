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
  const move = (...members: readonly RaftMember[]): Output =>
    world.step(leader, { kind: "change-members", id: 2, change: { kind: "move", members } });
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

describe("members that have moved together", () => {
  const [a, b, c] = [1, 2, 3].map((number) => memberOf(number).address) as [string, string, string];

  test.each([
    ["one to where the other was", [a, c, "elsewhere:1"], [a, c, "elsewhere:1"]],
    ["each to where the other was", [a, c, b], [a, c, b]],
    ["all of them, in a circle", [b, c, a], [b, c, a]],
    ["one, where the other names somebody's who stays", [a, a, "elsewhere:1"], [a, b, "elsewhere:1"]],
    ["only where nobody has to stay in the other's way", [b, a, a], [b, a, c]],
    ["the first of two that name one address", [a, "elsewhere:1", "elsewhere:1"], [a, "elsewhere:1", c]],
  ])("are entered in one step: %s", (_what, named, entered) => {
    const { raft, move } = three();
    const at = (addresses: readonly string[]) => addresses.map((address, place) => ({ id: idOf(place + 1), address }));
    const moving = at(named).filter(({ address }, place) => address !== memberOf(place + 1).address);
    expect(move(...moving)).toMatchObject({ accepted: [{ id: 2 }], refused: [] });
    expect(raft.status().configuration).toEqual({ voters: at(entered), outgoing: null, learners: [] });
  });

  test("are refused together, with each one's reason, where none can be entered", () => {
    const { raft, move } = three();
    const before = raft.status().configuration;
    const reason = `${idOf(9)} is not a member; ${a} is the address of the member ${idOf(1)}`;
    const refused = move({ id: idOf(2), address: a }, { id: idOf(9), address: "elsewhere:1" });
    expect(refused).toMatchObject({ accepted: [], refused: [{ refusal: { kind: "invalid", reason } }] });
    expect(raft.status().configuration).toEqual(before);
  });
});
