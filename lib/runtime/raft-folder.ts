// Owns what a member's process checks around the Raft before it starts: that nobody else uses its folder, and whether this
// node's PostgreSQL data may found a new Raft (docs/raft.md). Reads and writes one small file in PostgreSQL's data directory.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type RaftClusterId, raftClusterId } from "../model/raft.ts";
import { err, type Result } from "../model/result.ts";
import { replaceFile } from "../postgres/atomic-file.ts";
import { acquireRunLock, type RunLock } from "./run-lock.ts";

/** In PostgreSQL's data directory; base backups carry it to the replicas, which is right: they belong to the same Raft. */
const CLUSTER_FILE = "matriarch.raft";

export interface RaftFolderError {
  readonly kind: "held" | "unusable";
  /** One line with the option to blame. */
  readonly message: string;
}

/** Takes the member's folder for the life of this process. `user` names who has it, for whoever comes next. */
export function lockRaftFolder(folder: string, user: string): Result<RunLock, RaftFolderError> {
  const lock = acquireRunLock(join(folder, "lock"), user);
  if (lock.ok) return lock;
  if (lock.error.kind === "unusable") return err({ kind: "unusable", message: `raft.data_dir: ${lock.error.message}` });
  return err({ kind: "held", message: `raft.data_dir: another member runs in ${folder} (pid ${lock.error.holderPid}); stop it first` });
}

/**
 * Whether an empty member beside this data directory may found a Raft. Data that is there belongs to a cluster whose state was
 * kept elsewhere: founding anew would forget who leads it. `adopt`: the operator says that there is no other.
 */
export function mayFound(dataDir: string, adopt: "adopt" | "careful"): boolean {
  return adopt === "adopt" || !existsSync(dataDir) || readdirSync(dataDir).length === 0;
}

/** The Raft that this data was last used with; null where it says none. */
export function raftOfData(dataDir: string): RaftClusterId | null {
  try {
    return raftClusterId(readFileSync(join(dataDir, CLUSTER_FILE), "utf8").trim());
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return null;
    throw error;
  }
}

/** Writes it down durably, where it is not so already; true where it was another one. Rejects with the system's error. */
export async function noteRaftOfData(dataDir: string, id: RaftClusterId): Promise<boolean> {
  const before = raftOfData(dataDir);
  if (before === id) return false;
  await replaceFile(join(dataDir, CLUSTER_FILE), `${id}\n`);
  return before !== null;
}
