// Owns the making of a replica by copying: the configured methods in their order. Does not start what it made.

import type { PostgresError } from "../model/errors.ts";
import type { CopyProgress, FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { reasonOf } from "./atomic-file.ts";
import { programConninfo, scriptConninfo } from "./conninfo.ts";
import type { PostgresContext } from "./context.ts";
import { inspectDataDirectory } from "./data-directory.ts";
import { whileMaking } from "./making-directory.ts";
import { endLeftoverMakers, makingEnvironment } from "./making-processes.ts";
import { isEnabled, longOptions, methodCommand } from "./method-command.ts";
import { copyProgress, lastLines, stepProgress, withReason } from "./program-output.ts";
import { emptyDataDirectory } from "./remove-data-directory.ts";
import { BASEBACKUP, keepsData, type ReplicaMethod, usableMethods } from "./replica-methods.ts";
import { secretEnvironment } from "./secret-environment.ts";

export interface CloneOptions {
  /** null: only methods with no_leader are tried. */
  readonly source: FollowTarget | null;
  readonly methods: "members" | "remote" | "basebackup";
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
  readonly copied?: (progress: CopyProgress) => void;
}

/**
 * Fills an absent, empty or half-made directory from `source` by the first method that succeeds; a `valid` directory is
 * accepted where a method with keep_data comes first. Aborted: the child is ended and the marker stays.
 * Errors: refused (directory in use), failed (every method's reason), cancelled.
 */
export async function cloneReplica(context: PostgresContext, options: CloneOptions): Promise<Result<null, PostgresError>> {
  const methods = usableMethods(context.config, { of: options.methods, hasSource: options.source !== null });
  if (methods.length === 0)
    return err({ kind: "failed", message: "no method to make a replica works without a running member to copy from" });
  return await whileMaking(context, { making: "clone", keepValid: keepsData(methods) }, async () => {
    const reasons: string[] = [];
    for (const [index, method] of methods.entries()) {
      const done = await runMethod(context, options, method, index > 0);
      if (done.ok || done.error.kind === "cancelled") return done;
      context.log.error(`Error creating replica using method ${method.name}: ${done.error.message}`);
      reasons.push(`${method.name}: ${done.error.message}`);
    }
    return err({ kind: "failed", message: `no replica method succeeded: ${reasons.join("; ")}` });
  });
}

async function runMethod(
  context: PostgresContext,
  options: CloneOptions,
  method: ReplicaMethod,
  again: boolean,
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  try {
    // What a method that failed left behind is no ground for the next one, unless that asks for it.
    if (again) await endLeftoverMakers(dataDir);
    const keep = method.name !== BASEBACKUP && isEnabled(method.section["keep_data"]);
    if (again && !keep) await emptyDataDirectory(dataDir);
  } catch (error) {
    return err({ kind: "failed", message: `cannot clear ${dataDir}: ${reasonOf(error)}` });
  }
  options.progress(
    `making a replica with ${method.name}${options.source === null ? "" : ` from ${options.source.host}:${options.source.port}`}`,
  );
  const argv = method.name === BASEBACKUP ? basebackupCommand(context, options) : scriptCommand(context, options, method);
  if (!argv.ok) return argv;
  const secret = await secretEnvironment(context, context.config.replication);
  if (!secret.ok) return secret;
  const outcome = await context.run({
    argv: argv.value,
    env: { ...secret.value, ...makingEnvironment(dataDir) },
    signal: options.signal,
    onLine: method.name === BASEBACKUP ? basebackupLines(options) : options.progress,
  });
  if (!outcome.ok) return outcome;
  if (outcome.value.exitCode !== 0) {
    const text = lastLines(outcome.value.stderr) || lastLines(outcome.value.stdout);
    return err({ kind: "failed", message: withReason(`${argv.value[0]} exited with code=${outcome.value.exitCode}`, text) });
  }
  if (!(await madeDirectory(context))) return err({ kind: "failed", message: `it succeeded, but ${dataDir} is not a data directory` });
  context.log.info(`replica has been created using ${method.name}`);
  return ok(null);
}

/** Words for the log in steps, numbers with every line. */
function basebackupLines({ progress, copied }: CloneOptions): (line: string) => void {
  const words = stepProgress(progress);
  return (line) => {
    const numbers = copyProgress(line);
    if (numbers !== null) copied?.(numbers);
    words(line);
  };
}

function basebackupCommand(context: PostgresContext, options: CloneOptions): Result<readonly string[], PostgresError> {
  if (options.source === null) return err({ kind: "failed", message: "needs a running member to copy from" });
  const { config } = context;
  const given = longOptions(config.basebackup);
  const isGiven = (...names: readonly string[]): boolean =>
    given.some((option) => names.some((name) => option === name || option.startsWith(`${name}=`)));
  const conninfo = programConninfo(context, {
    user: config.replication,
    target: options.source,
    extra: { application_name: context.memberName },
  });
  return ok([
    "pg_basebackup",
    `--pgdata=${config.dataDir}`,
    `--dbname=${conninfo}`,
    ...(isGiven("--wal-method", "-X") ? [] : ["--wal-method=stream"]),
    ...(isGiven("--checkpoint", "-c") ? [] : ["--checkpoint=fast"]),
    ...(isGiven("--progress", "-P") ? [] : ["--progress"]),
    ...given,
  ]);
}

function scriptCommand(context: PostgresContext, options: CloneOptions, method: ReplicaMethod): Result<readonly string[], PostgresError> {
  const { source } = options;
  const connstring = source === null ? "" : scriptConninfo({ user: context.config.replication, host: source.host, port: source.port });
  const argv = methodCommand(method.section, {
    scope: context.scope,
    role: "replica",
    datadir: context.config.dataDir,
    connstring,
  });
  return argv === null ? err({ kind: "failed", message: `postgresql.${method.name}.command is missing or has an open quote` }) : ok(argv);
}

/** The marker is still there, so the directory counts as half-made: look at what makes it whole. */
async function madeDirectory(context: PostgresContext): Promise<boolean> {
  const control = await Bun.file(`${context.config.dataDir}/global/pg_control`).exists();
  return control && (await inspectDataDirectory(context.config.dataDir)).kind === "half-made";
}
