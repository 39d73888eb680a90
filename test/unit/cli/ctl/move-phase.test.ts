// Goal: a cluster that cannot be moved whole is not moved in part: what is refused before anything is changed.

import { expect, test } from "bun:test";
import { type MovePlace, type MoveSight, phaseOf } from "../../../../lib/cli/ctl/move-places.ts";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import { cluster } from "../../core/observations.ts";

const place = (name: string) => ({ name }) as unknown as MovePlace;
const sight = (found: Cluster) =>
  ({ read: { scope: "demo", cluster: found }, snapshot: { inside: [], beside: [] }, seal: null, sealed: false }) as unknown as MoveSight;

function phase(changes: Partial<Cluster>): string {
  try {
    const to = sight(cluster({ initialize: null, members: [] }));
    return phaseOf({ place: place("consul"), sight: sight(cluster(changes)) }, { place: place("raft"), sight: to });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

test("a cluster of ours is moved; one with a Patroni among its members, or of several groups, is not", () => {
  expect(phase({})).toBe("leave");
  const [first, ...rest] = cluster({}).members;
  if (first === undefined) throw new Error("the cluster of the test has no members");
  expect(phase({ members: [{ ...first, product: null }, ...rest] })).toContain(`would decide by consul again: ${first.name}`);
  expect(phase({ groups: { "0": cluster({}), "1": cluster({}) } })).toContain("a Citus cluster is not moved");
});
