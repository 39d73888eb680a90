// Owns the shapes around a PgBouncer that follows the cluster: its section of the configuration, and what pooler and leader say to each
// other through the DCS (docs/adr/0008). Their JSON is read and written in lib/dcs/poolers.ts.

import type { PostgresUser } from "./node-config.ts";
import type { Ms, Revision } from "./units.ts";

/** The word with which the worker is started as the guard of its own PAUSE. */
export const GUARD_FLAG = "--resume-guard";

/** From where the users of the pool come; null where PgBouncer's list is none of our business. */
export interface PoolerUsersConfig {
  /** PgBouncer's auth_file. */
  readonly file: string;
  /** Whom to be on the leader to read them. */
  readonly login: PostgresUser;
  readonly database: string;
  /** Answers with the columns usename and passwd; null = all of pg_shadow whose password has not expired. */
  readonly query: string | null;
  readonly intervalMs: Ms;
}

/** The `pgbouncer` section. */
export interface PgbouncerConfig {
  /** This pooler's name in the DCS; null = the machine's. */
  readonly name: string | null;
  /** Where PgBouncer listens: an address, or the folder of its socket. */
  readonly host: string;
  readonly port: number;
  /** Of admin_users. */
  readonly admin: PostgresUser;
  /** The file that pgbouncer.ini includes. */
  readonly databasesFile: string;
  /** Names that lead to the database of the same name on the leader; `*` = every other one. Empty where `template` is set. */
  readonly databases: readonly string[];
  /** Lines with {host}, {port} and {leader}. */
  readonly template: string | null;
  readonly users: PoolerUsersConfig | null;
  readonly pause: "on" | "off";
  /** How long clients may hold a PAUSE up. */
  readonly pauseTimeoutMs: Ms;
  /** How long a PAUSE may last in all. */
  readonly pauseLimitMs: Ms;
  /** What becomes of a switchover for which the pool cannot be paused. */
  readonly pauseFailed: "proceed" | "abandon";
}

/** What a pooler answers to an announced handover. */
export interface PoolerAnswer {
  /** Of the announcement. */
  readonly handover: string;
  readonly paused: boolean;
  /** Why not; "" where it is. */
  readonly why: string;
  /** What the operator of this pooler wants where it is not. */
  readonly wish: "proceed" | "abandon";
}

/** A pooler's key: it stands under the worker's session, and so only while that lives. */
export interface PoolerRecord {
  readonly name: string;
  /** How long at most its answer takes. */
  readonly patienceMs: Ms;
  readonly answer: PoolerAnswer | null;
}

/** The leader is about to stop PostgreSQL and to hand over; the key stands under its session. */
export interface HandoverNotice {
  readonly id: string;
  readonly leader: string;
  readonly session: string | null;
  readonly revision: Revision;
}
