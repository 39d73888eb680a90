// Owns what can happen on a node as others are told it: the union of events. Field names are those of the JSON in GET /events, in JSON
// logs, and on a hook's standard input; nothing in them is a secret.

import type { BackupType } from "./backup-run.ts";

/** On what a decision was made. Positions are written as PostgreSQL does; null where a thing is not known. */
export interface DecisionFacts {
  readonly dcs: "reachable" | "unreachable";
  readonly leader: string | null;
  readonly lock: "ours" | "foreign" | "free" | "unknown";
  /** Of the own lease; null without the lock. */
  readonly lease_remaining_ms: number | null;
  readonly paused: boolean;
  readonly state: string;
  readonly role: "primary" | "replica" | null;
  readonly timeline: number | null;
  readonly wal: string | null;
  /** The position that the leader published last. */
  readonly published_wal: string | null;
  readonly task: string | null;
  /** What was asked for; null where nothing is. */
  readonly request: { readonly leader: string | null; readonly candidate: string | null; readonly scheduled_at: string | null } | null;
  /** The sync key; null where synchronous mode is off. */
  readonly sync: { readonly leader: string | null; readonly standbys: readonly string[]; readonly quorum: number } | null;
  /** Members that were asked in this cycle, and what they said; null where one did not answer. */
  readonly answers: Readonly<Record<string, PeerSaid | null>>;
}

export interface PeerSaid {
  readonly state: string;
  readonly role: string;
  readonly timeline: number | null;
  readonly wal: string | null;
}

export type EventBody =
  | { readonly kind: "supervisor"; readonly what: "started" | "stopping"; readonly version: string }
  /** A rule decided something else than before; `text` is its why. */
  | { readonly kind: "decision"; readonly effect: string; readonly facts: DecisionFacts }
  /** What was decided did not succeed. */
  | { readonly kind: "effect"; readonly effect: string; readonly ok: false }
  /** Work beside the loop has ended: a start, stop, copy, rewind, promotion. */
  | { readonly kind: "task"; readonly task: string; readonly ok: boolean; readonly seconds: number }
  | { readonly kind: "leader"; readonly leader: string | null; readonly former: string | null }
  | { readonly kind: "role"; readonly role: string; readonly former: string | null }
  | { readonly kind: "state"; readonly state: string; readonly former: string | null }
  /** A phase of a takeover by this node has ended; `seconds` since the end of the one before. */
  | {
      readonly kind: "failover";
      readonly phase: "detected" | "lock" | "promoted" | "writable";
      readonly cause: "automatic" | "switchover" | "manual";
      readonly former: string | null;
      readonly seconds: number | null;
    }
  /** Somebody asked for a switchover or failover, or that request is gone (null). */
  | { readonly kind: "request"; readonly request: DecisionFacts["request"] }
  | { readonly kind: "dcs"; readonly reachable: boolean }
  | { readonly kind: "pause"; readonly paused: boolean }
  | { readonly kind: "sync"; readonly leader: string | null; readonly standbys: readonly string[]; readonly quorum: number }
  | { readonly kind: "members"; readonly joined: readonly string[]; readonly left: readonly string[] }
  | { readonly kind: "fencing"; readonly fencing: "armed" | "off" | "lost" }
  | { readonly kind: "raft"; readonly role: string; readonly term: number }
  /** A scheduled one; `node` takes it, or would have. */
  | {
      readonly kind: "backup";
      readonly what: "started" | "done" | "failed" | "lost" | "overdue";
      readonly type: BackupType;
      readonly node: string | null;
      readonly label: string | null;
    };

export type EventKind = EventBody["kind"];

/** In the order of the union; a test holds the two together. */
export const EVENT_KINDS: readonly EventKind[] = [
  "supervisor",
  "decision",
  "effect",
  "task",
  "leader",
  "role",
  "state",
  "failover",
  "request",
  "dcs",
  "pause",
  "sync",
  "members",
  "fencing",
  "raft",
  "backup",
];

export type NodeEvent = {
  /** Unique for ever: `PROCESS-NUMBER`, the number counting up by one. For whoever has to drop what came twice. */
  readonly id: string;
  /** ISO 8601 in UTC, by this node's wall clock. */
  readonly time: string;
  readonly scope: string;
  readonly name: string;
  /** For people: one sentence. */
  readonly text: string;
  /** The rule that decided, or had decided when it happened; null before the first decision. */
  readonly rule: string | null;
} & EventBody;
