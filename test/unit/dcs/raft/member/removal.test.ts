// Goal: only who really leads tells a member that it was removed, as that member believes it for good. Method: a leader whose peer falls
// silent or does not.

import { describe, expect, test } from "bun:test";
import { ms } from "../../../../../lib/model/units.ts";
import { memberOf } from "../core/core-world.ts";
import { CLUSTER, clock, leadingMember } from "./leading-member.ts";

async function leader(electionMaxMs: number) {
  const { peer, admin, stop } = await leadingMember(2, electionMaxMs);
  const ask = () => admin.join({ kind: "join", from: memberOf(3), clusterId: CLUSTER, was: "voter" }, ms(clock.now() + 1000));
  return { peer, ask, stop };
}

describe("a member that the leader's configuration does not name", () => {
  test("is told so by a leader whose majority has just confirmed it", async () => {
    const { ask, stop } = await leader(60_000);
    expect(await ask()).toEqual({ kind: "removed" });
    stop();
  });

  test("is told to ask the leader by one that only believes to lead", async () => {
    const { peer, ask, stop } = await leader(60);
    peer.state = "silent";
    expect(await ask()).toEqual({ kind: "ask-leader", address: null });
    stop();
  });
});
