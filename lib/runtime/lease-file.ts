// Owns the lease on disk: what a restarted supervisor needs to go on with the session, the deadline and the guard of the
// one that died. It survives the death of the process, not of the machine (the boot id tells).
// Must not judge whether the lease may be continued: it reports what was written.

import { readFileSync } from "node:fs";
import * as v from "valibot";
import type { Result } from "../model/result.ts";
import { readTwinFile, TwinFile, type TwinFileError } from "./twin-file.ts";

const ProcessSchema = v.object({ pid: v.number(), startTicks: v.number() });

const LeaseRecordSchema = v.object({
  session: v.string(),
  lockRevision: v.number(),
  /** End of the lease on the boot-time clock, in ms. */
  deadline: v.number(),
  /** The end by the store's last confirmation alone, without rounds of failsafe mode; absent in a record of an earlier version. */
  checkedUntil: v.optional(v.number()),
  bootId: v.string(),
  systemIdentifier: v.string(),
  dataDir: v.string(),
  postmaster: v.nullable(ProcessSchema),
  guard: v.nullable(ProcessSchema),
});

/** Everything that is needed to continue a lease. Session and revision are the store's. */
export type LeaseRecord = v.InferOutput<typeof LeaseRecordSchema>;

export type LeaseFile = TwinFile<LeaseRecord>;

/** Only the holder of the run lock may. Errors: the path cannot be written. */
export function openLeaseFile(path: string): Result<LeaseFile, TwinFileError> {
  return TwinFile.open(path, LeaseRecordSchema);
}

/** The lease that was written last; null where there is none, it was cleared, or the file is not ours. */
export function readLeaseFile(path: string): LeaseRecord | null {
  return readTwinFile(path, LeaseRecordSchema);
}

let bootIdRead: string | null = null;

/** Changes with each boot of the machine. Throws where /proc is not there. */
export function bootId(): string {
  bootIdRead ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  return bootIdRead;
}
