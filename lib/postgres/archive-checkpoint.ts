// Owns the archiving of the WAL segment that ends with the shutdown checkpoint: the server's own archiver takes none that is not full.
// Whoever lives from the archive and is promoted next then has all of this server's WAL, so that this one can follow without a rewind.
// It changes nothing in the data directory.

import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { Connection } from "./connection.ts";
import type { PostgresContext } from "./context.ts";
import { readShutdownSegment } from "./control-data.ts";
import { lastLines } from "./program-output.ts";

/** For one segment. A command that takes longer hangs, and the cluster has no leader that runs meanwhile. */
const ARCHIVE_LIMIT_MS = 60_000;
const ARCHIVER_QUERY = "SELECT current_setting('archive_mode') AS mode, current_setting('archive_command') AS command";

/** Asked while the server runs; what it resolves to archives, once it is stopped. */
export async function archiverOf(context: PostgresContext, connection: Connection, deadline: Ms): Promise<() => Promise<void>> {
  const command = await readArchiveCommand(connection, deadline);
  return () => archiveShutdownCheckpoint(context, command);
}

/** The running server's archive_command; null where it archives nothing, by a library, or does not say. */
async function readArchiveCommand(connection: Connection, deadline: Ms): Promise<string | null> {
  const answer = await connection.query(ARCHIVER_QUERY, [], deadline);
  const [row] = answer.ok ? answer.value : [];
  const command = String(row?.["command"] ?? "").trim();
  return row === undefined || row["mode"] === "off" || command === "" ? null : command;
}

/** Of the stopped server. Told in the log: what is archived, or why it is not. */
export async function archiveShutdownCheckpoint(context: PostgresContext, command: string | null): Promise<void> {
  const { log } = context;
  if (command === null) return log.info("Not archiving latest checkpoint WAL file. Archiving is not configured.");
  const archived = await archiveSegment(context, command);
  if (archived.ok) log.info(`archived ${archived.value}, which ends with the shutdown checkpoint`);
  else log.error(`Failed to archive WAL file with the shutdown checkpoint: ${archived.error.message}`);
}

/** As the archiver would: from the data directory, by a path relative to it. Value: the segment. Errors: failed, timeout. */
async function archiveSegment(context: PostgresContext, command: string): Promise<Result<string, PostgresError>> {
  const { clock, config, run } = context;
  const segment = await readShutdownSegment(run, clock, config.dataDir);
  if (!segment.ok) return segment;
  const meant: Readonly<Record<string, string>> = { "%%": "%", "%f": segment.value, "%p": `pg_wal/${segment.value}` };
  const text = command.replace(/%[%fp]/g, (mark) => meant[mark] ?? mark);
  const deadline = ms(clock.now() + ARCHIVE_LIMIT_MS);
  const outcome = await run({ argv: ["sh", "-c", text], cwd: config.dataDir, withoutSecrets: true, deadline });
  if (!outcome.ok) return outcome;
  const { exitCode, stderr } = outcome.value;
  if (exitCode === 0) return ok(segment.value);
  return err({ kind: "failed", message: `archive_command ended with exit status ${exitCode ?? "of a signal"}: ${lastLines(stderr)}` });
}
