// Owns what every file of this folder that writes configuration or runs a PostgreSQL program is handed: plain types.
// Holds no behaviour; the facade builds one per call from the configuration in force.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import type { Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";

export interface PostgresContext {
  readonly config: PostgresqlConfig;
  /** Cluster name: cluster_name of the server, --scope of scripts. */
  readonly scope: string;
  /** This member: application_name of its walreceiver. */
  readonly memberName: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly run: RunProgram;
}

export interface ProgramRequest {
  /** Program and arguments. A name without slash that PostgreSQL ships is looked up in bin_dir (bin_name applied), else in PATH. Never holds a secret. */
  readonly argv: readonly string[];
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** The environment of this process is passed on without what configures us: that holds passwords. PostgreSQL's own programs get it so anyway. */
  readonly withoutSecrets?: boolean;
  readonly cwd?: string;
  /** Written to its standard input, which is then closed; absent = empty. */
  readonly stdin?: string;
  /** Aborted: the program and its children are ended, the answer is `cancelled`. */
  readonly signal?: AbortSignal;
  /** Boot-time instant at which it is ended; the answer is `timeout`. */
  readonly deadline?: Ms;
  /** Each line as it comes; a carriage return ends a line as well (progress displays). */
  readonly onLine?: (line: string, stream: "stdout" | "stderr") => void;
}

export interface ProgramOutcome {
  /** null where a signal ended it. */
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. Any exit status is a success here; errors: failed (cannot be started), cancelled, timeout. */
export type RunProgram = (request: ProgramRequest) => Promise<Result<ProgramOutcome, PostgresError>>;

/** One statement on the local server's kept connection; rows as objects. Errors: unreachable, timeout, failed (message with SQLSTATE). */
export type RunSql = (
  text: string,
  values?: readonly unknown[],
) => Promise<Result<readonly Readonly<Record<string, unknown>>[], PostgresError>>;
