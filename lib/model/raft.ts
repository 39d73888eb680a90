// Owns the numbers and names of the Raft: terms, log indexes, member identities. Knows no clock.

import type { Distribution } from "./metric.ts";
import type { Branded } from "./units.ts";

/** A Raft term; 0 before the first election. */
export type Term = Branded<number, "Term">;
/** Position in the replicated log; the first entry has 1, 0 means "before anything". */
export type LogIndex = Branded<number, "LogIndex">;
/** Random 128-bit identity of one data directory, 32 hexadecimal digits; never reused. */
export type MemberId = Branded<string, "MemberId">;
/** Random 128-bit identity of a Raft cluster, 32 hexadecimal digits. */
export type RaftClusterId = Branded<string, "RaftClusterId">;

export function term(value: number): Term {
  return value as Term;
}

export function logIndex(value: number): LogIndex {
  return value as LogIndex;
}

const IDENTITY = /^[0-9a-f]{32}$/;

/** Null unless 32 lower-case hexadecimal digits. */
export function memberId(text: string): MemberId | null {
  return IDENTITY.test(text) ? (text as MemberId) : null;
}

/** Null unless 32 lower-case hexadecimal digits. */
export function raftClusterId(text: string): RaftClusterId | null {
  return IDENTITY.test(text) ? (text as RaftClusterId) : null;
}

/** One member as the configuration knows it: the identity counts, the address is an attribute (`host:port`). */
export interface RaftMember {
  readonly id: MemberId;
  readonly address: string;
}

/** What a node's own member counts, as it last said; for measures, never for decisions. */
export interface MemberFigures {
  readonly state: MemberStanding["state"];
  readonly role: string;
  readonly term: number;
  readonly commit: number;
  readonly applied: number;
  readonly lastIndex: number;
  readonly snapshotIndex: number;
  readonly logBytes: number;
  readonly snapshotBytes: number;
  /** Mean time in ms from handing a write to the disk until it is durable; null before the first. */
  readonly syncMs: number | null;
  /** Seconds that each sync of its log took since it started. */
  readonly fsyncs: Distribution;
  /** How often it stood for election since it started. */
  readonly elections: number;
  readonly voters: number;
  /** Voters that it has a connection with, itself included. */
  readonly votersConnected: number;
}

/** How a node's own member stands, for the status document. */
export interface MemberStanding {
  readonly state: "waiting" | "joining" | "serving";
  readonly role: string;
  readonly term: number;
  /** Address of the member that leads; null where it knows none. */
  readonly leader: string | null;
}
