// Owns the rows of the built-in Raft that no other system has: a client in the member's own process, as in a supervisor.

import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { LocalMember } from "../../lib/dcs/raft/client/local.ts";
import { raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../lib/dcs/raft/member/node.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import { ms } from "../../lib/model/units.ts";
import { manyWriters, oneByOne, type Reading, spread, WRITERS } from "./raft-load.ts";
import {
  clock,
  leaderOf,
  log,
  Member,
  memberAddresses,
  must,
  OurClient,
  PLAIN,
  random,
  remote,
  statusAt,
  THREAD_ENTRY,
} from "./raft-ours.ts";
import { found, REQUEST_BUDGET_MS } from "./raft-system.ts";
import { memoryOf, threadTime } from "./rest.ts";

export interface OwnRow {
  readonly title: string;
  readonly reach: string;
  readonly reading: Reading;
}

interface OwnRun {
  readonly writes: number;
  readonly folder: string;
}

/** Until what the writes left behind is collected. */
const SETTLE_MS = 20_000;

export async function ownRows(run: OwnRun): Promise<readonly OwnRow[]> {
  return [...(await oneThread(run)), ...(await ownThread(run)), await addedMemory(run)];
}

/** All three members and the client on one event loop: the least that the code costs. */
async function oneThread(run: OwnRun): Promise<readonly OwnRow[]> {
  const addresses = await memberAddresses();
  const nodes = await Promise.all(addresses.map((address) => startHere(address, addresses, run.folder)));
  const leader = await found("a member leads", () => nodes.find((node) => node.status().role === "leader" && node.status().applied > 0));
  const client = new OurClient(leader);
  const sequential = await oneByOne(client);
  const many = await manyWriters(client, run);
  const processor = await manyWriters(client, run, threadTime);
  await Promise.all(nodes.map((node) => node.stop("immediate")));
  return [
    { title: "sequential commit, three members in one thread, p50", reach: "≤ 0.7 ms", reading: sequential },
    { title: `${WRITERS} writers, three members in one thread`, reach: "≥ 20,000/s, p99 ≤ 5 ms", reading: many },
    { title: "the same, counted in processor time of that thread", reach: "p99 ≤ 5 ms", reading: processor },
  ];
}

/** The member of this process in a thread of its own, the others as processes: what a supervisor has. */
async function ownThread(run: OwnRun): Promise<readonly OwnRow[]> {
  const addresses = await memberAddresses();
  const [own, ...rest] = addresses as [string, ...string[]];
  const others = membersIn(run, rest, addresses);
  const local = new LocalMember({ entry: THREAD_ENTRY, clock, log });
  try {
    const config = raftMemberConfig({ selfAddress: own, partnerAddresses: rest, security: PLAIN });
    must(await local.start(mkdtempSync(join(run.folder, "member-")), config));
    await Promise.all(others.map((member) => member.start()));
    return await throughOwn(run, new OurClient(local), { own, other: rest[0] as string });
  } finally {
    await local.stop("immediate");
    await endAll(others);
  }
}

async function throughOwn(
  run: OwnRun,
  client: OurClient,
  at: { readonly own: string; readonly other: string },
): Promise<readonly OwnRow[]> {
  const lead = async (address: string): Promise<void> => {
    await found(`${address} leads`, async () => {
      const leader = (await statusAt(at.own))?.leader?.address;
      if (leader === address) return true;
      if (leader !== undefined) await transfer(leader, address);
      return undefined;
    });
  };
  await lead(at.own);
  const leading = { sequential: await oneByOne(client), many: await manyWriters(client, run) };
  await lead(at.other);
  const following = { sequential: await oneByOne(client), many: await manyWriters(client, run) };
  return [
    { title: "sequential commit through the own member, which leads, p50", reach: "≤ 0.7 ms", reading: leading.sequential },
    { title: `${WRITERS} writers through the own member, which leads`, reach: "≥ 20,000/s, p99 ≤ 5 ms", reading: leading.many },
    { title: "sequential commit through the own member, which follows, p50", reach: "–", reading: following.sequential },
    { title: `${WRITERS} writers through the own member, which follows`, reach: "–", reading: following.many },
  ];
}

/** Only the leader can hand over. */
async function transfer(leader: string, to: string): Promise<void> {
  const client = remote([leader]);
  await client.request({ kind: "transfer", to }, ms(clock.now() + REQUEST_BUDGET_MS));
  client.close();
}

/** Of a thread in a process that has none before: after some thousand writes, at rest. */
async function addedMemory(run: OwnRun): Promise<OwnRow> {
  const addresses = await memberAddresses();
  const members = membersIn(run, addresses, addresses);
  try {
    await Promise.all(members.map((member) => member.start()));
    await leaderOf(members);
    const channel = remote(addresses);
    const client = new OurClient(channel, () => channel.close());
    await oneByOne(client);
    await client.close();
    await Bun.sleep(SETTLE_MS);
    const added = members.map((member) => memoryOf([member.pid]).pss - member.beforeMiB);
    return { title: "memory that a member adds to its process (PSS)", reach: "≤ 20 MiB", reading: spread(added, "MiB") };
  } finally {
    await endAll(members);
  }
}

function membersIn(run: OwnRun, wanted: readonly string[], addresses: readonly string[]): readonly Member[] {
  return wanted.map((address) => new Member({ address, addresses, folder: mkdtempSync(join(run.folder, "member-")), shape: "thread" }));
}

/** Whatever became of the rows: no process outlives them. */
async function endAll(members: readonly Member[]): Promise<void> {
  await Promise.all(members.map((member) => member.end()));
}

async function startHere(selfAddress: string, addresses: readonly string[], folder: string): Promise<RaftMemberNode> {
  const disk = openFileDisk(mkdtempSync(join(folder, "member-")));
  if (!disk.ok) throw disk.error;
  const partnerAddresses = addresses.filter((address) => address !== selfAddress);
  const config = raftMemberConfig({ selfAddress, partnerAddresses, security: PLAIN });
  const network = tcpNetwork({ clock, security: PLAIN, log });
  const node = new RaftMemberNode({ disk: disk.value, network, clock, random, log, config });
  must(await node.start());
  return node;
}
