// Owns what a restore of the cluster does on the restoring node's disk: the old data directory aside, a backup in its place, recovered
// to its target by a server that nobody can connect to; and the way back. Each step can be repeated after a crash, and no directory
// is ever deleted but one that this file has begun to fill itself.

import type { PostgresError } from "../model/errors.ts";
import type { ParameterValue, PgBackRestConfig } from "../model/node-config.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { asideObstacle, beside, exchangeAside, finishAside, putAsideBack } from "./aside.ts";
import { reasonOf } from "./atomic-file.ts";
import { writeConfigFiles } from "./config-files.ts";
import type { PostgresContext } from "./context.ts";
import { readControlData } from "./control-data.ts";
import { recover } from "./custom-bootstrap.ts";
import { readMajorVersion } from "./data-directory.ts";
import { makingEnvironment } from "./making-processes.ts";
import { restoreBackup } from "./pgbackrest.ts";

/** The first major version with `archive_library`; an older one does not start with a setting that it does not know. */
const ARCHIVE_LIBRARY_SINCE = 15;

export interface RestorePlace extends PostgresContext {
  readonly pgbackrest: PgBackRestConfig | null;
}

export interface RestoreAsideOptions {
  readonly id: string;
  readonly label: string;
  /** recovery_target_time; null = to the end of the archive. */
  readonly target: string | null;
  /** recovery_target_timeline. */
  readonly recoveryTimeline: string;
  /** Of the cluster; null where it is not known. */
  readonly systemIdentifier: string | null;
  /** What was restored has to be on a newer one. */
  readonly timelineAbove: number;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** Where the old data is kept, beside the data directory. */
export function asideDirectory(dataDir: string, id: string): string {
  return beside(dataDir, `before-restore-${id}`);
}

/** Where a restore that was undone is kept. */
export function undoneDirectory(dataDir: string, id: string): string {
  return beside(dataDir, `restored-${id}`);
}

/**
 * Puts the stopped data directory aside and makes the restored one in its place; it stays marked as half-made (`restored`) until
 * finishRestore. Does nothing where that was done already. Errors: refused (nothing was changed), failed, cancelled.
 */
export async function restoreAside(
  place: RestorePlace,
  options: RestoreAsideOptions,
): Promise<Result<{ readonly timeline: number }, PostgresError>> {
  const { pgbackrest } = place;
  if (pgbackrest === null) return err({ kind: "refused", message: NO_PGBACKREST });
  if (!hasRestoreCommand(place)) return err({ kind: "refused", message: NO_RESTORE_COMMAND });
  const { dataDir } = place.config;
  const made = await exchangeAside(
    place,
    { aside: asideDirectory(dataDir, options.id), making: "restore", whole: "restored", progress: options.progress },
    () => fill(place, pgbackrest, options),
  );
  if (!made.ok) return made;
  const control = await readControlData(place.run, place.clock, dataDir);
  if (!control.ok) return control;
  if (control.value.timeline > options.timelineAbove) return ok({ timeline: control.value.timeline });
  const message = `what was restored is on timeline ${control.value.timeline}, which the cluster has used already: the archive lacks its history files`;
  return err({ kind: "failed", message });
}

/** What keeps this node from a restore, whether or not PostgreSQL runs; null where nothing does. Changes nothing. */
export async function whyNoRestore(place: Pick<RestorePlace, "config" | "pgbackrest">): Promise<string | null> {
  if (place.pgbackrest === null) return NO_PGBACKREST;
  if (!hasRestoreCommand(place)) return NO_RESTORE_COMMAND;
  try {
    return await asideObstacle(place.config.dataDir);
  } catch (error) {
    return reasonOf(error);
  }
}

const NO_PGBACKREST = "pgbackrest: this node's file has no such section";
export const NO_RESTORE_COMMAND = "postgresql.recovery_conf.restore_command is missing: nothing could be recovered from the archive";

/** Whether anything could be recovered from the archive. */
export function hasRestoreCommand({ config }: Pick<RestorePlace, "config">): boolean {
  return config.recoveryConf["restore_command"] !== undefined;
}

/** The restored directory is whole from now on. Errors: failed. */
export async function finishRestore(place: RestorePlace): Promise<Result<null, PostgresError>> {
  return await finishAside(place.config.dataDir, "restored");
}

/** The old directory again; what was restored is kept beside it. Does nothing where nothing was put aside. Errors: refused, failed. */
export async function putBack(place: RestorePlace, id: string): Promise<Result<null, PostgresError>> {
  const { dataDir } = place.config;
  return await putAsideBack(place, { aside: asideDirectory(dataDir, id), kept: undoneDirectory(dataDir, id) });
}

async function fill(place: RestorePlace, pgbackrest: PgBackRestConfig, options: RestoreAsideOptions): Promise<Result<null, PostgresError>> {
  const { config } = place;
  const { label, signal, progress } = options;
  const restored = await restoreBackup(
    { config: pgbackrest, run: place.run, clock: place.clock },
    { dataDir: config.dataDir, label, delta: false, signal, env: makingEnvironment(config.dataDir), say: progress },
  );
  if (!restored.ok) return restored;
  const control = await readControlData(place.run, place.clock, config.dataDir);
  if (!control.ok) return control;
  const stranger = strangerText(control.value, options.systemIdentifier);
  if (stranger !== null) return err({ kind: "failed", message: stranger });
  return await recoverUnarchived(place, control.value, options);
}

/** Recovers what lies in the data directory to its target, by a server that nobody can connect to. Errors: failed, cancelled. */
export async function recoverUnarchived(
  place: RestorePlace,
  controlData: ControlData,
  options: Pick<RestoreAsideOptions, "recoveryTimeline" | "target" | "signal" | "progress">,
): Promise<Result<null, PostgresError>> {
  const { config } = place;
  const { signal, progress } = options;
  const version = await readMajorVersion(config.dataDir);
  if (!version.ok) return version;
  const majorVersion = version.value;
  const written = await writeConfigFiles(place, {
    role: "primary",
    follow: null,
    synchronousStandbyNames: "",
    majorVersion,
    controlData,
    recoverySettings: recoverySettings(config.recoveryConf, options),
  });
  if (!written.ok) return written;
  return await recover(place, { signal, progress }, [...written.value.serverArguments, ...withoutArchiving(majorVersion)]);
}

/**
 * A timeline that is in the archive counts for whoever recovers later, also where this restore is taken back: what is to be archived stays
 * marked so, and is archived once the node leads with it.
 */
function withoutArchiving(majorVersion: number): readonly string[] {
  return ["-c", "archive_command=", ...(majorVersion >= ARCHIVE_LIBRARY_SINCE ? ["-c", "archive_library="] : [])];
}

/** Out of recovery at the target, whatever else is configured. */
function recoverySettings(
  configured: Readonly<Record<string, ParameterValue>>,
  { recoveryTimeline, target }: Pick<RestoreAsideOptions, "recoveryTimeline" | "target">,
): Record<string, ParameterValue> {
  const own = Object.entries(configured).filter(([name]) => !name.startsWith("recovery_target") && name !== "standby_mode");
  return {
    ...Object.fromEntries(own),
    recovery_target_timeline: recoveryTimeline,
    recovery_target_action: "promote",
    ...(target === null ? {} : { recovery_target_time: target }),
  };
}

function strangerText({ systemIdentifier }: ControlData, wanted: string | null): string | null {
  if (wanted === null || systemIdentifier === wanted) return null;
  return `the backup is of another cluster: its system identifier is ${systemIdentifier}, this cluster's ${wanted}`;
}
