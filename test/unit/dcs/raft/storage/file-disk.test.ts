// The real folder: modes, durability calls that succeed, and what a full, a read-only and a refusing disk become. The same
// storage runs on it as on the fake one. What needs a file system of its own is mounted where this process may.

import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Disk } from "../../../../../lib/dcs/raft/storage/disk.ts";
import { type FileDisk, openFileDisk } from "../../../../../lib/dcs/raft/storage/file-disk.ts";
import { encodeSnapshot } from "../../../../../lib/dcs/raft/storage/snapshot-file.ts";
import { term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { ALICE, append, BOB, entry, IDENTITY, meta, mustFound, mustOpen, open, vote, Writing } from "./storage-fixtures.ts";

const undone: (() => void)[] = [];

afterEach(() => {
  for (const undo of undone.splice(0).reverse()) undo();
});

function folder(): string {
  const path = fs.mkdtempSync(join(tmpdir(), "raft-disk-"));
  undone.push(() => fs.rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A file system of its own, gone after the test; null where this process may not mount one. */
function mounted(...options: string[]): string | null {
  const path = folder();
  const { success } = Bun.spawnSync(["mount", "-t", "tmpfs", ...options, "tmpfs", path]);
  if (!success) return null;
  undone.push(() => Bun.spawnSync(["umount", path]));
  return path;
}

/** Whether this process can mount; said once, by the tests that are left out where it cannot. */
const canMount = mounted() !== null;
for (const undo of undone.splice(0).reverse()) undo();

function mustDisk(path: string): FileDisk {
  const opened = openFileDisk(path);
  if (!opened.ok) throw opened.error;
  return opened.value;
}

for (const [name, make] of Object.entries<() => Disk>({ "a folder": () => mustDisk(folder()), "the fake disk": () => new FakeDisk() })) {
  describe(`on ${name}`, () => {
    test("a created file is zeros of the size, and keeps what is written", async () => {
      const disk = make();
      const file = await disk.create("a", 3_000_000);
      expect(await disk.read("a")).toEqual(new Uint8Array(3_000_000));
      await file.write(10, new Uint8Array([1, 2, 3]));
      await file.write(100_000, new Uint8Array(600_000).fill(9));
      await file.sync();
      await file.close();
      const again = await disk.open("a");
      await again.write(11, new Uint8Array([7]));
      await again.sync();
      await again.close();
      const bytes = await disk.read("a");
      expect(bytes.length).toBe(3_000_000);
      expect([...bytes.subarray(9, 14)]).toEqual([0, 1, 7, 3, 0]);
      expect(bytes.subarray(100_000, 700_000).every((byte) => byte === 9)).toBe(true);
      expect(bytes[700_000]).toBe(0);
      expect(await disk.readAt("a", 2_999_999, 50)).toEqual(new Uint8Array(1));
      expect(await disk.readAt("a", 3_000_000, 50)).toEqual(new Uint8Array(0));
    });

    test("what is read is a copy: slices of it stay as they are", async () => {
      const disk = make();
      const file = await disk.create("a", 8);
      await file.write(0, new Uint8Array([1, 2, 3]));
      const bytes = await disk.read("a");
      const slice = bytes.slice(0, 2);
      bytes[0] = 9;
      expect([...slice]).toEqual([1, 2]);
      await file.close();
    });

    test("names are sorted; renames replace; what is absent or there already is an error that says so", async () => {
      const disk = make();
      for (const name of ["b", "a", "c"]) await (await disk.create(name, 1)).close();
      expect(await disk.list()).toEqual(["a", "b", "c"]);
      await disk.rename("c", "a");
      await disk.remove("b");
      await disk.syncFolder();
      expect(await disk.list()).toEqual(["a"]);
      await expect(disk.read("b")).rejects.toMatchObject({ kind: "absent" });
      await expect(disk.readAt("b", 0, 1)).rejects.toMatchObject({ kind: "absent" });
      await expect(disk.open("b")).rejects.toMatchObject({ kind: "absent" });
      await expect(disk.remove("b")).rejects.toMatchObject({ kind: "absent" });
      await expect(disk.rename("b", "d")).rejects.toMatchObject({ kind: "absent" });
      await expect(disk.create("a", 1)).rejects.toMatchObject({ kind: "failed" });
    });

    test("a member's writes, snapshots and identity are found again", async () => {
      const disk = make();
      const storage = await mustFound(disk);
      const writing = new Writing(storage);
      await writing.write(vote(1, ALICE), append(entry(1), entry(2, 1, new Uint8Array(3000)), entry(3, 1, new Uint8Array(9000).fill(3))));
      const body = new Uint8Array(500_000).map((_, at) => at);
      const size = await storage.saveSnapshot(meta(2), body);
      expect(await storage.loadSnapshot(meta(2))).toEqual(body);
      expect((await storage.readChunk(meta(2), size - 10, 100)).length).toBe(10);
      await writing.write(vote(2, BOB));
      await storage.close();
      const found = await mustOpen(disk);
      expect(found).toMatchObject({ identity: IDENTITY, hardState: { term: term(2), votedFor: BOB }, log: "whole", snapshot: { size } });
      expect(found.entries).toEqual([entry(3, 1, new Uint8Array(9000).fill(3))]);
      await found.storage.close();
    });

    test("a snapshot is received in chunks, repeated ones too, and verified before it counts", async () => {
      const disk = make();
      const storage = await mustFound(disk);
      const body = new Uint8Array(300_000).map((_, at) => at * 7);
      const file = encodeSnapshot(meta(50, 3), body);
      const chunk = (offset: number, data = file.slice(offset, offset + 100_000)) =>
        storage.receive({ meta: meta(50, 3), size: file.length, offset, data });
      expect(await chunk(100_000)).toBe("bad");
      expect(await chunk(0)).toBe("receiving");
      expect(await chunk(200_000)).toBe("bad");
      expect(await chunk(100_000)).toBe("receiving");
      expect(await chunk(100_000)).toBe("receiving");
      expect(await chunk(200_000, file.slice(200_000, 300_000).fill(1))).toBe("receiving");
      expect(await chunk(300_000)).toBe("bad");
      for (const offset of [0, 100_000, 200_000]) await chunk(offset);
      expect(await chunk(300_000)).toEqual({ body });
      await storage.close();
      expect((await mustOpen(disk)).snapshot).toEqual({ meta: meta(50, 3), size: file.length });
    });
  });
}

describe("a real folder", () => {
  test("is made with mode 0700 and holds files of mode 0600, whatever the umask", async () => {
    const path = join(folder(), "a", "b");
    const before = process.umask(0);
    undone.push(() => process.umask(before));
    const storage = await mustFound(mustDisk(path));
    await new Writing(storage).write(append(entry(1)));
    await storage.saveSnapshot(meta(1), new Uint8Array(3));
    await storage.close();
    expect(fs.statSync(path).mode & 0o777).toBe(0o700);
    const modes = fs.readdirSync(path).map((name) => fs.statSync(join(path, name)).mode & 0o777);
    expect(modes.length).toBeGreaterThan(4);
    expect(new Set(modes)).toEqual(new Set([0o600]));
  });

  test("that others could enter is closed to them", () => {
    const path = folder();
    fs.chmodSync(path, 0o755);
    mustDisk(path);
    expect(fs.statSync(path).mode & 0o777).toBe(0o700);
  });

  test("that is a file is refused", () => {
    const path = join(folder(), "file");
    fs.writeFileSync(path, "");
    expect(openFileDisk(path)).toMatchObject({ ok: false, error: { kind: "failed" } });
  });

  test("takes really allocated segments: none is sparse", async () => {
    const path = folder();
    const storage = await mustFound(mustDisk(path), 1024 * 1024);
    await storage.close();
    const stat = fs.statSync(join(path, "log-00000000000000000001.seg"));
    expect(stat.size).toBe(1024 * 1024);
    expect(stat.blocks * 512).toBeGreaterThanOrEqual(1024 * 1024);
  });

  test.skipIf(!canMount)(
    "on a full file system says so a segment ahead, keeps what is durable, and goes on when there is room",
    async () => {
      const path = mounted("-o", "size=1m") as string;
      const storage = await mustFound(mustDisk(path), 128 * 1024);
      const rooms: string[] = [];
      let full = (): void => {};
      const becameFull = new Promise<void>((resolve) => {
        full = resolve;
      });
      storage.onRoom = (room) => {
        rooms.push(room);
        if (room === "full") full();
      };
      const writing = new Writing(storage);
      let index = 0;
      // Small entries: many fit in the segment in use while the system is asked for the next one.
      while (rooms.length === 0) {
        index += 1;
        await writing.write(append(entry(index, 1, new Uint8Array(1_000))));
      }
      await becameFull;
      // The segment in use was preallocated: it is written to its end.
      for (let more = 0; more < 5; more += 1) {
        index += 1;
        await writing.write(append(entry(index, 1, new Uint8Array(1_000))));
      }
      expect(rooms).toEqual(["full"]);
      expect(fs.readdirSync(path).filter((name) => name.endsWith(".new"))).toEqual([]);
      await storage.saveSnapshot(meta(index - 2), new Uint8Array(10));
      await storage.saveSnapshot(meta(index - 1), new Uint8Array(10));
      await storage.close();
      expect(rooms).toEqual(["full", "room"]);
      const found = await mustOpen(mustDisk(path), 128 * 1024);
      expect(found.entries).toEqual([entry(index, 1, new Uint8Array(1_000))]);
      await found.storage.close();
    },
  );

  test.skipIf(!canMount)("on a full file system without a segment to write to is a fault that asks for room", async () => {
    const path = mounted("-o", "size=256k") as string;
    const found = await open(mustDisk(path), 1024 * 1024);
    expect(found).toMatchObject({ ok: false, error: { kind: "disk" } });
    expect(found.ok ? "" : found.error.message).toContain("Make room");
  });

  test.skipIf(!canMount)("on a read-only file system is a fault that names it, and nothing is harmed", async () => {
    const path = mounted() as string;
    const storage = await mustFound(mustDisk(path));
    await new Writing(storage).write(vote(1, ALICE), append(entry(1)));
    await storage.close();
    Bun.spawnSync(["mount", "-o", "remount,ro", path]);
    const found = await open(mustDisk(path));
    expect(found).toMatchObject({ ok: false, error: { kind: "disk" } });
    expect(found.ok ? "" : found.error.message).toContain("EROFS");
    Bun.spawnSync(["mount", "-o", "remount,rw", path]);
    const again = await mustOpen(mustDisk(path));
    expect(again).toMatchObject({ log: "whole", entries: [entry(1)] });
    await again.storage.close();
  });

  test("that disappears under a running member stops it with the system's words", async () => {
    const path = folder();
    const storage = await mustFound(mustDisk(path));
    const writing = new Writing(storage);
    await writing.write(append(entry(1)));
    fs.rmSync(path, { recursive: true });
    await expect(storage.saveSnapshot(meta(1), new Uint8Array(1))).rejects.toThrow("ENOENT");
    await storage.close();
  });
});
