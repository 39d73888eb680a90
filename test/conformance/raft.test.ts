// Goal: the store over the built-in Raft keeps every promise of lib/dcs/store.ts, and carries the whole cluster store; also
// while its leader is being killed again and again. Method: the suites shared by all stores, against real members over real
// sockets and disks; some clients ask the member of their own process, some go over the network.

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalMember } from "../../lib/dcs/raft/client/local.ts";
import { raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { seconds } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { serverPorts } from "../harness/ports.ts";
import { killLeaders } from "../harness/raft-leader-kill.ts";
import { RaftMembers } from "../harness/raft-members.ts";
import { recordingLog } from "../harness/recording-log.ts";
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

/** As in production: the member in a thread of its own, the clients on the other side of its port. */
async function openInWorker(): Promise<SuiteBackend> {
  const clock = realClock();
  const folder = mkdtempSync(join(tmpdir(), "raft-"));
  const [port] = await serverPorts(1);
  const entry = new URL("../../lib/runtime/raft-thread.ts", import.meta.url);
  const member = new LocalMember({ entry, clock, log: recordingLog() });
  const config = raftMemberConfig({
    selfAddress: `127.0.0.1:${port}`,
    partnerAddresses: [],
    security: { kind: "password", password: "secret" },
  });
  const started = await member.start(folder, config);
  if (!started.ok) throw new Error(started.error);
  return {
    store: () => new RaftStore({ channel: member, clock, random: (bytes) => randomBytes(bytes) }),
    clock,
    prefix: "conformance",
    minTtl: seconds(1),
    close: async () => {
      await member.stop("clean");
      rmSync(folder, { recursive: true });
    },
  };
}

for (const count of [1, 3, 5]) {
  storeSuite(`raft, members: ${count}`, openRaft(count));
  clusterStoreSuite(`raft, members: ${count}`, openRaft(count));
}

storeSuite("raft, the member in a Worker", openInWorker);
clusterStoreSuite("raft, the member in a Worker", openInWorker);

storeSuite("raft, its leader killed again and again", openUnderKills);
clusterStoreSuite("raft, its leader killed again and again", openUnderKills);
