// Owns the System V segments of servers that were killed: the kernel keeps each until somebody removes it, and has room for
// 4096. The next server in the same data directory would; for a directory that goes with its test, this does.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Removes those of the dead servers whose postmaster.pid lies somewhere below `folder`, which may be gone already. */
export function releaseSharedMemory(folder: string): void {
  const unused = unusedSegments();
  for (const file of lockFilesBelow(folder)) {
    // Its seventh line: the segment's key and id.
    const [, id] = (readFileSync(file, "utf8").split("\n")[6] ?? "").trim().split(/\s+/);
    if (id === undefined || !unused.has(id)) continue;
    const { status, stderr } = spawnSync("ipcrm", ["-m", id], { encoding: "utf8" });
    if (status !== 0) process.stderr.write(`ipcrm -m ${id}: ${stderr}\n`);
  }
}

function lockFilesBelow(folder: string): readonly string[] {
  try {
    const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
    return names.filter((name) => /(^|\/)postmaster\.pid$/.test(name)).map((name) => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

/** Ids of the segments that nobody has attached. */
function unusedSegments(): ReadonlySet<string> {
  const [head = "", ...rows] = readFileSync("/proc/sysvipc/shm", "utf8").trim().split("\n");
  const names = head.trim().split(/\s+/);
  const [id, attached] = [names.indexOf("shmid"), names.indexOf("nattch")];
  const fields = rows.map((row) => row.trim().split(/\s+/));
  return new Set(fields.flatMap((row) => (row[attached] === "0" ? [row[id] ?? ""] : [])));
}
