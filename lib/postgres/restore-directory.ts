// Owns what a restore of the cluster does on the restoring node's disk: the old data directory aside, a backup in its place, recovered
// to its target by a server that nobody can connect to; and the way back. Each step can be repeated after a crash, and no directory
// is ever deleted but one that this file has begun to fill itself.

import { lstat, readdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { ParameterValue, PgBackRestConfig } from "../model/node-config.ts";
import type { ControlData } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { isThere, reasonOf, syncFolder } from "./atomic-file.ts";
import { writeConfigFiles } from "./config-files.ts";
import type { PostgresContext } from "./context.ts";
import { readControlData } from "./control-data.ts";
import { recover } from "./custom-bootstrap.ts";
import { findPostmaster, inspectDataDirectory, readMajorVersion } from "./data-directory.ts";
import { whileMaking } from "./making-directory.ts";
import { clearMakingMarker, readMakingMarker } from "./making-marker.ts";
import { endLeftoverMakers, makingEnvironment } from "./making-processes.ts";
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
  return `${trimmed(dataDir)}.before-restore-${id}`;
}

/** Where a restore that was undone is kept. */
export function undoneDirectory(dataDir: string, id: string): string {
  return `${trimmed(dataDir)}.restored-${id}`;
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
  const marker = await readMakingMarker(dataDir);
  if (!marker.ok) return marker;
  try {
    const isAside = await isThere(asideDirectory(dataDir, options.id));
    if (!isAside) {
      const obstacle = await whyNotAside(dataDir);
      if (obstacle !== null) return err({ kind: "refused", message: obstacle });
      await rename(trimmed(dataDir), asideDirectory(dataDir, options.id));
      await syncFolder(dirname(trimmed(dataDir)));
      options.progress(`the old data is kept in ${asideDirectory(dataDir, options.id)}`);
    }
    if (!isAside || marker.value !== "restored") {
      const made = await whileMaking(place, { making: "restore", keepValid: false, whole: "restored" }, () =>
        fill(place, pgbackrest, options),
      );
      if (!made.ok) return made;
    }
  } catch (error) {
    return err({ kind: "failed", message: `restore: ${reasonOf(error)}` });
  }
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
    return await whyNotWhole(place.config.dataDir);
  } catch (error) {
    return reasonOf(error);
  }
}

const NO_PGBACKREST = "pgbackrest: this node's file has no such section";
const NO_RESTORE_COMMAND = "postgresql.recovery_conf.restore_command is missing: nothing could be recovered from the archive";

function hasRestoreCommand({ config }: Pick<RestorePlace, "config">): boolean {
  return config.recoveryConf["restore_command"] !== undefined;
}

/** The restored directory is whole from now on. Errors: failed. */
export async function finishRestore(place: RestorePlace): Promise<Result<null, PostgresError>> {
  const marker = await readMakingMarker(place.config.dataDir);
  if (!marker.ok) return marker;
  if (marker.value !== null && marker.value !== "restored")
    return err({ kind: "failed", message: `${place.config.dataDir} is not what was restored: it is half-made (${marker.value})` });
  try {
    await clearMakingMarker(place.config.dataDir);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: reasonOf(error) });
  }
}

/** The old directory again; what was restored is kept beside it. Does nothing where nothing was put aside. Errors: refused, failed. */
export async function putBack(place: RestorePlace, id: string): Promise<Result<null, PostgresError>> {
  const { dataDir } = place.config;
  try {
    // A restore that outlived its supervisor goes by the path: it would write on into the old data.
    const ended = await endLeftoverMakers(dataDir);
    if (ended.length > 0) place.log.warning(`ended process ${ended.join(", ")}, left over from the restore of ${dataDir}`);
    const running = await findPostmaster(dataDir);
    if (running !== null) return err({ kind: "refused", message: `the server with pid ${running.pid} still runs in ${dataDir}` });
    if (!(await isThere(asideDirectory(dataDir, id)))) return ok(null);
    if (await isThere(dataDir)) {
      await rename(trimmed(dataDir), undoneDirectory(dataDir, id));
      await syncFolder(dirname(trimmed(dataDir)));
    }
    // Before the old data is there: whatever the marker stands beside may be cleared unasked.
    await clearMakingMarker(dataDir);
    await rename(asideDirectory(dataDir, id), trimmed(dataDir));
    await syncFolder(dirname(trimmed(dataDir)));
    place.log.info(`the old data is in ${dataDir} again`);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `undo of the restore: ${reasonOf(error)}` });
  }
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
  const version = await readMajorVersion(config.dataDir);
  if (!version.ok) return version;
  const majorVersion = version.value;
  const written = await writeConfigFiles(place, {
    role: "primary",
    follow: null,
    synchronousStandbyNames: "",
    majorVersion,
    controlData: control.value,
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

/** What keeps the directory from being put aside as a whole; null where nothing does. */
async function whyNotAside(dataDir: string): Promise<string | null> {
  const directory = await inspectDataDirectory(dataDir);
  if (directory.kind !== "valid") return `${dataDir} is ${directory.kind}: there is no whole data directory to put aside`;
  const running = await findPostmaster(dataDir);
  if (running !== null) return `the server with pid ${running.pid} still runs in ${dataDir}`;
  return await whyNotWhole(dataDir);
}

/** Why one rename does not put all of it aside. */
async function whyNotWhole(dataDir: string): Promise<string | null> {
  const own = await lstat(trimmed(dataDir));
  if (own.isSymbolicLink()) return `${dataDir} is a link: it cannot be put aside as a whole`;
  if (own.dev !== (await lstat(dirname(trimmed(dataDir)))).dev) return `${dataDir} is a mount point: it cannot be renamed`;
  if ((await lstat(join(dataDir, "pg_wal"))).isSymbolicLink())
    return `${dataDir}/pg_wal is a link: WAL outside of the data directory is not supported`;
  if ((await readdir(join(dataDir, "pg_tblspc"))).length > 0) return `${dataDir} has tablespaces: they are not supported here`;
  return null;
}

function trimmed(path: string): string {
  return path.replace(/\/+$/, "");
}
