// The lease on disk: what was written last is read back, whatever a crash or a full disk left beside it.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bootId, type LeaseFile, type LeaseRecord, openLeaseFile, readLeaseFile } from "../../../lib/runtime/lease-file.ts";

const folder = mkdtempSync(join(tmpdir(), "lease-file-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function record(lockRevision: number): LeaseRecord {
  return {
    session: "f0e1",
    lockRevision,
    deadline: 123456.789,
    bootId: bootId(),
    systemIdentifier: "7312345678901234567",
    dataDir: "/data/ß",
    postmaster: { pid: 10, startTicks: 20 },
    guard: null,
  };
}

function opened(path: string): LeaseFile {
  const file = openLeaseFile(path);
  if (!file.ok) throw new Error(file.error.message);
  return file.value;
}

describe("LeaseFile", () => {
  test("the last record is read, also by a later process", () => {
    const path = join(folder, "a");
    expect(readLeaseFile(path)).toBeNull();
    const file = opened(path);
    for (const revision of [1, 2, 3]) expect(file.write(record(revision)).ok).toBe(true);
    file.close();
    expect(readLeaseFile(path)).toEqual(record(3));
    const next = opened(path);
    next.write(record(4));
    expect(readLeaseFile(path)).toEqual(record(4));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    next.clear();
    expect(readLeaseFile(path)).toBeNull();
    next.close();
  });

  test("a write that was cut off anywhere leaves the one before", () => {
    const path = join(folder, "b");
    const file = opened(path);
    file.write(record(1));
    const before = readFileSync(path);
    file.write(record(2));
    const after = readFileSync(path);
    file.close();
    for (let cut = 0; cut < 400; cut += 7) {
      const torn = Buffer.alloc(after.length);
      before.copy(torn);
      after.copy(torn, 0, 0, cut);
      writeFileSync(path, torn);
      expect([1, 2]).toContain(readLeaseFile(path)?.lockRevision ?? 0);
    }
  });

  test("a foreign or shortened file is no lease", () => {
    const path = join(folder, "c");
    writeFileSync(path, "not ours\n");
    expect(readLeaseFile(path)).toBeNull();
    const file = opened(path);
    file.write(record(9));
    file.close();
    expect(readLeaseFile(path)?.lockRevision).toBe(9);
    truncateSync(path, 5);
    expect(readLeaseFile(path)).toBeNull();
  });

  test("a path that cannot be written is one clear error", () => {
    const result = openLeaseFile("/proc/nothing");
    expect(result.ok).toBe(false);
    if (!result.ok) expect(result.error.path).toBe("/proc/nothing");
  });

  test("a record that does not fit is refused, and the one before stays", () => {
    const path = join(folder, "d");
    const file = opened(path);
    file.write(record(1));
    expect(file.write({ ...record(2), dataDir: "x".repeat(9000) }).ok).toBe(false);
    expect(readLeaseFile(path)?.lockRevision).toBe(1);
    file.close();
  });
});
