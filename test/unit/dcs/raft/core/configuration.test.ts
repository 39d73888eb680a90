// Majorities and the encoding of configurations.

import { expect, test } from "bun:test";
import {
  decodeConfiguration,
  encodeConfiguration,
  foundingConfiguration,
  isQuorum,
  membersToDial,
  quorumValue,
  readConfiguration,
} from "../../../../../lib/dcs/raft/core/configuration.ts";
import type { Configuration } from "../../../../../lib/dcs/raft/core/types.ts";
import type { RaftMember } from "../../../../../lib/model/raft.ts";
import { fc } from "../../../../harness/properties.ts";
import { bytes, idOf, memberOf } from "./core-world.ts";

const numbers = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 9 });

test("a value is reached by a majority of both sets, and no greater one is", () => {
  fc.assert(
    fc.property(numbers, fc.option(numbers), fc.array(fc.nat(20), { minLength: 13, maxLength: 13 }), (voters, outgoing, reached) => {
      const configuration = { ...foundingConfiguration(voters.map(memberOf)), outgoing: outgoing?.map(memberOf) ?? null };
      const value = (id: string) => reached[Number(id)] as number;
      const own = value(configuration.voters[0]?.id ?? "");
      const counted = (set: readonly RaftMember[]) =>
        set.map((member, place) => (place === 0 && set === configuration.voters ? null : member));
      const sets = { voters: counted(configuration.voters), outgoing: configuration.outgoing && counted(configuration.outgoing) };
      const found = quorumValue(sets, own, ({ id }) => value(id));
      expect(isQuorum(configuration, (id) => value(id) >= found)).toBe(true);
      expect(isQuorum(configuration, (id) => value(id) > found)).toBe(false);
    }),
  );
});

test("two majorities of one set always meet", () => {
  fc.assert(
    fc.property(numbers, fc.uniqueArray(fc.nat(12)), fc.uniqueArray(fc.nat(12)), (voters, some, others) => {
      const configuration = foundingConfiguration(voters.map(memberOf));
      const has = (set: readonly number[]) => (id: string) => set.includes(Number(id));
      if (!isQuorum(configuration, has(some)) || !isQuorum(configuration, has(others))) return;
      expect(voters.some((voter) => some.includes(voter) && others.includes(voter))).toBe(true);
    }),
  );
});

test("who is being replaced is not sought at the address where the one that replaces it answers", () => {
  const [one, two, three] = [1, 2, 3].map(memberOf) as [RaftMember, RaftMember, RaftMember];
  const newcomer = { id: idOf(9), address: two.address };
  const learning = { ...foundingConfiguration([one, two, three]), learners: [{ ...newcomer, replaces: two.id }] };
  const joint = { voters: [one, three, newcomer], outgoing: [one, two, three], learners: [] };
  const dialled = (configuration: Configuration) => membersToDial(configuration).map(({ id }) => id);
  expect(dialled(learning)).toEqual([one.id, three.id, newcomer.id]);
  expect(dialled(joint)).toEqual([one.id, three.id, newcomer.id]);
  expect(dialled({ ...joint, voters: [one, three], outgoing: [one, two, three] })).toEqual([one.id, three.id, two.id]);
});

test("a configuration comes back from the log as it was written", () => {
  const configuration = {
    voters: [1, 2, 3].map(memberOf),
    outgoing: [1, 2].map(memberOf),
    learners: [
      { ...memberOf(4), replaces: idOf(2) },
      { ...memberOf(5), replaces: null },
    ],
  };
  expect(decodeConfiguration(encodeConfiguration(configuration))).toEqual(configuration);
});

test("what is no configuration is refused", () => {
  const [one, two] = [memberOf(1), memberOf(2)];
  const good = { voters: [one, two], outgoing: null, learners: [] };
  expect(readConfiguration(good)).not.toBeNull();
  for (const bad of [
    null,
    [],
    { ...good, voters: [] },
    { ...good, voters: [one, one] },
    { ...good, voters: [{ ...one, id: "short" }] },
    { ...good, voters: Array.from({ length: 10 }, (_, index) => memberOf(index + 1)) },
    { ...good, outgoing: "none" },
    { ...good, learners: [{ ...two, replaces: "nobody" }] },
  ]) {
    expect(readConfiguration(bad)).toBeNull();
  }
  expect(() => decodeConfiguration(bytes("{}"))).toThrow("no configuration");
});
