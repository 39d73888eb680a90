// Owns the files that configure the server: postgresql.conf (with postgresql.base.conf included first), pg_hba.conf,
// pg_ident.conf, the signal files and the pgpass file. It never starts, reloads or asks a server.

import type { ConfigFault, PostgresError } from "../model/errors.ts";
import type { ControlData, FollowTarget } from "../model/postgres.ts";
import type { Result } from "../model/result.ts";
import { err } from "../model/result.ts";
import type { PostgresContext } from "./context.ts";

export interface ConfigFilesRequest {
  readonly role: "primary" | "replica" | "standby_leader";
  /** Source of a standby; null = none. Not looked at for a primary. */
  readonly follow: FollowTarget | null;
  /** Value of synchronous_standby_names in the written file; null = empty. */
  readonly synchronousStandbyNames: string | null;
  /** Of a stopped standby: parameters below what the primary had are raised, or it would not start. null = unknown or not needed. */
  readonly controlData: ControlData | null;
  /** Of the data directory, e.g. 15. */
  readonly majorVersion: number;
  /** Custom bootstrap: recovery settings in place of those of a standby, with recovery.signal. */
  readonly recoverySettings?: Readonly<Record<string, string | number | boolean>>;
  /** Custom bootstrap with keep_existing_recovery_conf: signal files are left as they are. */
  readonly keepSignalFiles?: boolean;
}

export interface WrittenConfig {
  /** Paths whose content changed; empty = nothing to reload. */
  readonly changed: readonly string[];
  /** For the postmaster's command line, after the program name: -D, config_file and the controlled parameters. */
  readonly serverArguments: readonly string[];
  /** What the files ask for, controlled parameters included. */
  readonly wanted: Readonly<Record<string, string>>;
  /** Parameters that were dropped (unknown to the version, or of a value that it refuses). */
  readonly faults: readonly ConfigFault[];
}

/**
 * Brings all files to what the role needs; each is replaced atomically, and only where its content differs.
 * Settings in postgresql.auto.conf that would win over controlled ones are removed. Errors: failed (path and reason).
 */
export async function writeConfigFiles(
  context: PostgresContext,
  request: ConfigFilesRequest,
): Promise<Result<WrittenConfig, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${request.role}` });
}
