// Owns looking for secrets where none may be, during a whole run of the tests: in what servers and tools leave behind as files, and on
// command lines. Every secret of a test's servers begins with one mark, so that one look finds them all. It shows none.

import { execFile } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";

/** The beginning of every secret that tests give to their servers (test/harness/passwords.ts); it stands in nothing else. */
export const SECRET_MARK = "hush-";
/** The mark as grep reads it, so that the search does not find itself. */
const MARK_PATTERN = "hush[-]";
/** Where a secret belongs: configuration files (also as they were before an upgrade), the password files of libpq and PgBouncer, files of one secret. */
const MEANT = /^([\w-]+\.ya?ml(\.before-upgrade-[\d-]+)?|users\.txt|userlist\.txt|pgpass|\.pgpass_\w+|secret-[\w-]+)$/;
/** What the database itself holds is whoever's wrote it there; all else of a data directory is searched. */
const TABLES_AND_WAL = ["base", "pg_wal"];
/** Of a search's own output: far more places than anybody reads. */
const OUTPUT_MAX_BYTES = 1024 * 1024;

/** Places below the folder that hold a secret and may not, or that others may read; paths from there on. [] where all is well. */
export async function secretsInFiles(folder: string): Promise<readonly string[]> {
  const found = await filesWithMark(folder);
  return found.flatMap((path) => {
    const place = path.slice(folder.length).replace(/^\/+/, "");
    if (!MEANT.test(basename(path))) return [place];
    const mode = statSync(path).mode & 0o777;
    return (mode & 0o077) === 0 ? [] : [`${place} (mode ${mode.toString(8)})`];
  });
}

function filesWithMark(folder: string): Promise<readonly string[]> {
  const args = ["-rlas", ...TABLES_AND_WAL.map((name) => `--exclude-dir=${name}`), "-e", MARK_PATTERN, folder];
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  execFile("grep", args, { env: { ...process.env, LC_ALL: "C" }, maxBuffer: OUTPUT_MAX_BYTES }, (error, stdout) => {
    // 1: nothing was found. 2: among others, a file that has gone since the folder was read.
    if (error !== null && error.code !== 1 && error.code !== 2) reject(error);
    else resolve(stdout.split("\n").filter((line) => line !== ""));
  });
  return promise;
}

/** Often enough for what runs as long as a base backup of an empty database. */
const LOOK_EVERY_MS = 250;

/** Looks at the arguments of all processes again and again; what it finds belongs to the stage whose mark the process inherited. */
export class CommandLineWatch {
  readonly #seen = new Map<string, Set<string>>();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #markName: string;

  /** `markName`: the variable whose value tells stages apart. */
  constructor(markName: string) {
    this.#markName = markName;
    this.#timer = setInterval(() => this.look(), LOOK_EVERY_MS);
  }

  end(): void {
    clearInterval(this.#timer);
  }

  look(): void {
    for (const pid of readdirSync("/proc")) {
      if (!/^\d+$/.test(pid)) continue;
      const words = readProcess(pid, "cmdline");
      if (!words.includes(SECRET_MARK)) continue;
      const mark = readProcess(pid, "environ")
        .split("\0")
        .find((variable) => variable.startsWith(`${this.#markName}=`));
      if (mark === undefined) continue;
      const places = this.#seen.get(mark) ?? new Set();
      places.add(`the command line of ${basename(words.split("\0")[0] ?? "")}`);
      this.#seen.set(mark, places);
    }
  }

  /** What was seen of processes with this mark, such as `NAME=VALUE`; and forgets it. */
  take(mark: string): readonly string[] {
    const places = [...(this.#seen.get(mark) ?? [])];
    this.#seen.delete(mark);
    return places;
  }
}

/** "" of a process that has ended since it was listed, or that may not be looked at. */
function readProcess(pid: string, file: "cmdline" | "environ"): string {
  try {
    return readFileSync(join("/proc", pid, file), "utf8");
  } catch {
    return "";
  }
}
