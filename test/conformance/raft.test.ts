// Goal: the store over the built-in Raft keeps every promise of lib/dcs/store.ts, and carries the whole cluster store; also
// while its leader is being killed again and again. Method: the suites shared by all stores, against real members over real
// sockets and disks; some clients ask the member of their own process, some go over the network.

import { seconds } from "../../lib/model/units.ts";
import { killLeaders } from "../harness/raft-leader-kill.ts";
import { RaftMembers } from "../harness/raft-members.ts";
import { clusterStoreSuite } from "./cluster-store-suite.ts";
import { storeSuite } from "./store-suite.ts";
import type { SuiteBackend } from "./suite-context.ts";

const openRaft = (count: number) => async (): Promise<SuiteBackend> => {
  const members = await RaftMembers.start(count);
  let opened = 0;
  return {
    store: () => {
      const place = members.places[opened++ % (count + 1)];
      return place === undefined ? members.remoteStore() : place.store();
    },
    clock: members.clock,
    prefix: "conformance",
    minTtl: seconds(1),
    close: () => members.close(),
  };
};

async function openUnderKills(): Promise<SuiteBackend> {
  const members = await RaftMembers.start(3);
  const killer = killLeaders(members);
  return {
    store: () => members.remoteStore(),
    clock: members.clock,
    prefix: "conformance",
    minTtl: seconds(1),
    close: async () => {
      console.log(`  the leader was killed ${await killer.stop()} times`);
      await members.close();
    },
  };
}

for (const count of [1, 3, 5]) {
  storeSuite(`raft, members: ${count}`, openRaft(count));
  clusterStoreSuite(`raft, members: ${count}`, openRaft(count));
}

storeSuite("raft, its leader killed again and again", openUnderKills);
clusterStoreSuite("raft, its leader killed again and again", openUnderKills);
