// Owns what the raft commands ask of members: one question to one address, or to whoever leads. Retries nothing; an answer that
// names the leader is followed, once for each member at most.

import type { ClientAnswer, ClientRequest, RaftStatus } from "../../dcs/raft/kv/client-protocol.ts";
import type { Ms } from "../../model/units.ts";

/** `silent`: nobody answered at that address in time, and why. */
export type Heard = ClientAnswer | { readonly kind: "silent"; readonly reason: string };

/** One way to ask members; lib/cli/raft/members-link.ts has the real one. */
export interface MembersLink {
  /** Rejects never. */
  ask(address: string, request: ClientRequest, deadline: Ms): Promise<Heard>;
  close(): Promise<void>;
}

export interface AskedMember {
  readonly address: string;
  readonly heard: Heard;
}

/** Every address, and every member that an answer names, asked for its own status; in the order of the addresses. */
export async function askEveryone(link: MembersLink, addresses: readonly string[], deadline: Ms): Promise<readonly AskedMember[]> {
  const asked = new Map<string, Promise<AskedMember>>();
  const askNew = (some: readonly string[]): Promise<readonly AskedMember[]> => {
    for (const address of some) {
      if (asked.has(address)) continue;
      asked.set(
        address,
        link.ask(address, { kind: "status" }, deadline).then((heard) => ({ address, heard })),
      );
    }
    return Promise.all(asked.values());
  };
  const first = await askNew(addresses);
  const named = first.flatMap(({ heard }) => (heard.kind === "status" ? heard.status.members.map(({ address }) => address) : []));
  // What one address is called from here may not be what the members call it: the same member is shown once.
  const byId = new Map<string, AskedMember>();
  const silent: AskedMember[] = [];
  for (const member of await askNew(named)) {
    if (member.heard.kind !== "status") silent.push(member);
    else byId.set(`${member.heard.status.member.id} ${member.heard.status.member.address}`, member);
  }
  return [...byId.values(), ...silent].sort((a, b) => (a.address < b.address ? -1 : 1));
}

/** Asks the leader, through whoever answers first. Where nobody does: the last that was heard. */
export async function askLeader(
  link: MembersLink,
  options: { readonly addresses: readonly string[]; readonly request: ClientRequest; readonly deadline: Ms },
): Promise<AskedMember> {
  const waiting = [...options.addresses];
  const tried = new Set<string>();
  let last: AskedMember = { address: "", heard: { kind: "silent", reason: "no member is named" } };
  for (let address = waiting.shift(); address !== undefined; address = waiting.shift()) {
    if (tried.has(address)) continue;
    tried.add(address);
    const heard = await link.ask(address, options.request, options.deadline);
    // Who certainly did nothing may be followed by another; an unknown outcome is the operator's to judge.
    if (heard.kind !== "silent" && heard.kind !== "not-leader") return { address, heard };
    if (last.heard.kind !== "not-leader" || heard.kind === "not-leader") last = { address, heard };
    if (heard.kind === "not-leader" && heard.leader !== null) waiting.unshift(heard.leader.address);
  }
  return last;
}

/** The statuses among the answers. */
export function statusesOf(asked: readonly AskedMember[]): readonly RaftStatus[] {
  return asked.flatMap(({ heard }) => (heard.kind === "status" ? [heard.status] : []));
}

/** What an answer that is none of the wanted means, for a person. */
export function describeHeard({ address, heard }: AskedMember): string {
  switch (heard.kind) {
    case "silent":
      return `no member answers: ${address === "" ? "" : `${address}: `}${heard.reason}`;
    case "not-leader":
      return heard.leader === null ? "the Raft has no leader now" : `${heard.leader.address} leads, and does not answer here`;
    case "unavailable":
      return `not done: ${heard.reason}`;
    case "unknown-outcome":
      return `not confirmed, it may still happen: ${heard.reason}`;
    case "refused":
      return `refused: ${heard.reason}`;
    default:
      return `${address} gave an answer of another kind: ${heard.kind}`;
  }
}
