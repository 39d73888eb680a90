// Owns the `upgrade` key: a major upgrade of the whole cluster that an operator asked for, and how far it has come (docs/adr/0007). Plain data.

import type { Lsn, Revision } from "./units.ts";

/**
 * - `check`: every member looks at itself, and says in `checked` what stands against it; nothing else is different from every day.
 * - `stop`: the node stops its primary; the others go on as standbys, so that they get its last WAL.
 * - `drain`: the node has stopped cleanly; a standby that has `checkpoint` says so in `received`, and stops.
 * - `upgrade`: the node puts its directory aside and makes one of the new version in its place, which nobody can connect to yet.
 * - `clone`: the node leads with the new directory; every other member replaces its data with a copy of it.
 * - `failed`: it could not be done; everything waits for an operator.
 * - `undo`: the new directory has never served, and the node puts its old one back.
 * - `done`: over; nobody looks at it any more.
 */
export const UPGRADE_PHASES = ["check", "stop", "drain", "upgrade", "clone", "failed", "undo", "done"] as const;
export type UpgradePhase = (typeof UPGRADE_PHASES)[number];

export type UpgradeMode = "link" | "copy";

export interface UpgradeCheck {
  /** Of the new version's programs there; null where they are not whole. */
  readonly major: number | null;
  /** What stands against the upgrade there; "" where nothing does. */
  readonly against: string;
  /** What does not survive it or has to be thought of there; "" where there is nothing. */
  readonly notes: string;
}

export interface UpgradeRequest {
  readonly revision: Revision;
  /** Names the directories and files that are put aside; letters, digits and dashes. */
  readonly id: string;
  readonly phase: UpgradePhase;
  /** `back`: the old directory takes the place of the new one again, after that has served. */
  readonly direction: "forward" | "back";
  /** The member that upgrades its data, and then leads. */
  readonly node: string;
  readonly mode: UpgradeMode;
  /** 0 until the node has looked, both. */
  readonly fromMajor: number;
  readonly toMajor: number;
  /** Programs of the new version, on every node. */
  readonly binDir: string;
  /** System identifier of the cluster as it was. */
  readonly fromIdentifier: string;
  /** Of the new version's cluster; null until it is made. */
  readonly identifier: string | null;
  /** Words for initdb that make a cluster like the old one; null until the node has looked. */
  readonly initdb: readonly string[] | null;
  /** Start of the shutdown checkpoint that the standbys are to have; null until the node has stopped, or where it made none. */
  readonly checkpoint: Lsn | null;
  /** What each member has found when it looked at itself. */
  readonly checked: Readonly<Record<string, UpgradeCheck>>;
  /** Standbys that have the shutdown checkpoint. */
  readonly received: readonly string[];
  /** Members whose data is a copy of the upgraded. */
  readonly cloned: readonly string[];
  /** The planner's statistics have been made, which pg_upgrade does not carry over. */
  readonly analyzed: boolean;
  /** Why it failed, or how it ended; null where there is nothing to say. */
  readonly message: string | null;
  /** In `check`: the upgrade before, whose record stands in the key again where this one is not begun. Null where there was none. */
  readonly former: FormerUpgrade | null;
}

/** An upgrade that is over, as it stood in the key. */
export type FormerUpgrade = Omit<UpgradeRequest, "revision" | "former">;

/** What an upgrade that is only being asked for would take the place of; null where nothing was ever upgraded. */
export function formerOf(request: UpgradeRequest | null): FormerUpgrade | null {
  if (request === null) return null;
  const { revision: _, former, ...own } = request;
  if (request.phase === "check") return former;
  return request.phase === "done" ? own : null;
}

/** Servers stop, and nobody races: all phases between the question and the end. */
export function isUpgrading(request: UpgradeRequest | null): request is UpgradeRequest {
  return request !== null && request.phase !== "check" && request.phase !== "done";
}

/**
 * Members that had data when everybody looked, and have not said that they have the node's last WAL, sorted; whoever came later has nothing
 * to lose. Empty where nobody needs it: on the way back, and where the node was ended without a shutdown checkpoint.
 */
export function lackingLastWal({ node, direction, checkpoint, checked, received }: UpgradeRequest): readonly string[] {
  if (direction === "back" || checkpoint === null) return [];
  return Object.keys(checked)
    .filter((name) => name !== node && !received.includes(name))
    .sort();
}

/** What stands for a request that cannot be read: nobody knows how far it is, so that it waits for an operator as one that failed. */
export function unreadableUpgrade(revision: Revision): UpgradeRequest {
  return {
    revision,
    id: "unreadable",
    phase: "failed",
    direction: "forward",
    node: "",
    mode: "link",
    fromMajor: 0,
    toMajor: 0,
    binDir: "/unknown",
    fromIdentifier: "0",
    identifier: null,
    initdb: null,
    checkpoint: null,
    checked: {},
    received: [],
    cloned: [],
    analyzed: false,
    former: null,
    message: "the request of an upgrade cannot be read; ctl upgrade --abandon ends it, and the members go on with the data that they have",
  };
}

/** It tells of no upgrade that anybody could go on with. */
export function isUnreadableUpgrade({ phase, node }: Pick<UpgradeRequest, "phase" | "node">): boolean {
  return phase === "failed" && node === "";
}

/** The system identifier of the cluster that serves when it is over; null where that is not made yet. */
export function identifierAfter({ direction, fromIdentifier, identifier }: UpgradeRequest): string | null {
  return direction === "back" ? fromIdentifier : identifier;
}
