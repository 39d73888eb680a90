// Owns the copying of logical slots from the primary: their files are read over SQL and put into the stopped standby's data directory.
// It decides neither which ones nor when. Source: Patroni's documentation, "Dynamic Configuration Settings" (slots).

import { mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { formatLsn, parseLsn } from "../model/lsn.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type LogicalSlot, SLOT_NAME_PATTERN } from "../model/slots.ts";
import type { Lsn, Ms } from "../model/units.ts";
import { reasonOf, syncFolder } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { fetchMissingWal, LocalWal, placeWal } from "./missing-wal.ts";
import { literal } from "./sql-literal.ts";
import { askServer } from "./upstream.ts";

/** A slot's file is a few hundred bytes. */
const STATE_MAX_BYTES = 1_000_000;

export interface SlotFile {
  readonly name: string;
  /** From where on its consumer needs WAL. */
  readonly from: Lsn;
  /** Content of pg_replslot/NAME/state. */
  readonly state: Buffer;
}

/** What makes the copies. */
export interface SlotCopies {
  readonly files: readonly SlotFile[];
  /** Segments of WAL that were missing here and have been fetched; see missing-wal.ts. */
  readonly wal: readonly string[];
}

/**
 * Reads the primary's slots, and fetches the WAL that they need and that is not here: what cannot be copied yet (or is another slot
 * than wanted) is left out, and the log says why. Errors: unreachable, timeout, cancelled, failed (not a primary, no right to read the files).
 */
export async function readLogicalSlots(
  context: PostgresContext,
  options: {
    readonly source: FollowTarget;
    readonly slots: readonly LogicalSlot[];
    readonly deadline: Ms;
    readonly walDeadline: Ms;
    readonly signal: AbortSignal;
  },
): Promise<Result<SlotCopies, PostgresError>> {
  const found = await findSlots(context, options);
  if (!found.ok) return found;
  const wal = await LocalWal.look(context.config.dataDir, found.value.end);
  if (wal === null) return ok({ files: [], wal: [] });
  const files: SlotFile[] = [];
  const missing = new Set<bigint>();
  const short: SlotFile[] = [];
  for (const file of found.value.files) {
    const numbers = wal.missingFrom(file.from);
    if (numbers?.length === 0) files.push(file);
    else if (numbers === null) {
      context.log.info(`the logical slot "${file.name}" is not copied yet: the WAL from ${formatLsn(file.from)} on is not on this node`);
    } else {
      short.push(file);
      for (const number of numbers) missing.add(number);
    }
  }
  if (short.length === 0) return ok({ files, wal: [] });
  const names = short.map(({ name }) => `"${name}"`).join(", ");
  const { source, walDeadline: deadline, signal } = options;
  const fetched = await fetchMissingWal(context, { source, size: wal.size, missing: [...missing], deadline, signal });
  if (!fetched.ok) {
    context.log.info(
      `the logical slot ${names} is not copied yet: WAL that is not on this node cannot be fetched: ${fetched.error.message}`,
    );
    return ok({ files, wal: [] });
  }
  context.log.info(`fetched ${fetched.value.length} segments of WAL for the logical slot ${names}`);
  return ok({ files: [...files, ...short], wal: fetched.value });
}

async function findSlots(
  context: PostgresContext,
  options: { readonly source: FollowTarget; readonly slots: readonly LogicalSlot[]; readonly deadline: Ms },
): Promise<Result<{ readonly files: readonly SlotFile[]; readonly end: Lsn | null }, PostgresError>> {
  const { source, slots, deadline } = options;
  const refused = await whyNotTake(context, slots);
  if (refused !== null) return err({ kind: "refused", message: refused });
  const names = slots.map(({ name }) => literal(name)).join(", ");
  const command =
    "SELECT slot_name, plugin, database, restart_lsn, pg_catalog.pg_current_wal_lsn(), pg_catalog.encode(pg_catalog.pg_read_binary_file(" +
    `'pg_replslot/' || slot_name || '/state', 0, ${STATE_MAX_BYTES}, true), 'base64') FROM pg_catalog.pg_replication_slots ` +
    `WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_type = 'logical' AND slot_name IN (${names})`;
  const rows = await askServer(context, { user: context.config.rewind, target: source, commands: [command], deadline });
  if (!rows.ok) return rows;
  const files: SlotFile[] = [];
  let end: Lsn | null = null;
  for (const [name = "", plugin, database, position, current, content = ""] of rows.value) {
    end = parseLsn(current ?? "");
    const wanted = slots.find((slot) => slot.name === name);
    const from = parseLsn(position ?? "");
    if (wanted === undefined || !SLOT_NAME_PATTERN.test(name) || content === "" || from === null) continue;
    if (wanted.plugin !== plugin || wanted.database !== database) {
      const other = `database ${database}, plugin ${plugin}`;
      context.log.warning(`Will not copy the logical slot "${name}" due to the configuration mismatch: the primary's is of ${other}`);
    } else files.push({ name, from, state: Buffer.from(content, "base64") });
  }
  return ok({ files, end });
}

export interface PrimarySlots {
  readonly physicalFound: boolean;
  readonly physicalXmin: number | null;
  /** Slot → catalog_xmin. */
  readonly logicalXmin: ReadonlyMap<string, number>;
}

/** Asks what the primary's slots hold of its catalogs. Errors: as askServer; failed where it is no primary. */
export async function readPrimarySlots(
  context: PostgresContext,
  options: { readonly source: FollowTarget; readonly physical: string; readonly logical: readonly string[]; readonly deadline: Ms },
): Promise<Result<PrimarySlots, PostgresError>> {
  const { source, physical, logical, deadline } = options;
  const names = [physical, ...logical].map(literal).join(", ");
  const command =
    "SELECT slot_name, slot_type, catalog_xmin FROM pg_catalog.pg_replication_slots " +
    `WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_name IN (${names})`;
  const rows = await askServer(context, { user: context.config.rewind, target: source, commands: [command], deadline });
  if (!rows.ok) return rows;
  const held = rows.value.map(([name = "", type, xmin]) => ({ name, type, xmin: xmin === undefined || xmin === "" ? null : Number(xmin) }));
  const own = held.find(({ name, type }) => name === physical && type === "physical");
  const logicalXmin = new Map(held.flatMap(({ name, type, xmin }) => (type === "logical" && xmin !== null ? [[name, xmin] as const] : [])));
  return ok({ physicalFound: own !== undefined, physicalXmin: own?.xmin ?? null, logicalXmin });
}

/** Puts them, and their WAL, into the data directory of a stopped server, in place of slots of the same name. Errors: failed. */
export async function writeLogicalSlots(dataDir: string, { files, wal }: SlotCopies, log: Log): Promise<Result<null, PostgresError>> {
  const folder = join(dataDir, "pg_replslot");
  try {
    const { mode } = await stat(dataDir);
    // First: a slot without its WAL would be of no use.
    await placeWal(dataDir, wal);
    const here = await LocalWal.look(dataDir, null);
    for (const { name, from, state } of files) {
      // The stop may have removed some: then it would be a slot that cannot be read.
      if (here?.reaches(from) !== true) {
        log.info(`the logical slot "${name}" is not copied: not all WAL from ${formatLsn(from)} on is on this node`);
        continue;
      }
      // PostgreSQL removes what ends so when it starts: a crash here leaves nothing half made.
      const making = join(folder, `${name}.tmp`);
      await rm(making, { recursive: true, force: true });
      await mkdir(making, { mode: mode & 0o777 });
      const file = await open(join(making, "state"), "wx", mode & 0o666);
      try {
        await file.writeFile(state);
        await file.sync();
      } finally {
        await file.close();
      }
      await syncFolder(making);
      await rm(join(folder, name), { recursive: true, force: true });
      await rename(making, join(folder, name));
    }
    await syncFolder(folder);
    return ok(null);
  } catch (error) {
    return err({ kind: "failed", message: `the slots cannot be written: ${reasonOf(error)}` });
  }
}

/** PostgreSQL does not start with slots that its settings do not allow. */
async function whyNotTake({ config }: PostgresContext, wanted: readonly LogicalSlot[]): Promise<string | null> {
  const { wal_level: level, max_replication_slots: limit } = config.controlledParameters;
  if (level !== "logical") return `a restart would bring wal_level ${level}, and logical slots need wal_level logical`;
  const there = (await readdir(join(config.dataDir, "pg_replslot"))).filter((name) => wanted.every((slot) => slot.name !== name));
  return there.length + wanted.length > Number(limit)
    ? `max_replication_slots is ${limit}, and ${there.length} slots are here already`
    : null;
}
