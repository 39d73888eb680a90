// Owns every call of pgBackRest: what the repository holds, a stanza that fits the database, a restore into the data directory.
// Decides neither when nor on which node.

import * as v from "valibot";
import type { Backup, BackupListing } from "../model/backup.ts";
import type { BackupType } from "../model/backup-run.ts";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { PgBackRestConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { ProgramOutcome, RunProgram } from "./context.ts";
import { lastLines } from "./program-output.ts";

/** `check` waits a minute for a segment (archive-timeout), and a repository may be far away. */
export const STANZA_STEP_MAX_MS = 180_000;

/**
 * What `check` answers where the stanza is not there, and where it is that of another database: of another version, or of one with
 * another identifier. Source: the exit statuses of pgBackRest 2.45, seen by doing each.
 */
const STANZA_MISSING = 55;
const STANZA_OF_ANOTHER: ReadonlySet<number> = new Set([28, 44]);

export interface PgBackRest {
  readonly config: PgBackRestConfig;
  readonly run: RunProgram;
  readonly clock: Clock;
}

/** What was done: nothing but the check, or a stanza made or fitted to the database. */
export type StanzaOutcome = "checked" | "created" | "upgraded";

/** Words of a call: `pgbackrest [--config=FILE] --stanza=NAME OPTIONS COMMAND`. */
export function pgbackrestCommand(config: PgBackRestConfig, words: readonly string[]): readonly string[] {
  return [config.command, ...(config.config === null ? [] : [`--config=${config.config}`]), `--stanza=${config.stanza}`, ...words];
}

/** What the repository holds. Errors: failed, timeout, cancelled. */
export async function listBackups(parts: PgBackRest, deadline: Ms): Promise<Result<BackupListing, PostgresError>> {
  const done = await call(parts, ["--output=json", "info"], { deadline });
  if (!done.ok) return done;
  if (done.value.exitCode !== 0) return failed("info", done.value);
  return readListing(done.value.stdout, parts.config.stanza);
}

/**
 * Makes the repository ready for this database: `check`, and where its exit status says so `stanza-create` or `stanza-upgrade`, and
 * `check` again. Can be repeated. PostgreSQL has to run as primary. Errors: failed, timeout.
 */
export async function keepStanza(parts: PgBackRest, say: (text: string) => void): Promise<Result<StanzaOutcome, PostgresError>> {
  const step = async (command: string) => await call(parts, [command], { deadline: ms(parts.clock.now() + STANZA_STEP_MAX_MS) });
  const first = await step("check");
  if (!first.ok) return first;
  const { exitCode } = first.value;
  if (exitCode === 0) return ok("checked");
  const missing = exitCode === STANZA_MISSING;
  if (!missing && !STANZA_OF_ANOTHER.has(exitCode ?? 0)) return failed("check", first.value);
  const command = missing ? "stanza-create" : "stanza-upgrade";
  say(`pgbackrest check ended with ${exitCode}: ${command}`);
  for (const next of [command, "check"]) {
    const done = await step(next);
    if (!done.ok) return done;
    if (done.value.exitCode !== 0) return failed(next, done.value);
  }
  return ok(missing ? "created" : "upgraded");
}

export interface BackupOptions {
  readonly type: BackupType;
  /** `standby`: pgBackRest has to find the primary in its own configuration, and copies from a standby. */
  readonly from: "standby" | "primary";
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string>>;
  readonly say: (text: string) => void;
}

/** Takes one backup, and has pgBackRest expire the old ones. Errors: failed, cancelled. */
export async function takeBackup(parts: PgBackRest, options: BackupOptions): Promise<Result<null, PostgresError>> {
  const { env, from, say: onLine, signal, type } = options;
  const words = [`--type=${type}`, `--backup-standby=${from === "standby" ? "y" : "n"}`, "backup"];
  const done = await call(parts, words, { signal, env, onLine });
  if (!done.ok) return done;
  return done.value.exitCode === 0 ? ok(null) : failed("backup", done.value);
}

export interface RestoreOptions {
  readonly dataDir: string;
  readonly label: string;
  /** Files that fit the backup already stay. */
  readonly delta: boolean;
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
  readonly say?: (text: string) => void;
}

/** Puts one backup into the data directory, without settings of recovery: whoever starts it writes those. Errors: failed, cancelled. */
export async function restoreBackup(parts: PgBackRest, options: RestoreOptions): Promise<Result<null, PostgresError>> {
  const { dataDir, label, delta, say } = options;
  const words = [`--pg1-path=${dataDir}`, `--set=${label}`, "--type=none", ...(delta ? ["--delta"] : []), "restore"];
  const done = await call(parts, words, {
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(say === undefined ? {} : { onLine: say }),
  });
  if (!done.ok) return done;
  return done.value.exitCode === 0 ? ok(null) : failed("restore", done.value);
}

async function call(
  { config, run }: PgBackRest,
  words: readonly string[],
  how: Omit<Parameters<RunProgram>[0], "argv">,
): Promise<Result<ProgramOutcome, PostgresError>> {
  return await run({ argv: pgbackrestCommand(config, words), withoutSecrets: true, ...how });
}

function failed(command: string, { exitCode, stdout, stderr }: ProgramOutcome): Result<never, PostgresError> {
  const text = lastLines(stderr) || lastLines(stdout);
  return err({ kind: "failed", message: `pgbackrest ${command} ended with exit status ${exitCode ?? "of a signal"}: ${text}` });
}

const BACKUP = v.object({
  label: v.string(),
  type: v.picklist(["full", "diff", "incr"]),
  timestamp: v.object({ start: v.number(), stop: v.number() }),
  info: v.object({ size: v.number(), repository: v.object({ delta: v.number() }) }),
  archive: v.optional(v.object({ start: v.nullish(v.string(), null), stop: v.nullish(v.string(), null) }), { start: null, stop: null }),
  prior: v.nullish(v.string(), null),
  error: v.nullish(v.boolean(), false),
  database: v.object({ id: v.number() }),
});

// As text: a system identifier has more digits than a number keeps.
const DATABASE = v.object({ id: v.number(), "system-id": v.string() });

const STANZA = v.object({
  name: v.string(),
  status: v.object({
    code: v.number(),
    message: v.string(),
    lock: v.optional(v.object({ backup: v.object({ held: v.boolean() }) })),
  }),
  backup: v.array(BACKUP),
  archive: v.array(
    v.object({ database: v.object({ id: v.number() }), min: v.nullish(v.string(), null), max: v.nullish(v.string(), null) }),
  ),
  db: v.array(DATABASE),
});

/** `pgbackrest --output=json info`. Errors: failed (it is not what pgBackRest prints, or names another stanza). */
export function readListing(text: string, stanza: string): Result<BackupListing, PostgresError> {
  const parsed = v.safeParse(v.array(STANZA), parseJson(text));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const path = issue === undefined ? "" : (v.getDotPath(issue) ?? "");
    return err({ kind: "failed", message: `pgbackrest info printed something else than it should${path === "" ? "" : ` (${path})`}` });
  }
  const found = parsed.output.find(({ name }) => name === stanza);
  if (found === undefined) return err({ kind: "failed", message: `pgbackrest info says nothing of stanza ${stanza}` });
  const identifierOf = new Map(found.db.map((db) => [db.id, db["system-id"]]));
  const newest = Math.max(...found.db.map(({ id }) => id));
  const archive = found.archive.find(({ database, min, max }) => database.id === newest && min !== null && max !== null);
  return ok({
    stanza,
    status: { code: found.status.code, message: found.status.message },
    running: found.status.lock?.backup.held ?? false,
    backups: found.backup.map((backup) => toBackup(backup, identifierOf)),
    archive: archive === undefined ? null : { first: archive.min ?? "", last: archive.max ?? "" },
  });
}

function toBackup(backup: v.InferOutput<typeof BACKUP>, identifierOf: ReadonlyMap<number, string>): Backup {
  return {
    label: backup.label,
    type: backup.type,
    startedAt: backup.timestamp.start,
    stoppedAt: backup.timestamp.stop,
    databaseBytes: backup.info.size,
    repositoryBytes: backup.info.repository.delta,
    walStart: backup.archive.start,
    walStop: backup.archive.stop,
    prior: backup.prior,
    damaged: backup.error,
    systemIdentifier: identifierOf.get(backup.database.id) ?? null,
  };
}

function parseJson(text: string): unknown {
  try {
    // System identifiers have more digits than a number keeps: they are read as the text that they are.
    return JSON.parse(text.replace(/("system-id"\s*:\s*)(\d+)/g, '$1"$2"'));
  } catch {
    return null;
  }
}
