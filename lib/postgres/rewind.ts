// Owns pg_rewind and the clean single-user recovery before it. Does not decide whether to rewind (lib/core/rewind-plan.ts).

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { loaded } from "../model/lazy.ts";
import type { ControlData, FollowTarget, UpstreamHistory } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, seconds } from "../model/units.ts";
import { readIfThere, reasonOf, removeFile } from "./atomic-file.ts";
import { programConninfo } from "./conninfo.ts";
import type { PostgresContext } from "./context.ts";
import { readControlData } from "./control-data.ts";
import { inspectDataDirectory } from "./data-directory.ts";
import { localEndOfWal } from "./end-of-wal.ts";
import { clearRewindingMarker, isRewinding, rewindingMarkerPath, writeRewindingMarker } from "./making-marker.ts";
import { makingEnvironment, untilMakersEnd } from "./making-processes.ts";
import { lastLines, stepProgress } from "./program-output.ts";
import { programPath } from "./programs.ts";
import { secretEnvironment } from "./secret-environment.ts";
import { askServer, readUpstreamHistory } from "./upstream.ts";

export interface RewindOptions {
  readonly source: FollowTarget;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** A checkpoint on a busy primary with slow disks takes minutes; it is asked for as an immediate one. */
const SOURCE_CHECKPOINT_TIMEOUT = seconds(300);
/** As the question that the plan is made by. */
const HISTORY_TIMEOUT = seconds(5);
/** pg_rewind takes `--config-file` since then; before, it finds postgresql.conf in the data directory only. */
const REWIND_CONFIG_FILE_SINCE = 14;
const STANDBY_STATES: ReadonlySet<string> = new Set(["shut down in recovery", "in archive recovery"]);

/** With --progress pg_rewind says this right before its first change to the target. */
const FIRST_CHANGE = /need to copy/;
const UNUSABLE =
  "the directory is half rewound and will not be started: reinitialize this member, or allow remove_data_directory_on_rewind_failure";

/**
 * Checkpoint on the source where its control file is behind its timeline, then pg_rewind, which finishes even if this process
 * is killed: the next call waits for it. Interrupted half-way all the same, it leaves a directory that is refused by every
 * start until a rewind or a new copy succeeds. Errors: refused (a crashed standby that has to be started first, so that it can be shut down
 * in recovery: nothing was changed), failed, cancelled.
 */
export async function rewindTo(context: PostgresContext, options: RewindOptions): Promise<Result<null, PostgresError>> {
  const { config } = context;
  const directory = await inspectDataDirectory(config.dataDir);
  if (directory.kind !== "valid")
    return err({ kind: "failed", message: `${config.dataDir} holds no data directory to rewind (${directory.kind})` });
  const checkpoint = await checkpointSource(context, options);
  if (!checkpoint.ok) return checkpoint;
  const secret = await secretEnvironment(context, config.rewind);
  if (!secret.ok) return secret;
  const source = programConninfo(context, { user: config.rewind, target: options.source, extra: { dbname: "postgres" } });
  const archive = await restoreArguments(context, directory.majorVersion);
  const args = [`--target-pgdata=${config.dataDir}`, `--source-server=${source}`, "--progress", ...archive, ...config.rewindOptions];
  try {
    const taken = await takeUp(context, options);
    if (!taken.ok) return taken;
    if (taken.value === "finished") return ok(null);
    await writeRewindingMarker(config.dataDir);
    options.progress(`running pg_rewind from ${options.source.host}:${options.source.port}`);
    const outcome = await runRewind(context, options, args, secret.value);
    if (outcome.result.ok || !outcome.changed) await clearRewindingMarker(config.dataDir);
    return outcome.result;
  } catch (error) {
    return err({ kind: "failed", message: `cannot rewind ${config.dataDir}: ${reasonOf(error)}` });
  }
}

/**
 * Its output goes to a file, so that it comes to its end also when this process does not live to read a pipe; an abort ends
 * it only before its first change.
 */
async function runRewind(
  context: PostgresContext,
  options: RewindOptions,
  args: readonly string[],
  secret: Readonly<Record<string, string>>,
): Promise<{ readonly result: Result<null, PostgresError>; readonly changed: boolean }> {
  const { config } = context;
  const output = `${rewindingMarkerPath(config.dataDir)}.log`;
  const read = async (): Promise<string> => (await readIfThere(output)) ?? "";
  const kill = new AbortController();
  const onAbort = (): void => {
    read().then(
      (text) => (FIRST_CHANGE.test(text) ? options.progress("pg_rewind has begun to change files: it is let finish") : kill.abort()),
      () => kill.abort(),
    );
  };
  options.signal.addEventListener("abort", onAbort, { once: true });
  if (options.signal.aborted) kill.abort();
  await removeFile(output);
  const outcome = await context.run({
    argv: ["sh", "-c", 'exec "$@" > "$0" 2>&1', output, programPath(config, "pg_rewind"), ...args],
    env: { LC_ALL: "C", ...secret, ...makingEnvironment(config.dataDir) },
    signal: kill.signal,
  });
  options.signal.removeEventListener("abort", onAbort);
  const text = await read();
  await removeFile(output);
  const changed = FIRST_CHANGE.test(text);
  text
    .split(/[\r\n]+/)
    .filter(Boolean)
    .forEach(stepProgress(options.progress));
  if (!outcome.ok) return { result: outcome, changed };
  if (outcome.value.exitCode === 0) return { result: ok(null), changed };
  const message = `pg_rewind: ${lastLines(text) || lastLines(outcome.value.stderr)}${changed ? `; ${UNUSABLE}` : ""}`;
  return { result: err({ kind: "failed", message }), changed };
}

/** Waits for what an earlier supervisor left running, and finds out whether that attempt came to its end. Throws the system's error. */
async function takeUp(context: PostgresContext, options: RewindOptions): Promise<Result<"finished" | "to do", PostgresError>> {
  const { dataDir } = context.config;
  if (!(await isRewinding(dataDir))) {
    const prepared = await prepareTarget(context, options.source);
    return prepared.ok ? ok("to do") : prepared;
  }
  const waited = await untilMakersEnd(dataDir, options.signal);
  if (waited === "cancelled") return err({ kind: "cancelled", message: "the wait for an earlier pg_rewind was given up" });
  const control = await readControlData(context.run, context.clock, dataDir);
  if (!control.ok) return control;
  // pg_rewind writes backup_label and then, as its last change, the control file.
  const finished = control.value.state === "in archive recovery" && (await readIfThere(join(dataDir, "backup_label"))) !== null;
  if (!finished) return ok("to do");
  await clearRewindingMarker(dataDir);
  return ok("finished");
}

/**
 * pg_rewind itself recovers a crashed target in single-user mode, which refuses to run beside a standby.signal. What such a
 * recovery adds to a crashed standby's WAL has to lie behind the point of divergence, so that the rewind takes it away again.
 */
async function prepareTarget(context: PostgresContext, source: FollowTarget): Promise<Result<null, PostgresError>> {
  const control = await readControlData(context.run, context.clock, context.config.dataDir);
  if (!control.ok) return control;
  if (control.value.state.startsWith("shut down")) return ok(null);
  if (STANDBY_STATES.has(control.value.state)) {
    const judged = await judgeCrashedStandby(context, control.value, source);
    if (!judged.ok) return judged;
  }
  try {
    await removeFile(join(context.config.dataDir, "standby.signal"));
    await removeFile(join(context.config.dataDir, "recovery.signal"));
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `cannot prepare ${context.config.dataDir} for pg_rewind: ${reasonOf(error)}` });
  }
}

async function judgeCrashedStandby(
  context: PostgresContext,
  control: ControlData,
  source: FollowTarget,
): Promise<Result<null, PostgresError>> {
  const upstream = await readUpstreamHistory(context, source, (context.clock.now() + HISTORY_TIMEOUT) as Ms);
  if (!upstream.ok) return err({ kind: "failed", message: `the rewind source does not tell its timelines: ${upstream.error.message}` });
  const refuse = async (why: string): Promise<Result<null, PostgresError>> => {
    await forgetStrays(context, control, upstream.value);
    return err({ kind: "refused", message: `${why}: it has to be started, and shut down in recovery, before pg_rewind` });
  };
  if ((await readIfThere(join(context.config.dataDir, "backup_label"))) !== null)
    return await refuse("a copy, or what an earlier pg_rewind left, was not recovered yet (backup_label)");
  const end = await localEndOfWal(context, control);
  const plans = await loaded(() => import("../core/rewind-plan.ts"));
  if (!plans.ok) return err({ kind: "failed", message: plans.error });
  const why = plans.value.whyNotEndRecovery({ control, end: end.ok ? end.value : null, upstream: upstream.value });
  return why === null ? ok(null) : await refuse(why);
}

/**
 * The start that has to come first follows the newest history that it finds, and one that restore_command has brought stays in pg_wal when it is
 * gone from the archive. Where pg_control is on the upstream's own timeline, nothing of a newer one is in the data: such a history only keeps the
 * server from starting. Throws the system's error.
 */
async function forgetStrays(context: PostgresContext, control: ControlData, upstream: UpstreamHistory): Promise<void> {
  if (Math.max(control.timeline, control.minRecoveryTimeline ?? 0) !== upstream.timeline) return;
  const folder = join(context.config.dataDir, "pg_wal");
  for (const name of await readdir(folder)) {
    if (!/^[0-9A-F]{8}\.history$/.test(name) || Number.parseInt(name.slice(0, 8), 16) <= upstream.timeline) continue;
    context.log.info(`${name} is taken out of ${folder}: nobody leads on that timeline, and nothing of it is in the data`);
    await removeFile(join(folder, name));
  }
}

/**
 * Until its first checkpoint a promoted server's control file names the old timeline, and pg_rewind (before version 16)
 * would find nothing to do. Skipped where the timelines agree or where the question is not allowed.
 */
async function checkpointSource(context: PostgresContext, options: RewindOptions): Promise<Result<null, PostgresError>> {
  const deadline = (context.clock.now() + SOURCE_CHECKPOINT_TIMEOUT) as Ms;
  const ask = (command: string) =>
    askServer(context, { user: context.config.superuser, target: options.source, commands: [command], deadline, signal: options.signal });
  const timelines = await ask(
    "SELECT c.timeline_id, CASE WHEN pg_catalog.pg_is_in_recovery() THEN c.timeline_id ELSE " +
      "('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END " +
      "FROM pg_catalog.pg_control_checkpoint() c",
  );
  if (!timelines.ok) {
    if (timelines.error.kind === "cancelled") return timelines;
    context.log.warning(`cannot ask the rewind source for its timeline, going on without: ${timelines.error.message}`);
    return ok(null);
  }
  const [written, current] = timelines.value[0] ?? [];
  if (written === current) return ok(null);
  options.progress(`checkpoint on ${options.source.host}:${options.source.port}: its control file is still on timeline ${written}`);
  const done = await ask("CHECKPOINT");
  if (done.ok) return ok(null);
  if (done.error.kind === "cancelled") return done;
  context.log.warning(`checkpoint on the rewind source failed, going on without: ${done.error.message}`);
  return ok(null);
}

/** WAL that the target has removed already comes from the archive where the configuration has one. */
async function restoreArguments(context: PostgresContext, majorVersion: number): Promise<readonly string[]> {
  const { config } = context;
  const configured =
    config.standbyCluster?.recovery["restore_command"] ?? config.parameters["restore_command"] ?? config.recoveryConf["restore_command"];
  if (configured === undefined || configured === "") return [];
  const file = join(config.configDir, "postgresql.conf");
  if ((await readIfThere(file)) === null) return [];
  if (config.configDir === config.dataDir) return ["--restore-target-wal"];
  return majorVersion >= REWIND_CONFIG_FILE_SINCE ? ["--restore-target-wal", `--config-file=${file}`] : [];
}

/**
 * Single-user mode until recovery is done and it has shut down cleanly. The server must be stopped. A standby's directory
 * is left as it is: single-user recovery would end its recovery on the old timeline; being started, or rewindTo, recovers it.
 * Errors: refused (an unfinished copy: backup_label), failed, cancelled.
 */
export async function crashRecover(context: PostgresContext, signal: AbortSignal): Promise<Result<null, PostgresError>> {
  const { config } = context;
  const control = await readControlData(context.run, context.clock, config.dataDir);
  if (!control.ok) return control;
  if (control.value.state === "shut down" || STANDBY_STATES.has(control.value.state)) return ok(null);
  try {
    if ((await readIfThere(join(config.dataDir, "backup_label"))) !== null) {
      return err({
        kind: "refused",
        message: `${config.dataDir} is a copy that was never started (backup_label): it recovers by being started`,
      });
    }
    // Left by an attempt to start this former primary as a standby; single-user mode refuses to run with it.
    await removeFile(join(config.dataDir, "standby.signal"));
    await removeFile(join(config.dataDir, "recovery.signal"));
  } catch (error) {
    return err({ kind: "failed", message: `cannot prepare ${config.dataDir} for single-user mode: ${reasonOf(error)}` });
  }
  const file = join(config.configDir, "postgresql.conf");
  const outcome = await context.run({
    argv: ["postgres", "--single", "-D", config.dataDir, `--config_file=${file}`, "-c", "synchronous_standby_names=", "template1"],
    env: { LC_ALL: "C" },
    signal,
  });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  return exitCode === 0 ? ok(null) : err({ kind: "failed", message: `single-user mode: ${lastLines(stderr)}` });
}
