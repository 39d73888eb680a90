// Owns the WAL that a standby lacks for a logical slot it copies: which segments those are, their fetching from the primary over
// SQL, and their way into pg_wal while the server is stopped. The primary keeps them for as long as it has the slot.

import { open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Lsn, Ms } from "../model/units.ts";
import { reasonOf, syncFolder } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { literal } from "./sql-literal.ts";
import { askServer } from "./upstream.ts";

/** 1 GiB of the usual 16 MiB each: a slot that is further behind is copied when its consumer has read on. */
const SEGMENTS_MAX = 64;
const SEGMENT = /^[0-9A-F]{24}$/;
/** PostgreSQL passes over files of such names. */
const FETCHED = ".fetched";

/** The segments of pg_wal, of whatever timeline. */
export class LocalWal {
  readonly #size: bigint;
  readonly #numbers: ReadonlySet<bigint>;

  private constructor(size: bigint, numbers: ReadonlySet<bigint>) {
    this.#size = size;
    this.#numbers = numbers;
  }

  /** null where there is none. Throws the file system's error. */
  static async look(dataDir: string): Promise<LocalWal | null> {
    const folder = join(dataDir, "pg_wal");
    const names = (await readdir(folder)).filter((name) => SEGMENT.test(name));
    const [first] = names;
    if (first === undefined) return null;
    const size = BigInt((await stat(join(folder, first))).size);
    return new LocalWal(size, new Set(names.map((name) => numberOf(name, size))));
  }

  /** Bytes of a segment. */
  get size(): bigint {
    return this.#size;
  }

  holds(position: Lsn): boolean {
    return this.#numbers.has(position / this.#size);
  }

  /** Numbers of the segments from that position up to the first one that is here; null where that would be more than is fetched. */
  missingFrom(position: Lsn): readonly bigint[] | null {
    const missing: bigint[] = [];
    for (let number = position / this.#size; !this.#numbers.has(number); number++) {
      if (missing.length === SEGMENTS_MAX) return null;
      missing.push(number);
    }
    return missing;
  }
}

/**
 * Fetches what is missing from that position on, beside the segments of pg_wal; `placeWal` puts it among them. Value: names of the
 * segments. Errors: refused (too many), unreachable, timeout, cancelled, failed (the primary lacks one as well, the disk).
 */
export async function fetchMissingWal(
  context: PostgresContext,
  options: {
    readonly source: FollowTarget;
    readonly wal: LocalWal;
    readonly from: Lsn;
    readonly deadline: Ms;
    readonly signal: AbortSignal;
  },
): Promise<Result<readonly string[], PostgresError>> {
  const { source, wal, from, deadline, signal } = options;
  const { dataDir, rewind: user } = context.config;
  const missing = wal.missingFrom(from);
  if (missing === null) return err({ kind: "refused", message: `more than ${SEGMENTS_MAX} segments would have to be fetched` });
  const question = { user, target: source, deadline, signal };
  const listed = await askServer(context, { ...question, commands: ["SELECT pg_catalog.pg_ls_dir('pg_wal', true, false)"] });
  if (!listed.ok) return listed;
  const names = listed.value.flatMap(([name = ""]) => (SEGMENT.test(name) && missing.includes(numberOf(name, wal.size)) ? [name] : []));
  const found = new Set(names.map((name) => numberOf(name, wal.size)));
  if (missing.some((number) => !found.has(number)))
    return err({ kind: "failed", message: `${source.name} does not have all of it any more` });
  try {
    await dropFetched(dataDir);
    for (const name of names) {
      const text = join(dataDir, "pg_wal", `${name}.base64${FETCHED}`);
      await writeFile(text, "", { mode: 0o600 });
      const command = `SELECT pg_catalog.encode(pg_catalog.pg_read_binary_file(${literal(`pg_wal/${name}`)}), 'base64')`;
      const read = await askServer(context, { ...question, commands: [command], output: text });
      if (!read.ok) return read;
      const content = Buffer.from(await readFile(text, "latin1"), "base64");
      await rm(text);
      if (BigInt(content.length) !== wal.size) return err({ kind: "failed", message: `${name} came with ${content.length} bytes` });
      await writeSynced(join(dataDir, "pg_wal", `${name}${FETCHED}`), content);
    }
    return ok(names);
  } catch (error) {
    return err({ kind: "failed", message: `the missing WAL cannot be written: ${reasonOf(error)}` });
  }
}

/** Puts fetched segments among those of a stopped server, marked as archived: the primary's archiver saw to them. Throws the file system's error. */
export async function placeWal(dataDir: string, names: readonly string[]): Promise<void> {
  const folder = join(dataDir, "pg_wal");
  for (const name of names) {
    await writeSynced(join(folder, "archive_status", `${name}.done`), Buffer.alloc(0));
    await rename(join(folder, `${name}${FETCHED}`), join(folder, name));
  }
  if (names.length > 0) await syncFolder(folder);
}

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
