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
import { findPostmaster, inspectDataDirectory } from "./data-directory.ts";
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

type Options = Pick<RestoreAsideOptions, "id" | "timelineAbove" | "signal" | "progress">;

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
      const obstacle = (await isThere(kept)) ? null : await whyNoWayBack(place, id);
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

/** What keeps this node from it, whether or not PostgreSQL runs; null where nothing does. Changes nothing. */
export async function whyNoWayBack({ config }: Pick<RestorePlace, "config">, id: string): Promise<string | null> {
  const aside = asideDirectory(config.dataDir, id);
  if (!hasRestoreCommand({ config })) return NO_RESTORE_COMMAND;
  try {
    if (!(await isThere(aside))) return `the data from before the restore is not there any more: ${aside}`;
    if ((await inspectDataDirectory(aside)).kind !== "valid") return `${aside} is no whole data directory`;
    return await asideObstacle(config.dataDir);
  } catch (error) {
    return reasonOf(error);
  }
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

/**
 * A server that leaves recovery takes the first timeline whose history it finds neither in the archive nor in its own folder: what the archive may
 * not have yet lies beside what was restored. Errors: refused (one is missing), failed.
 */
async function bringHistories(place: RestorePlace, aside: string, upTo: number): Promise<Result<null, PostgresError>> {
  const control = await readControlData(place.run, place.clock, aside);
  if (!control.ok) return control;
  const names = Array.from({ length: Math.max(0, upTo - control.value.timeline) }, (_, index) =>
    timelineFileName(timeline(control.value.timeline + 1 + index)),
  );
  for (const name of names) {
    const [from, to] = [join(place.config.dataDir, "pg_wal", name), join(aside, "pg_wal", name)];
    if (await isThere(to)) continue;
    if (!(await isThere(from)))
      return err({ kind: "refused", message: `${from} is missing: the timeline after it could not be told from it` });
    await copyFile(from, to);
  }
  await syncFolder(join(aside, "pg_wal"));
  return ok(null);
}
