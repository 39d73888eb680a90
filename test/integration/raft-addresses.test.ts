// Goal: a member's address is no part of who it is: whoever comes back under another one is the same member in the same place, and the
// others find it there. Method: members in this process over real sockets and folders; a follower moves, then the leader.

import { afterEach, expect, test } from "bun:test";
import { ms } from "../../lib/model/units.ts";
import { value } from "../conformance/suite-context.ts";
import { serverPorts } from "../harness/ports.ts";
import { RaftMembers, type RaftPlace } from "../harness/raft-members.ts";

let members: RaftMembers | null = null;

afterEach(async () => {
  await members?.close();
  members = null;
});

/** Each running member serves, and has these voters alone at these addresses. */
function settled(running: RaftMembers, wanted: ReadonlyMap<string, string>): Promise<true> {
  const expected = JSON.stringify([...wanted].sort());
  return running.until(() =>
    running.places.every(({ status }) => {
      const voters = status.members.filter(({ part }) => part === "voter").map(({ id, address }) => [id, address]);
      return status.state === "serving" && status.leader !== null && JSON.stringify(voters.sort()) === expected;
    }),
  );
}

test("a member that comes back under another address keeps its identity and its place, the leader too; the others find it there", async () => {
  members = await RaftMembers.start(3);
  const running = members;
  const within = { deadline: ms(running.clock.now() + 60_000) };
  const own = (await running.leader()).store();
  value(await own.put("before", "1", within));
  await own.close();
  const addresses = new Map(running.places.map(({ status, address }) => [status.member.id, address]));
  await settled(running, addresses as ReadonlyMap<string, string>);
  const placed = new Map<RaftPlace, string>(running.places.map((place) => [place, place.address]));
  const first = await running.leader();
  for (const mover of [running.places.find((place) => place !== first) as RaftPlace, first]) {
    const { id } = mover.status.member;
    await mover.stop("immediate");
    const [port] = await serverPorts(1);
    const address = `127.0.0.1:${port}`;
    placed.set(mover, address);
    await mover.start({ selfAddress: address, bindAddress: address });
    expect(mover.status.member).toEqual({ id, address });
    addresses.set(id, address);
    await settled(running, addresses as ReadonlyMap<string, string>);
  }
  // What each has written of the others is enough to find them.
  await Promise.all(running.places.map((place) => place.stop("immediate")));
  for (const [place, address] of placed) await place.start({ selfAddress: address, bindAddress: address, partnerAddresses: [] });
  await settled(running, addresses as ReadonlyMap<string, string>);
  const store = (await running.leader()).store();
  expect(value(await store.snapshot("", within)).entries.map(({ key }) => key)).toEqual(["before"]);
  await store.close();
}, 120_000);
