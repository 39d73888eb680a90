// Owns what the groups of an MPP cluster (Citus) tell each other, and the rows of the coordinator's pg_dist_node. Plain data.
// Source: Patroni's documentation, "Citus support"; Citus' documentation, "Citus Tables and Views" and "Citus Utility Functions".

import { err, ok, type Result } from "./result.ts";
import { type Ms, seconds } from "./units.ts";

/** The group whose primary plans the queries; all others are workers. */
export const COORDINATOR_GROUP = 0;

/** Above it somebody has written keys by mistake: the rest is left out. */
export const MPP_GROUPS_MAX = 256;

export const MPP_EVENT_TYPES = ["before_demote", "before_promote", "after_promote"] as const;
export type MppEventType = (typeof MPP_EVENT_TYPES)[number];

/** What the leader of a worker group tells the coordinator's leader: POST /citus, POST /mpp. */
export interface MppEvent {
  readonly type: MppEventType;
  readonly group: number;
  /** The member that is about to stop, or to be promoted, or has been. */
  readonly leader: string;
  /** How long the group's queries may be held. */
  readonly timeoutMs: Ms;
  /** How long queries under way may go on before they are ended. */
  readonly cooldownMs: Ms;
}

/** A row of pg_dist_node. */
export interface DistNode {
  readonly nodeId: number;
  readonly group: number;
  readonly host: string;
  readonly port: number;
  /** primary, secondary or unavailable. */
  readonly role: string;
}

/** What an MPP cluster (Citus) is told before its primary changes. */
export interface PrimaryChanges {
  /** The primary is about to stop. Resolves when its queries are held, or cannot be; at the latest at the deadline or when the signal aborts. */
  beforeDemote(deadline: Ms, signal: AbortSignal): Promise<void>;
  /** This standby is about to be promoted. Told beside the promotion: it waits for nobody. */
  beforePromote(): void;
}

/** Longer than every ttl in use: more than that is a slip in the unit. */
const EVENT_SECONDS_MAX = 24 * 3600;

/** Longer than any member's name. */
const NAME_MAX = 255;

/** Errors: one line about the field that is wrong. */
export function readMppEvent(body: Readonly<Record<string, unknown>>): Result<MppEvent, string> {
  const { type, group, leader, timeout, cooldown } = body;
  const known = MPP_EVENT_TYPES.find((name) => name === type);
  if (known === undefined) return err(`type is not one of ${MPP_EVENT_TYPES.join(", ")}`);
  if (typeof group !== "number" || !Number.isSafeInteger(group) || group < 0) return err("group is not a whole number from 0 on");
  if (typeof leader !== "string" || leader === "" || leader.length > NAME_MAX) return err("leader is not a member's name");
  if (!isDuration(timeout)) return err("timeout is not a positive number of seconds");
  if (!isDuration(cooldown)) return err("cooldown is not a positive number of seconds");
  return ok({ type: known, group, leader, timeoutMs: seconds(timeout), cooldownMs: seconds(cooldown) });
}

function isDuration(value: unknown): value is number {
  return typeof value === "number" && value > 0 && value <= EVENT_SECONDS_MAX;
}
