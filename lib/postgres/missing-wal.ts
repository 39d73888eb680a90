// Owns the WAL that a standby lacks for a logical slot it copies: which segments those are, their fetching from the primary over
// SQL, and their way into pg_wal while the server is stopped. The primary keeps them for as long as it has the slot.

import { open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Lsn, Ms } from "../model/units.ts";
import { isMissing, reasonOf, syncFolder } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { literal } from "./sql-literal.ts";
import { askServer } from "./upstream.ts";

/**
 * From the slot's first segment to the newest one here, at most: less than the 128 MB of wal_keep_size that a restart leaves, so that
 * the restart which brings the slot removes nothing of what it needs. A slot that is further behind is copied when its consumer has read on.
 */
const ROW_MAX_BYTES = 96n * 1024n * 1024n;
const SEGMENT = /^[0-9A-F]{24}$/;
const SEGMENT_MIN_BYTES = 1024n * 1024n;
/** PostgreSQL passes over files of such names. */
const FETCHED = ".fetched";

/** The segments of pg_wal, of whatever timeline. */
export class LocalWal {
  /** Bytes of a segment. */
  readonly size: bigint;
  readonly #numbers: ReadonlySet<bigint>;
  readonly #newest: bigint;

  private constructor(size: bigint, numbers: ReadonlySet<bigint>, newest: bigint) {
    this.size = size;
    this.#numbers = numbers;
    this.#newest = newest;
  }

  /** Segments after the one that `end` lies in are recycled ones without content. null where there is none. Throws the file system's error. */
  static async look(dataDir: string, end: Lsn | null): Promise<LocalWal | null> {
    const folder = join(dataDir, "pg_wal");
    const names = (await readdir(folder)).filter((name) => SEGMENT.test(name));
    const size = await sizeOfFirst(folder, names);
    if (size === null) return null;
    const numbers = names.map((name) => numberOf(name, size)).filter((number) => end === null || number <= end / size);
    const [newest] = [...numbers].sort((one, other) => (one > other ? -1 : 1));
    return newest === undefined ? null : new LocalWal(size, new Set(numbers), newest);
  }

  /** Numbers of the segments between that position and the newest one here that are not here; null where the whole row is too long. */
  missingFrom(position: Lsn): readonly bigint[] | null {
    const missing: bigint[] = [];
    for (let number = position / this.size; number <= this.#newest; number++) {
      if (!this.#numbers.has(number)) missing.push(number);
      if (missing.length > 0 && (this.#newest - position / this.size + 1n) * this.size > ROW_MAX_BYTES) return null;
    }
    return missing;
  }

  /** Everything from that position on. */
  reaches(position: Lsn): boolean {
    return this.missingFrom(position)?.length === 0;
  }
}

/**
 * Fetches those segments and puts them beside the ones of pg_wal; `placeWal` puts them among them. Value: their names. Errors:
 * unreachable, timeout, cancelled, failed (the primary lacks one as well, the disk); then nothing stays.
 */
export async function fetchMissingWal(
  context: PostgresContext,
  options: {
    readonly source: FollowTarget;
    readonly size: bigint;
    readonly missing: readonly bigint[];
    readonly deadline: Ms;
    readonly signal: AbortSignal;
  },
): Promise<Result<readonly string[], PostgresError>> {
  const { dataDir } = context.config;
  try {
    await dropFetched(dataDir);
    const fetched = await fetchAll(context, options);
    if (!fetched.ok) await dropFetched(dataDir);
    return fetched;
  } catch (error) {
    await dropFetched(dataDir).catch((reason: unknown) => context.log.warning(`what was fetched of WAL stays: ${reasonOf(reason)}`));
    return err({ kind: "failed", message: `the missing WAL cannot be written: ${reasonOf(error)}` });
  }
}

async function fetchAll(
  context: PostgresContext,
  { source, size, missing, deadline, signal }: Parameters<typeof fetchMissingWal>[1],
): Promise<Result<readonly string[], PostgresError>> {
  const { dataDir, rewind: user } = context.config;
  const question = { user, target: source, deadline, signal };
  const listed = await askServer(context, { ...question, commands: ["SELECT pg_catalog.pg_ls_dir('pg_wal', true, false)"] });
  if (!listed.ok) return listed;
  const names = listed.value.flatMap(([name = ""]) => (SEGMENT.test(name) && missing.includes(numberOf(name, size)) ? [name] : []));
  const found = new Set(names.map((name) => numberOf(name, size)));
  if (missing.some((number) => !found.has(number)))
    return err({ kind: "failed", message: `${source.name} does not have all of it any more` });
  for (const name of names) {
    const text = join(dataDir, "pg_wal", `${name}.base64${FETCHED}`);
    await writeFile(text, "", { mode: 0o600 });
    const command = `SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file(${literal(`pg_wal/${name}`)}), 'base64')`;
    const read = await askServer(context, { ...question, commands: [command], output: text });
    if (!read.ok) return read;
    const content = Buffer.from(await readFile(text, "latin1"), "base64");
    await rm(text);
    if (BigInt(content.length) !== size) return err({ kind: "failed", message: `${name} came with ${content.length} bytes` });
    await writeSynced(join(dataDir, "pg_wal", `${name}${FETCHED}`), content);
  }
  return ok(names);
}

/**
 * Puts fetched segments among those of a stopped server, marked as archived: the primary's archiver saw to them. The newest first,
 * so that what is interrupted still shows that the oldest is missing. Throws the file system's error.
 */
export async function placeWal(dataDir: string, names: readonly string[]): Promise<void> {
  const folder = join(dataDir, "pg_wal");
  for (const name of [...names].sort().reverse()) {
    await writeSynced(join(folder, "archive_status", `${name}.done`), Buffer.alloc(0));
    await rename(join(folder, `${name}${FETCHED}`), join(folder, name));
  }
  if (names.length > 0) await syncFolder(folder);
}

/** Of one that is neither removed meanwhile nor just being made; null where there is none. */
async function sizeOfFirst(folder: string, names: readonly string[]): Promise<bigint | null> {
  for (const name of names) {
    const found = await stat(join(folder, name)).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    });
    const size = BigInt(found?.size ?? 0);
    if (size >= SEGMENT_MIN_BYTES && (size & (size - 1n)) === 0n) return size;
  }
  return null;
}

/** What an earlier fetch left. */
async function dropFetched(dataDir: string): Promise<void> {
  const folder = join(dataDir, "pg_wal");
  for (const name of await readdir(folder)) if (name.endsWith(FETCHED)) await rm(join(folder, name));
}

async function writeSynced(path: string, content: Buffer): Promise<void> {
  const file = await open(path, "w", 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Of a segment, counted from the begin of all WAL. */
function numberOf(name: string, size: bigint): bigint {
  return BigInt(`0x${name.slice(8, 16)}`) * (0x1_0000_0000n / size) + BigInt(`0x${name.slice(16)}`);
}
