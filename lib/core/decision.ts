// Owns the decision: which one effect to perform next, and why. Effects are performed in lib/runtime/perform.ts.

import type { FollowTarget } from "../model/postgres.ts";
import type { RestorePhase } from "../model/restore.ts";
import type { LogicalSlot, SlotAction } from "../model/slots.ts";
import type { Lsn, Ms } from "../model/units.ts";
import type { UpgradePhase } from "../model/upgrade.ts";

/** Of the leader of a standby cluster, or of anybody else. */
export type StandbyRole = "standby" | "standby_leader";

export type RestoreStep = "forward" | "back" | "settle";

export type Effect =
  /** End of the cycle; look again at the instant, or when an event wakes the loop: with `watch`, also a change among the standbys.
   * `toldEvery`: how often its reason is told while it stays the same; once a loop_wait without it. */
  | { readonly kind: "wait"; readonly until: Ms; readonly watch?: "standbys"; readonly toldEvery?: Ms }
  /** The process ends; PostgreSQL is left as it is. */
  | { readonly kind: "exit"; readonly code: number; readonly message: string }
  // The DCS
  | { readonly kind: "renew-lock" }
  | { readonly kind: "acquire-lock" }
  | { readonly kind: "release-lock" }
  | { readonly kind: "claim-initialize" }
  | { readonly kind: "cancel-initialize" }
  | { readonly kind: "write-initialize" }
  | { readonly kind: "write-config" }
  | { readonly kind: "write-sync"; readonly leader: string | null; readonly standbys: readonly string[]; readonly quorum: number }
  /** Publishes that this member is no more to be waited for. */
  | { readonly kind: "ask-release" }
  /** The next phase of a restore or an upgrade of the cluster; only over the phase that was seen. */
  | { readonly kind: "write-restore"; readonly of: "restore"; readonly phase: RestorePhase }
  | { readonly kind: "write-restore"; readonly of: "upgrade"; readonly phase: UpgradePhase }
  | { readonly kind: "clear-failover" }
  | { readonly kind: "write-history" }
  | { readonly kind: "leave" }
  // Questions
  | { readonly kind: "ask-peers"; readonly names: readonly string[] }
  | { readonly kind: "ask-old-leader" }
  /** As the primary, all members of the failsafe key: may this node go on without the DCS? ok: every one of them agrees. */
  | { readonly kind: "ask-failsafe"; readonly slots: Readonly<Record<string, Lsn>> }
  | { readonly kind: "read-control" }
  // PostgreSQL, done within the cycle
  | { readonly kind: "follow"; readonly target: FollowTarget | null; readonly role: StandbyRole }
  /** null: what the operator's own parameters say. */
  | { readonly kind: "set-sync-names"; readonly value: string | null }
  | {
      readonly kind: "sync-slots";
      readonly actions: readonly SlotAction[];
      readonly text: string;
      readonly seen: ReadonlySet<string>;
      readonly errors: readonly string[];
    }
  | { readonly kind: "resume-replay" }
  // PostgreSQL, beside the loop: completion is an event
  | { readonly kind: "bootstrap" }
  /** The standby leader of a new standby cluster; null: from an archive alone. */
  | { readonly kind: "bootstrap-standby"; readonly target: FollowTarget | null }
  /** `from` in words; null: by methods that need nobody. `follow`: where the copy then gets its WAL. */
  | {
      readonly kind: "clone";
      readonly target: FollowTarget | null;
      readonly methods: "members" | "remote" | "basebackup";
      readonly from: string | null;
      readonly follow: FollowTarget | null;
      readonly clear: boolean;
      /** The restore or the upgrade of the cluster that it belongs to, by its id: a base backup of the leader, made known there before it is started. */
      readonly restore?: string;
    }
  /** Of a restore or an upgrade. `forward`: the directory aside, another in its place. `back`: the old directory again. `settle`: what was left of a way back. */
  | { readonly kind: "restore"; readonly step: RestoreStep }
  /** `leader`: whose history decides; the remote primary of a standby cluster has a name of its own (replication-source.ts). */
  | { readonly kind: "plan-rejoin"; readonly target: FollowTarget; readonly leader: string; readonly leaderSession: string | null }
  /** After a clean recovery in single-user mode, where the server had crashed. */
  | { readonly kind: "rewind"; readonly target: FollowTarget }
  | {
      readonly kind: "start";
      readonly role: "primary" | StandbyRole;
      readonly target: FollowTarget | null;
      readonly syncNames: string | null;
    }
  /** `syncNames`: what a primary waits for from its first commit on, where nobody has seen what it waits for now. */
  | { readonly kind: "restart"; readonly syncNames: string | null }
  /** Copies logical slots of the primary into this standby, with a restart. */
  | { readonly kind: "copy-slots"; readonly source: FollowTarget; readonly slots: readonly LogicalSlot[] }
  /** The operator's own check, which may veto the promotion: then the lock is released. */
  | { readonly kind: "pre-promote" }
  | { readonly kind: "promote"; readonly syncNames: string | null }
  /** `archive`: for whoever lives from the archive and leads next, down to the shutdown checkpoint. */
  | { readonly kind: "stop"; readonly mode: "fast" | "immediate"; readonly within: Ms; readonly archive?: true }
  /** Stop with a checkpoint first, then release the lock as soon as a standby has the shutdown checkpoint. */
  | { readonly kind: "hand-over"; readonly within: Ms }
  | { readonly kind: "abort-task" };

export type EffectKind = Effect["kind"];

export interface Decision {
  readonly rule: string;
  readonly why: string;
  readonly effect: Effect;
}
