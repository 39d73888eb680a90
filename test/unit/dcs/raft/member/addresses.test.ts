// Goal: the leader enters where each member says to be, one that cannot be entered keeps nobody else waiting, and nothing that others say
// makes it write at the speed of the network. Method: a leader whose peers the test plays; what is told and each pause are recorded in order.

import { expect, test } from "bun:test";
import { everyMember } from "../../../../../lib/dcs/raft/core/configuration.ts";
import { Addresses } from "../../../../../lib/dcs/raft/member/addresses.ts";
import type { HelloAnswer } from "../../../../../lib/dcs/raft/transport/hello.ts";
import type { MemberId } from "../../../../../lib/model/raft.ts";
import { idOf, memberOf } from "../core/core-world.ts";
import { SILENT } from "../storage/storage-fixtures.ts";
import { CLUSTER, clock, leadingMember } from "./leading-member.ts";

const PAUSE = "a pause";

/** A leader of three; the others say of themselves to be where `said` has them. `happened` resolves once so many things have. */
async function leader(said: Map<number, string>) {
  const { engine, admin, known, stop } = await leadingMember(3, 60_000);
  const events: string[] = [];
  const waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  const note = (event: string): void => {
    events.push(event);
    for (const { count, resolve } of waiting) if (events.length >= count) resolve();
  };
  const hello = (id: MemberId, address: string): HelloAnswer => ({
    memberId: id,
    clusterId: CLUSTER,
    address,
    list: [],
    state: "member",
    run: "",
  });
  const addresses = new Addresses({
    ...known,
    clusterId: CLUSTER,
    engine,
    admin,
    transport: { connected: () => new Map([...said].map(([number, address]) => [idOf(number), hello(idOf(number), address)])) },
    clock: {
      ...clock,
      sleepUntil: (at, signal) => {
        note(PAUSE);
        return clock.sleepUntil(at, signal);
      },
    },
    log: { ...SILENT, info: note, warning: note },
    retryMs: 5,
  });
  return {
    addresses,
    events,
    happened: (count: number) =>
      new Promise<void>((resolve) => {
        if (events.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
    entered: () => everyMember(known.configuration()).map(({ address }) => address),
    stop: () => {
      addresses.stop();
      stop();
    },
  };
}

test("an address that cannot be entered is told of once, and keeps nobody else from being entered", async () => {
  const taken = memberOf(1).address;
  const { addresses, events, happened, entered, stop } = await leader(
    new Map([
      [2, taken],
      [3, "elsewhere:3"],
    ]),
  );
  addresses.review();
  await happened(6);
  stop();
  expect(entered()).toEqual([taken, memberOf(2).address, "elsewhere:3"]);
  const refused = `raft: not entered yet: the new address ${taken} of member ${idOf(2)}: ${taken} is the address of the member ${idOf(1)}`;
  expect(events.slice(0, 6)).toEqual([`raft: member ${idOf(3)} is at elsewhere:3 now`, PAUSE, refused, PAUSE, PAUSE, PAUSE]);
});

test("members that took each other's addresses are entered", async () => {
  const [two, three] = [memberOf(2).address, memberOf(3).address];
  const { addresses, happened, entered, stop } = await leader(
    new Map([
      [2, three],
      [3, two],
    ]),
  );
  addresses.review();
  await happened(3);
  stop();
  expect(entered()).toEqual([memberOf(1).address, three, two]);
});

test("two processes with one identity move it no faster than each pause allows", async () => {
  const said = new Map([[2, "one:1"]]);
  const { addresses, events, happened, stop } = await leader(said);
  addresses.review();
  for (const [count, next] of [
    [1, "other:1"],
    [3, "one:1"],
    [5, "other:1"],
  ] as const) {
    await happened(count);
    said.set(2, next);
    addresses.review();
  }
  await happened(7);
  stop();
  const at = (address: string): string => `raft: member ${idOf(2)} is at ${address} now`;
  expect(events.slice(0, 7)).toEqual([at("one:1"), PAUSE, at("other:1"), PAUSE, at("one:1"), PAUSE, at("other:1")]);
});
