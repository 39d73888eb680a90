// Owns why pg_upgrade failed, where its own words do not say so: what a server said that it could not start, and a disk that is full. Reads only.

import { readdir, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { sizeText } from "../../model/size-text.ts";
import { isThere, readIfThere } from "../atomic-file.ts";

const SERVER_LOG = "pg_upgrade_server.log";
/** A server that cannot write its next two segments of WAL does not start; this is of those of the usual size. */
const FULL_BELOW_BYTES = 32 * 1024 ** 2;
const WAL_SEGMENT_MB = /^--wal-segsize=(\d+)$/;

/** Lines of the servers' logs in and below these folders; pg_upgrade only names the file, which is removed. A folder may be missing. */
export async function serverComplaints(folders: readonly string[]): Promise<readonly string[]> {
  const told: string[] = [];
  for (const folder of folders) {
    if (!(await isThere(folder))) continue;
    const names = await readdir(folder, { recursive: true });
    for (const name of names.filter((path) => basename(path) === SERVER_LOG)) {
      const lines = ((await readIfThere(join(folder, name))) ?? "").split("\n");
      told.push(
        ...lines.filter((line) => /\b(LOG|ERROR|FATAL|PANIC):.*(parameter|configuration|could not|invalid|certificate)/.test(line)),
      );
    }
  }
  return told;
}

/**
 * A server whose disk is full may not even have had room for its words. `initdb`: words that its cluster is made with. Looks at the disk of
 * its WAL, too.
 */
export async function fullDisk(dataDir: string, initdb: readonly string[]): Promise<readonly string[]> {
  const segment = Math.max(0, ...initdb.map((word) => Number(WAL_SEGMENT_MB.exec(word)?.[1] ?? 0))) * 1024 ** 2;
  const wanted = Math.max(FULL_BELOW_BYTES, 2 * segment);
  for (const folder of [dataDir, join(dataDir, "pg_wal")]) {
    if (!(await isThere(folder))) continue;
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize < wanted) return [`the disk of ${folder} is full: ${sizeText(bavail * bsize)} are free`];
  }
  return [];
}
