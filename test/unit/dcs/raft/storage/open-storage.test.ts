// What a member finds on disk after a clean stop.

import { expect, test } from "bun:test";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { ALICE, append, BOB, entry, IDENTITY, meta, mustFound, mustOpen, vote, Writing } from "./storage-fixtures.ts";

test("an empty folder opens as a member without an identity", async () => {
  const opened = await mustOpen(new FakeDisk());
  expect(opened).toMatchObject({ identity: null, snapshot: null, entries: [], log: "whole", damage: null });
  expect(opened.hardState).toEqual({ term: term(0), votedFor: null });
});

test("identity, term, vote and entries are there after a restart", async () => {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  const writing = new Writing(storage);
  await writing.write(vote(1, ALICE), append(entry(1, 1, "", "no-op"), entry(2)));
  await writing.write(append(entry(3)), vote(2, BOB));
  await storage.close();
  const opened = await mustOpen(disk);
  expect(opened.identity).toEqual(IDENTITY);
  expect(opened.hardState).toEqual({ term: term(2), votedFor: BOB });
  expect(opened.entries).toEqual([entry(1, 1, "", "no-op"), entry(2), entry(3)]);
  expect(opened.log).toBe("whole");
});

test("an append at a lower index replaces what stood there, also across segments", async () => {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  const writing = new Writing(storage);
  for (let index = 1; index <= 40; index += 1) await writing.write(append(entry(index, 1, new Uint8Array(500))));
  await writing.write(append(entry(7, 2)));
  await writing.write(append(entry(8, 2)));
  await storage.close();
  const opened = await mustOpen(disk);
  expect(opened.entries.length).toBe(8);
  expect(opened.entries.slice(-2)).toEqual([entry(7, 2), entry(8, 2)]);
  expect(disk.names().filter((name) => name.startsWith("log-")).length).toBeGreaterThan(5);
});

test("a record larger than a segment gets a segment of its own", async () => {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  const writing = new Writing(storage);
  const large = entry(
    2,
    1,
    new Uint8Array(50_000).map((_, at) => at),
  );
  await writing.write(append(entry(1), large, entry(3)));
  await storage.close();
  expect((await mustOpen(disk)).entries).toEqual([entry(1), large, entry(3)]);
});

test("a reset empties the log, which goes on behind it", async () => {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  const writing = new Writing(storage);
  await writing.write(append(entry(1), entry(2)));
  await storage.saveSnapshot(meta(100, 3), new Uint8Array(10));
  await writing.write({ kind: "reset", index: logIndex(100), term: term(3) }, append(entry(101, 3)));
  await storage.close();
  const opened = await mustOpen(disk);
  expect(opened.snapshot?.meta).toEqual(meta(100, 3));
  expect(opened.entries).toEqual([entry(101, 3)]);
  expect(opened.log).toBe("whole");
});

test("batches that gather during a sync become durable with one sync, and are reported once", async () => {
  const steps: (() => void)[] = [];
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  await new Writing(storage).write(append(entry(1)));
  await storage.close();
  const slow = disk.clone({ after: (_delay, run) => steps.push(run) });
  const opening = mustOpen(slow);
  const turn = async (): Promise<void> => {
    steps.shift()?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  while (steps.length > 0) await turn();
  const opened = await opening;
  const durable: number[] = [];
  opened.storage.onDurable = (sequence) => durable.push(sequence);
  let syncs = 0;
  slow.onOperation = ({ kind }) => {
    if (kind === "sync") syncs += 1;
  };
  for (let sequence = 1; sequence <= 10; sequence += 1) opened.storage.write({ sequence, writes: [append(entry(sequence + 1))] });
  while (steps.length > 0) await turn();
  expect(durable).toEqual([1, 10]);
  expect(syncs).toBe(2);
});

test("an entry that would leave a gap is a broken invariant", async () => {
  const storage = await mustFound(new FakeDisk());
  expect(() => storage.write({ sequence: 1, writes: [append(entry(2))] })).toThrow("does not follow");
});

test("nothing is written before the member has an identity", async () => {
  const { storage } = await mustOpen(new FakeDisk());
  expect(() => storage.write({ sequence: 1, writes: [vote(1, ALICE)] })).toThrow("identity");
});
