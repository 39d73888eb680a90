// Owns keeping the lease on disk for a restarted supervisor, and reading what the one before left.

import { join } from "node:path";
import type { Log } from "../model/log.ts";
import type { Result } from "../model/result.ts";
import { err, ok } from "../model/result.ts";
import { ms, revision } from "../model/units.ts";
import type { Watchdog } from "../postgres/watchdog/watchdog.ts";
import { bootId, type LeaseFile, openLeaseFile, readLeaseFile } from "./lease-file.ts";
import type { FormerLease, LeaseKeeper } from "./node-context.ts";
import type { NodeState } from "./node-state.ts";
import { stateDir } from "./run-lock.ts";
import type { TwinFileError } from "./twin-file.ts";

export class DiskLeaseKeeper implements LeaseKeeper {
  readonly #file: LeaseFile;
  readonly #former: FormerLease | null;
  readonly #state: NodeState;
  readonly #watchdog: Watchdog;
  readonly #dataDir: string;
  readonly #log: Log;

  private constructor(file: LeaseFile, former: FormerLease | null, options: LeaseKeeperOptions) {
    this.#file = file;
    this.#former = former;
    this.#state = options.state;
    this.#watchdog = options.watchdog;
    this.#dataDir = options.dataDir;
    this.#log = options.log;
  }

  /** Only the holder of the run lock may. Errors: the file cannot be written. */
  static open(options: LeaseKeeperOptions): Result<DiskLeaseKeeper, TwinFileError> {
    const path = join(stateDir(options.dataDir), "lease");
    const former = readFormer(path, options.dataDir);
    const file = openLeaseFile(path);
    return file.ok ? ok(new DiskLeaseKeeper(file.value, former, options)) : err(file.error);
  }

  former(): FormerLease | null {
    return this.#former;
  }

  save(lease: Parameters<LeaseKeeper["save"]>[0]): void {
    const { local } = this.#state;
    const process = local.process;
    const written = this.#file.write({
      session: lease.session,
      lockRevision: lease.revision,
      deadline: lease.deadline,
      checkedUntil: this.#state.checkedUntil() ?? 0,
      bootId: bootId(),
      systemIdentifier: local.systemIdentifier ?? "",
      dataDir: this.#dataDir,
      postmaster: process.kind === "running" ? { pid: process.pid, startTicks: process.startTicks } : null,
      guard: this.#watchdog.guardProcess(),
    });
    if (!written.ok) this.#log.warning(`${written.error.path}: ${written.error.message}`);
  }

  clear(): void {
    const cleared = this.#file.clear();
    if (!cleared.ok) this.#log.warning(`${cleared.error.path}: ${cleared.error.message}`);
  }
}

export interface LeaseKeeperOptions {
  readonly dataDir: string;
  readonly state: NodeState;
  readonly watchdog: Watchdog;
  readonly log: Log;
}

function readFormer(path: string, dataDir: string): FormerLease | null {
  const record = readLeaseFile(path);
  if (record === null || record.dataDir !== dataDir) return null;
  return {
    session: record.session,
    revision: revision(record.lockRevision),
    deadline: ms(record.deadline),
    sameBoot: record.bootId === bootId(),
    checkedUntil: ms(record.checkedUntil ?? 0),
    systemIdentifier: record.systemIdentifier,
    postmaster: record.postmaster,
    guard: record.guard,
  };
}
