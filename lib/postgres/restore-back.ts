// Owns the way back from a restore whose cluster has led: the data from before it in the place of what was restored, recovered onto a timeline
// that nobody has used; and the end of such an attempt. Each step can be repeated after a crash, and no directory is ever deleted.

import { copyFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { timeline } from "../model/units.ts";
import { asideObstacle, putAsideBack } from "./aside.ts";
import { isThere, reasonOf, syncFolder } from "./atomic-file.ts";
import { readControlData } from "./control-data.ts";
import { findPostmaster, inspectDataDirectory, readMajorVersion } from "./data-directory.ts";
import { clearWayBackMark, readWayBackMark, writeWayBackMark } from "./making-marker.ts";
import { endLeftoverMakers } from "./making-processes.ts";
import {
  asideDirectory,
  hasRestoreCommand,
  NO_RESTORE_COMMAND,
  type RestoreAsideOptions,
  type RestorePlace,
  recoverUnarchived,
  undoneDirectory,
} from "./restore-directory.ts";
import { timelineFileName } from "./timeline-history.ts";

/** Between the old data and the newest timeline of the cluster: each has a history that is looked for, and the newest is what any member says. */
const TIMELINES_MAX = 10_000;

type Options = Pick<RestoreAsideOptions, "id" | "systemIdentifier" | "timelineAbove" | "signal" | "progress">;
/** `systemIdentifier`: the cluster's as the DCS has it; null: unknown. `timelineAbove`: the newest timeline that the cluster has used. */
type BackTo = Pick<RestoreAsideOptions, "systemIdentifier" | "timelineAbove">;

/**
 * The stopped data directory is kept, the one from before the restore takes its place and is recovered to its own end: the archive knows the
 * timelines that came after it, so that it goes on with a newer one. Does nothing where that was done already. From before the first rename a
 * mark beside it names this way back, until finishWayBack: a node that comes back later can tell that nobody waits for it any more. Errors:
 * refused (nothing was changed), failed, cancelled.
 */
export async function takeRestoreBack(
  place: RestorePlace,
  options: Options,
): Promise<Result<{ readonly timeline: number }, PostgresError>> {
  const { dataDir } = place.config;
  const { id, timelineAbove, signal, progress } = options;
  const [aside, kept] = [asideDirectory(dataDir, id), undoneDirectory(dataDir, id)];
  try {
    if (await isThere(dataDir)) {
      const obstacle = (await isThere(kept)) ? null : await whyNoWayBack(place, id, options);
      if (obstacle !== null) return err({ kind: "refused", message: obstacle });
    }
    if (await isThere(aside)) {
      const known = await bringHistories(place, aside, timelineAbove);
      if (!known.ok) return known;
    }
    await writeWayBackMark(dataDir, id);
  } catch (error) {
    return err({ kind: "failed", message: reasonOf(error) });
  }
  const back = await putAsideBack(place, { aside, kept });
  if (!back.ok) return back;
  progress(`what was restored is kept in ${kept}`);
  const before = await readControlData(place.run, place.clock, dataDir);
  if (!before.ok) return before;
  if (before.value.timeline > timelineAbove && before.value.state === "shut down") return ok({ timeline: before.value.timeline });
  const recovered = await recoverUnarchived(place, before.value, { recoveryTimeline: "current", target: null, signal, progress });
  if (!recovered.ok) return recovered;
  const after = await readControlData(place.run, place.clock, dataDir);
  if (!after.ok) return after;
  if (after.value.timeline > timelineAbove) return ok({ timeline: after.value.timeline });
  const message = `the data from before the restore is on timeline ${after.value.timeline}, which the cluster has used already`;
  return err({ kind: "failed", message });
}

/** The data from before is in force from now on. Errors: failed. */
export async function finishWayBack({ config: { dataDir } }: RestorePlace): Promise<Result<null, PostgresError>> {
  try {
    await clearWayBackMark(dataDir);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: reasonOf(error) });
  }
}

/**
 * What keeps this node from it, whether or not PostgreSQL runs; null where nothing does: once everybody is stopped it is late to learn of it.
 * Changes nothing.
 */
export async function whyNoWayBack(
  place: Pick<RestorePlace, "config" | "run" | "clock">,
  id: string,
  { timelineAbove, systemIdentifier }: BackTo,
): Promise<string | null> {
  const { config } = place;
  const aside = asideDirectory(config.dataDir, id);
  if (!hasRestoreCommand({ config })) return NO_RESTORE_COMMAND;
  try {
    if (!(await isThere(aside))) return `the data from before the restore is not there any more: ${aside}`;
    if ((await inspectDataDirectory(aside)).kind !== "valid") return `${aside} is no whole data directory`;
    const running = await findPostmaster(aside);
    if (running !== null) return `the server with pid ${running.pid} still runs in ${aside}`;
    return (await asideObstacle(config.dataDir)) ?? (await whyNoSuccessor(place, aside, { timelineAbove, systemIdentifier }));
  } catch (error) {
    return reasonOf(error);
  }
}

/** The old directory is of this cluster and version, and the timelines after its own can be told. Throws the system's error. */
async function whyNoSuccessor(
  { clock, config, run }: Pick<RestorePlace, "config" | "run" | "clock">,
  aside: string,
  { timelineAbove, systemIdentifier }: BackTo,
): Promise<string | null> {
  // Damage to what was restored is a reason to go back: what cannot be read of it does not stand against the data from before.
  const [oldVersion, version] = [await readMajorVersion(aside), await readMajorVersion(config.dataDir)];
  if (!oldVersion.ok) return oldVersion.error.message;
  if (version.ok && oldVersion.value !== version.value)
    return `${aside} is of PostgreSQL ${oldVersion.value}, and ${config.dataDir} of ${version.value}`;
  const [old, own] = [await readControlData(run, clock, aside), await readControlData(run, clock, config.dataDir)];
  if (!old.ok) return old.error.message;
  const [theirs, ours] = [old.value.systemIdentifier, own.ok ? own.value.systemIdentifier : systemIdentifier];
  if (ours === null) return own.ok ? null : `${own.error.message}; and the DCS does not say which cluster this is`;
  if (theirs !== ours) return `${aside} is of another cluster: its system identifier is ${theirs}, this cluster's ${ours}`;
  const tooFar = whyTooFar(old.value.timeline, timelineAbove);
  if (tooFar !== null) return tooFar;
  const wanted = await missingHistories(config.dataDir, aside, { from: old.value.timeline, upTo: timelineAbove });
  const gone = wanted.find(({ found }) => !found);
  return gone === undefined ? null : untold(gone.from);
}

/**
 * It is not to be: what was restored is in its place again. The data from before stays beside it; where its recovery may have begun, under another
 * name, as its timeline may be used otherwise from now on. Does nothing where nothing was exchanged. Errors: refused, failed (what was
 * restored is gone, too).
 */
export async function keepRestored({ config: { dataDir }, log }: RestorePlace, id: string): Promise<Result<null, PostgresError>> {
  const [aside, kept] = [asideDirectory(dataDir, id), undoneDirectory(dataDir, id)];
  try {
    if (!(await isThere(kept))) {
      if ((await readWayBackMark(dataDir)) === id && !(await isThere(aside)))
        return err({ kind: "failed", message: `${dataDir} holds the data from before the restore, and ${kept} is not there any more` });
      await clearWayBackMark(dataDir);
      return ok(null);
    }
    const ended = await endLeftoverMakers(dataDir);
    if (ended.length > 0) log.warning(`ended process ${ended.join(", ")}, left over from a recovery in ${dataDir}`);
    if (await isThere(dataDir)) {
      const running = await findPostmaster(dataDir);
      if (running !== null) return err({ kind: "refused", message: `the server with pid ${running.pid} still runs in ${dataDir}` });
      await rename(dataDir, `${aside}-recovered`);
    }
    await rename(kept, dataDir);
    await syncFolder(dirname(dataDir));
    await clearWayBackMark(dataDir);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `what was restored could not be put back: ${reasonOf(error)}` });
  }
}

interface MissingHistory {
  readonly from: string;
  readonly to: string;
  /** It lies beside what was restored. */
  readonly found: boolean;
}

/** The histories after the timeline `from` that the old directory has not. Throws the system's error. */
async function missingHistories(
  dataDir: string,
  aside: string,
  { from, upTo }: { readonly from: number; readonly upTo: number },
): Promise<readonly MissingHistory[]> {
  const missing: MissingHistory[] = [];
  for (let id = from + 1; id <= upTo; id += 1) {
    const name = timelineFileName(timeline(id));
    const [own, to] = [join(dataDir, "pg_wal", name), join(aside, "pg_wal", name)];
    if (!(await isThere(to))) missing.push({ from: own, to, found: await isThere(own) });
  }
  return missing;
}

function whyTooFar(from: number, upTo: number): string | null {
  return upTo - from > TIMELINES_MAX ? `timeline ${upTo} is too far from ${from}: some member says what cannot be` : null;
}

function untold(path: string): string {
  return `${path} is missing: the timeline after it could not be told from it`;
}

/**
 * A server that leaves recovery takes the first timeline whose history it finds neither in the archive nor in its own folder: what the archive may
 * not have yet lies beside what was restored. Errors: refused (one is missing), failed. Throws the system's error.
 */
async function bringHistories(place: RestorePlace, aside: string, upTo: number): Promise<Result<null, PostgresError>> {
  const control = await readControlData(place.run, place.clock, aside);
  if (!control.ok) return control;
  const tooFar = whyTooFar(control.value.timeline, upTo);
  if (tooFar !== null) return err({ kind: "refused", message: tooFar });
  for (const { from, to, found } of await missingHistories(place.config.dataDir, aside, { from: control.value.timeline, upTo })) {
    if (!found) return err({ kind: "refused", message: untold(from) });
    await copyFile(from, to);
  }
  await syncFolder(join(aside, "pg_wal"));
  return ok(null);
}
