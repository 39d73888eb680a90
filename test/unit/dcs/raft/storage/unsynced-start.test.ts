// Goal: what a start of the storage reports as there is on the disk, whatever the process before it left unsynced.

import { describe, expect, test } from "bun:test";
import { DiskError } from "../../../../../lib/dcs/raft/storage/disk.ts";
import { FakeDisk, KEEP_NOTHING } from "../../../../raft/fake-disk.ts";
import { append, BOB, entry, mustFound, mustOpen, vote } from "./storage-fixtures.ts";

/** A folder with one durable entry, and a second entry and a vote that the disk refused to sync. */
async function afterFailedSync(): Promise<FakeDisk> {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  await new Promise<void>((resolve) => {
    storage.onDurable = () => resolve();
    storage.write({ sequence: 1, writes: [vote(1, null), append(entry(1))] });
  });
  disk.fault = ({ kind, file }) => (kind === "sync" ? new DiskError("failed", file, "input/output error") : null);
  await new Promise<void>((resolve) => {
    storage.onFailure = () => resolve();
    storage.write({ sequence: 2, writes: [vote(2, BOB), append(entry(2, 2))] });
  });
  disk.fault = null;
  return disk;
}

describe("a start after a sync that failed", () => {
  test("makes durable what it reports: the machine's death right after it takes none of it away", async () => {
    const disk = await afterFailedSync();
    disk.kill();
    const reported = await mustOpen(disk);
    disk.crash(KEEP_NOTHING);
    const found = await mustOpen(disk);
    expect(found.log).toBe("whole");
    expect(found.entries).toEqual(reported.entries);
    expect(found.hardState).toEqual(reported.hardState);
  });

  test("leaves no hole behind which later entries stand", async () => {
    const disk = await afterFailedSync();
    disk.kill();
    const { storage, entries } = await mustOpen(disk);
    const next = (entries.at(-1)?.index ?? 0) + 1;
    await new Promise<void>((resolve) => {
      storage.onDurable = () => resolve();
      storage.write({ sequence: 1, writes: [append(entry(next, 2))] });
    });
    disk.crash(KEEP_NOTHING);
    const found = await mustOpen(disk);
    expect(found.log).toBe("whole");
    expect(found.entries.length).toBe(next);
  });
});
