// Owns the frame around everything that fills a data directory: the marker first, leftovers of an interrupted attempt
// cleared, and the marker gone only when the work is whole.

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { reasonOf } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { findPostmaster, inspectDataDirectory } from "./data-directory.ts";
import { clearMakingMarker, clearRewindingMarker, type Making, readMakingMarker, writeMakingMarker } from "./making-marker.ts";
import { endLeftoverMakers } from "./making-processes.ts";
import { emptyDataDirectory } from "./remove-data-directory.ts";

/**
 * Prepares the directory, runs `work`, and removes the marker where it succeeded; on any failure the marker stays.
 * `keepValid`: a whole data directory is worked upon instead of being refused. `whole`: what the marker says in the end, where it is to
 * stay. Errors: refused, failed, and those of `work`.
 */
export async function whileMaking(
  context: PostgresContext,
  options: { readonly making: Making; readonly keepValid: boolean; readonly whole?: Making },
  work: () => Promise<Result<null, PostgresError>>,
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  const prepared = await prepare(context, options);
  if (!prepared.ok) return prepared;
  const done = await work();
  if (!done.ok) return done;
  try {
    if (options.whole === undefined) await clearMakingMarker(dataDir);
    else await writeMakingMarker(dataDir, options.whole);
  } catch (error) {
    return err({ kind: "failed", message: `cannot write the marker of ${dataDir}: ${reasonOf(error)}` });
  }
  return ok(null);
}

async function prepare(
  context: PostgresContext,
  options: { readonly making: Making; readonly keepValid: boolean },
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  const marker = await readMakingMarker(dataDir);
  if (!marker.ok) return marker;
  try {
    if (marker.value !== null) {
      const running = await findPostmaster(dataDir);
      if (running !== null) {
        context.log.warning(`stopping pid ${running.pid}, the server of an unfinished ${dataDir}`);
        await context.run({ argv: ["pg_ctl", "stop", "-D", dataDir, "-m", "immediate", "-w", "-t", "60"] });
        if ((await findPostmaster(dataDir)) !== null)
          return err({ kind: "failed", message: `the server of an unfinished ${dataDir} does not stop` });
      }
      const ended = await endLeftoverMakers(dataDir);
      if (ended.length > 0)
        context.log.warning(`ended process ${ended.join(", ")}, left over from an interrupted attempt to make ${dataDir}`);
    }
    const directory = await inspectDataDirectory(dataDir);
    if (directory.kind === "foreign") {
      return err({ kind: "refused", message: `${dataDir} is not empty and not PostgreSQL's (${directory.sample}): it stays as it is` });
    }
    if (directory.kind === "valid" && (await findPostmaster(dataDir)) !== null) {
      return err({ kind: "refused", message: `PostgreSQL runs on ${dataDir}: it stays as it is` });
    }
    if (directory.kind === "valid" && !options.keepValid) {
      return err({ kind: "refused", message: `${dataDir} already holds a data directory of PostgreSQL ${directory.majorVersion}` });
    }
    await mkdir(dirname(dataDir), { recursive: true });
    await writeMakingMarker(dataDir, options.making);
    // What an interrupted rewind left is replaced from here on, also where somebody has deleted it by hand.
    await clearRewindingMarker(dataDir);
    if (directory.kind === "half-made" && !options.keepValid) {
      context.log.info(`clearing ${dataDir}: an earlier attempt (${directory.by}) was interrupted`);
      await emptyDataDirectory(dataDir);
    }
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `cannot prepare ${dataDir}: ${reasonOf(error)}` });
  }
}
