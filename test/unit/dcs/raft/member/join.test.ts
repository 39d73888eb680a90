// Goal: a member that asks from an address where nobody seeks it is entered there. Method: a leader of three whose peers the test plays.

import { describe, expect, test } from "bun:test";
import { everyMember } from "../../../../../lib/dcs/raft/core/configuration.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { idOf, memberOf } from "../core/core-world.ts";
import { CLUSTER, clock, leadingMember } from "./leading-member.ts";

async function leader() {
  const { admin, forwarder, known, stop } = await leadingMember(3, 60_000);
  const ask = (address: string) => {
    const request = { kind: "join", from: { id: idOf(2), address }, clusterId: CLUSTER, was: "voter" } as const;
    return admin.join(request, ms(clock.now() + 60_000));
  };
  return { ask, forwarder, entered: () => everyMember(known.configuration()).map(({ address }) => address), stop };
}

const [one, two, three] = [1, 2, 3].map((number) => memberOf(number).address) as [string, string, string];

describe("a member that asks the leader whether it belongs", () => {
  test("is entered where it is now, unless it is connected", async () => {
    const { ask, forwarder, entered, stop } = await leader();
    forwarder.up(idOf(2));
    expect(await ask("elsewhere:2")).toEqual({ kind: "member" });
    expect(entered()).toEqual([one, two, three]);
    forwarder.lost(idOf(2), "gone");
    expect(await ask("elsewhere:2")).toEqual({ kind: "member" });
    expect(entered()).toEqual([one, "elsewhere:2", three]);
    stop();
  });

  test("is told why it cannot be entered there", async () => {
    const { ask, entered, stop } = await leader();
    expect(await ask(three)).toEqual({ kind: "refused", reason: `${three} is the address of the member ${idOf(3)}` });
    expect(entered()).toEqual([one, two, three]);
    stop();
  });
});
