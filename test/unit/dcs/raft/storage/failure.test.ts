// Disks that are full, read-only or broken: a full one is reported while there is still room to write, any other error stops
// everything at once, and nothing is ever synced again after a failed sync.

import { describe, expect, test } from "bun:test";
import { DiskError } from "../../../../../lib/dcs/raft/storage/disk.ts";
import { term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import type { DiskOperation } from "../../../../raft/fake-file.ts";
import { settled } from "./history.ts";
import { ALICE, append, entry, IDENTITY, meta, mustFound, mustOpen, open, SMALL_SEGMENT, vote, Writing } from "./storage-fixtures.ts";

function failing(kind: DiskOperation["kind"], file: string): (operation: DiskOperation) => DiskError | null {
  return (operation) =>
    operation.kind === kind && operation.file.startsWith(file) ? new DiskError("failed", operation.file, `${kind} failed: EIO`) : null;
}

describe("a full disk", () => {
  test("is reported when the next segment cannot be had, while the current one still takes all that fits", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const rooms: string[] = [];
    storage.onRoom = (room) => rooms.push(room);
    const writing = new Writing(storage);
    await writing.write(append(entry(1, 1, new Uint8Array(3000))));
    expect(rooms).toEqual([]);
    disk.full = true;
    // The second segment is there; taking it into use asks for a third.
    await writing.write(append(entry(2, 1, new Uint8Array(1500))));
    await settled();
    expect(rooms).toEqual(["full"]);
    expect(storage.room).toBe("full");
    for (let index = 3; index <= 15; index += 1) await writing.write(append(entry(index, 1, new Uint8Array(100))));
    expect(rooms).toEqual(["full"]);
  });

  test("lets batches wait where not a byte is left, and takes them up once there is room", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const rooms: string[] = [];
    storage.onRoom = (room) => rooms.push(room);
    const writing = new Writing(storage);
    await writing.write(append(entry(1, 1, new Uint8Array(3900))));
    disk.full = true;
    await writing.write(append(entry(2, 1, new Uint8Array(3900))));
    let durable = false;
    const waiting = writing.write(append(entry(3, 1, new Uint8Array(500))), vote(7, ALICE)).then(() => {
      durable = true;
    });
    storage.retryRoom();
    await settled();
    expect(durable).toBe(false);
    expect(rooms).toEqual(["full"]);
    disk.full = false;
    storage.retryRoom();
    await waiting;
    expect(rooms).toEqual(["full", "room"]);
    await storage.close();
    const found = await mustOpen(disk);
    expect(found.entries.length).toBe(3);
    expect(found.hardState.term).toBe(term(7));
  });

  test("stops the member once more waits than it may keep in memory", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const writing = new Writing(storage);
    await writing.write(append(entry(1, 1, new Uint8Array(3900))));
    disk.full = true;
    await writing.write(append(entry(2, 1, new Uint8Array(3900))));
    const large = new Uint8Array(16 * 1024 * 1024);
    const writes = [3, 4, 5, 6].map((index) => writing.write(append(entry(index, 1, large))));
    const outcomes = await Promise.allSettled(writes);
    expect(outcomes.map(({ status }) => status)).toEqual(Array(4).fill("rejected"));
    expect((outcomes[0] as PromiseRejectedResult).reason).toMatchObject({ kind: "full" });
  });

  test("has room again when a snapshot lets old segments go", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const writing = new Writing(storage);
    const rooms: string[] = [];
    storage.onRoom = (room) => rooms.push(room);
    disk.fault = ({ kind, file }) =>
      kind === "create" && file.startsWith("log-") && disk.names().filter((name) => name.startsWith("log-")).length > 4
        ? new DiskError("full", file, "no space")
        : null;
    for (let index = 1; index <= 4; index += 1) await writing.write(append(entry(index, 1, new Uint8Array(3900))));
    await settled();
    expect(rooms).toEqual(["full"]);
    await storage.saveSnapshot(meta(2), new Uint8Array(5));
    await storage.saveSnapshot(meta(3), new Uint8Array(5));
    await settled();
    expect(rooms).toEqual(["full", "room"]);
  });

  test("refuses a snapshot and an identity without harm: what was there stands, and the member goes on", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const writing = new Writing(storage);
    await writing.write(append(entry(1), entry(2)));
    await storage.saveSnapshot(meta(1), new Uint8Array(5));
    disk.full = true;
    await expect(storage.saveSnapshot(meta(2), new Uint8Array(5))).rejects.toMatchObject({ kind: "full" });
    await expect(storage.writeIdentity({ ...IDENTITY, address: "else:1" })).rejects.toMatchObject({ kind: "full" });
    await expect(storage.receive({ meta: meta(9), size: 100, offset: 0, data: new Uint8Array(5) })).rejects.toMatchObject({ kind: "full" });
    await writing.write(append(entry(3)));
    disk.full = false;
    await storage.saveSnapshot(meta(2), new Uint8Array(5));
    await storage.close();
    const found = await mustOpen(disk);
    expect(found).toMatchObject({ identity: IDENTITY, entries: [entry(3)], log: "whole" });
  });

  test("before the first segment is a fault that asks for room", async () => {
    const disk = new FakeDisk();
    disk.fault = ({ kind, file }) => (kind === "create" && file.startsWith("log-") ? new DiskError("full", file, "no space left") : null);
    expect(await open(disk)).toMatchObject({
      ok: false,
      error: { kind: "disk", message: "no space left. Make room on the disk, then start again" },
    });
    disk.fault = null;
    expect(await open(disk)).toMatchObject({ ok: true });
  });

  test("with a segment to write to opens, and says that there is no room for another", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    await new Writing(storage).write(append(entry(1)));
    await storage.close();
    disk.vanish("log-00000000000000000002.seg");
    disk.full = true;
    const found = await mustOpen(disk);
    expect(found.storage.room).toBe("full");
    await new Writing(found.storage).write(append(entry(2)));
  });
});

describe("a disk that fails", () => {
  for (const [kind, file] of [
    ["write", "log-"],
    ["sync", "log-"],
    ["write", "state-"],
    ["sync", "state-"],
  ] as const) {
    test(`at a ${kind} of ${file} stops all at once: one report, nothing durable, no further write or sync`, async () => {
      const disk = new FakeDisk();
      const storage = await mustFound(disk);
      const first = new Writing(storage);
      await first.write(vote(1, ALICE), append(entry(1)));
      const failures: DiskError[] = [];
      const durable: number[] = [];
      storage.onFailure = (error) => failures.push(error);
      storage.onDurable = (sequence) => durable.push(sequence);
      disk.fault = failing(kind, file);
      storage.write({ sequence: 2, writes: [vote(2, ALICE), append(entry(2))] });
      storage.write({ sequence: 3, writes: [append(entry(3))] });
      await settled();
      expect(failures.map(({ kind: of }) => of)).toEqual(["failed"]);
      disk.fault = null;
      const after: DiskOperation[] = [];
      disk.onOperation = (operation) => after.push(operation);
      storage.write({ sequence: 4, writes: [append(entry(4))] });
      await expect(storage.saveSnapshot(meta(1), new Uint8Array(1))).rejects.toBe(failures[0]);
      await expect(storage.writeIdentity(IDENTITY)).rejects.toBe(failures[0]);
      await settled();
      await storage.close();
      expect(after).toEqual([]);
      expect(durable).toEqual([]);
      expect(failures.length).toBe(1);
    });
  }

  test("loses nothing that was durable before the failed sync, whatever the crash behind it keeps", async () => {
    for (const keep of [0, 40, 100, 10_000]) {
      const disk = new FakeDisk();
      const storage = await mustFound(disk);
      const writing = new Writing(storage);
      await writing.write(vote(1, ALICE), append(entry(1)));
      disk.fault = failing("sync", "log-");
      await expect(writing.write(append(entry(2)))).rejects.toMatchObject({ kind: "failed" });
      disk.fault = null;
      disk.crash((_name, unsynced) => Math.min(keep, unsynced));
      const found = await mustOpen(disk);
      expect(found).toMatchObject({ log: "whole", entries: [entry(1)], hardState: { term: term(1), votedFor: ALICE } });
    }
  });

  test("when the next segment is prepared stops the member", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    const failures: DiskError[] = [];
    const writing = new Writing(storage);
    storage.onFailure = (error) => failures.push(error);
    disk.fault = failing("create", "log-");
    await writing.write(append(entry(1)));
    await settled();
    expect(failures.length).toBe(1);
  });

  for (const kind of ["create", "write", "sync", "rename", "sync-folder"] as const) {
    test(`at a ${kind} of a snapshot stops the member, and the old snapshot is found again`, async () => {
      const disk = new FakeDisk();
      const storage = await mustFound(disk);
      const writing = new Writing(storage);
      await writing.write(append(entry(1), entry(2)));
      await storage.saveSnapshot(meta(1), new Uint8Array(5));
      const failures: DiskError[] = [];
      storage.onFailure = (error) => failures.push(error);
      disk.fault = failing(kind, kind === "sync-folder" ? "" : "snapshot");
      await expect(storage.saveSnapshot(meta(2), new Uint8Array(5))).rejects.toMatchObject({ kind: "failed" });
      expect(failures.length).toBe(1);
      disk.fault = null;
      disk.crash(() => 0);
      expect(await mustOpen(disk)).toMatchObject({ log: "whole", snapshot: { meta: meta(1) }, entries: [entry(2)] });
    });
  }

  test("on opening is a fault, never a throw: read-only, unreadable, unwritable", async () => {
    const disk = new FakeDisk();
    const storage = await mustFound(disk);
    await new Writing(storage).write(vote(1, ALICE), append(entry(1)));
    await storage.close();
    disk.readOnly = true;
    const readOnly = await open(disk);
    expect(readOnly).toMatchObject({ ok: false, error: { kind: "disk" } });
    expect(readOnly.ok ? "" : readOnly.error.message).toContain("read-only");
    disk.readOnly = false;
    for (const kind of ["list", "read", "open"] as const) {
      disk.fault = failing(kind, "");
      expect(await open(disk)).toMatchObject({ ok: false, error: { kind: "disk", message: `${kind} failed: EIO` } });
    }
    disk.fault = null;
    expect(await mustOpen(disk, SMALL_SEGMENT)).toMatchObject({ log: "whole", entries: [entry(1)] });
  });
});
