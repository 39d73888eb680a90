// Owns configurations: their encoding in the log, who belongs to one, and what a majority of one is (joint consensus:
// a majority of both sets). Pure. Source: Ongaro, section 4.3.

import { type MemberId, memberId, type RaftMember } from "../../../model/raft.ts";
import type { Configuration, Learner } from "./types.ts";

/** Raft design: 1 to 9 members. */
export const VOTERS_MAX = 9;
/** Learners on their way in, and those that stay (readers). */
export const LEARNERS_MAX = 9;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The first configuration of a cluster, in force from index 0. */
export function foundingConfiguration(members: readonly RaftMember[]): Configuration {
  return { voters: members.map(({ id, address }) => ({ id, address })), outgoing: null, learners: [] };
}

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  return encoder.encode(JSON.stringify(configuration));
}

/** Throws Error where the bytes are no configuration: the log is checked by its sums, so this is a broken invariant. */
export function decodeConfiguration(bytes: Uint8Array): Configuration {
  const parsed: unknown = JSON.parse(decoder.decode(bytes));
  const configuration = readConfiguration(parsed);
  if (configuration === null) throw new Error("an entry of the log is no configuration");
  return configuration;
}

/** Null unless the value has the shape of a configuration, within the bounds. */
export function readConfiguration(value: unknown): Configuration | null {
  if (!isRecord(value)) return null;
  const voters = readMembers(value["voters"], VOTERS_MAX);
  const outgoing = value["outgoing"] === null ? null : readMembers(value["outgoing"], VOTERS_MAX);
  const learners = readLearners(value["learners"]);
  if (voters === null || voters.length === 0 || learners === null) return null;
  if (outgoing === null && value["outgoing"] !== null) return null;
  return { voters, outgoing, learners };
}

/** Counts for elections and commits, in either set. */
export function isVoter(configuration: Configuration, id: MemberId): boolean {
  return contains(configuration.voters, id) || (configuration.outgoing !== null && contains(configuration.outgoing, id));
}

/** Every member that receives the log, each once, in a fixed order. */
export function everyMember(configuration: Configuration): readonly RaftMember[] {
  const all: RaftMember[] = [...configuration.voters];
  for (const member of [...(configuration.outgoing ?? []), ...configuration.learners]) if (!contains(all, member.id)) all.push(member);
  return all;
}

/**
 * Whom to seek at its address: not who is being replaced there, because who takes its place answers by then. Should it come back, it
 * dials the others itself.
 */
export function membersToDial(configuration: Configuration): readonly RaftMember[] {
  const { voters, outgoing, learners } = configuration;
  const newcomers = [...voters.filter(({ id }) => outgoing !== null && !contains(outgoing, id)), ...learners];
  const isTakenOver = ({ id, address }: RaftMember): boolean => newcomers.some((other) => other.address === address && other.id !== id);
  return everyMember(configuration).filter((member) => contains(newcomers, member.id) || !isTakenOver(member));
}

export function findMember(configuration: Configuration, id: MemberId): RaftMember | null {
  return everyMember(configuration).find((member) => member.id === id) ?? null;
}

/** Whether the members that pass the test are a majority of the voters, and of those before the change while one is under way. */
export function isQuorum({ voters, outgoing }: Configuration, test: (id: MemberId) => boolean): boolean {
  return isMajority(voters, test) && (outgoing === null || isMajority(outgoing, test));
}

/** Who counts, in the order of a configuration. */
export interface Counted<T> {
  readonly voters: readonly T[];
  readonly outgoing: readonly T[] | null;
}

/** The greatest value that a majority of each set has reached; null among them is the member itself, which has reached `own`. */
export function quorumValue<T>({ voters, outgoing }: Counted<T | null>, own: number, reachedBy: (one: T) => number): number {
  const reached = majorityValue(voters, own, reachedBy);
  return outgoing === null ? reached : Math.min(reached, majorityValue(outgoing, own, reachedBy));
}

function isMajority(set: readonly RaftMember[], test: (id: MemberId) => boolean): boolean {
  let passing = 0;
  for (const { id } of set) if (test(id)) passing++;
  return passing * 2 > set.length;
}

/** Of each step of a leader: nothing is allocated. */
function majorityValue<T>(set: readonly (T | null)[], own: number, reachedBy: (one: T) => number): number {
  const count = set.length;
  for (let place = 0; place < count; place++) {
    const one = set[place] as T | null;
    const value = one === null ? own : reachedBy(one);
    let at = place;
    for (; at > 0 && (DESCENDING[at - 1] as number) < value; at--) DESCENDING[at] = DESCENDING[at - 1] as number;
    DESCENDING[at] = value;
  }
  return DESCENDING[count >> 1] as number;
}

const DESCENDING = new Float64Array(VOTERS_MAX);

export function contains(members: readonly RaftMember[], id: MemberId): boolean {
  for (const member of members) if (member.id === id) return true;
  return false;
}

function readMembers(value: unknown, most: number): readonly RaftMember[] | null {
  if (!Array.isArray(value) || value.length > most) return null;
  const members: RaftMember[] = [];
  for (const item of value) {
    const member = readMember(item);
    if (member === null || contains(members, member.id)) return null;
    members.push(member);
  }
  return members;
}

function readLearners(value: unknown): readonly Learner[] | null {
  if (!Array.isArray(value) || value.length > LEARNERS_MAX) return null;
  const learners: Learner[] = [];
  for (const item of value) {
    const member = readMember(item);
    const replaces: unknown = isRecord(item) ? item["replaces"] : undefined;
    const replaced = typeof replaces === "string" ? memberId(replaces) : null;
    if (member === null || (replaces !== null && replaced === null)) return null;
    learners.push({ ...member, replaces: replaced });
  }
  return learners;
}

function readMember(value: unknown): RaftMember | null {
  if (!isRecord(value) || typeof value["id"] !== "string" || typeof value["address"] !== "string") return null;
  const id = memberId(value["id"]);
  return id === null ? null : { id, address: value["address"] };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
