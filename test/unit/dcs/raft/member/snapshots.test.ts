// Goal: a snapshot that rotted on the leader's disk reaches nobody, and is replaced. Method: the keeper over a real storage on a
// disk in memory, one core that leads alone, and a recorder for the links.

import { describe, expect, test } from "bun:test";
import { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { ChunkToSend, RaftEvent } from "../../../../../lib/dcs/raft/core/types.ts";
import { encodeEnvelope } from "../../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { SnapshotKeeper } from "../../../../../lib/dcs/raft/member/snapshots.ts";
import { snapshotName } from "../../../../../lib/dcs/raft/storage/snapshot-file.ts";
import type { PeerFrame } from "../../../../../lib/dcs/raft/transport/frame.ts";
import { term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { founding, idOf, TIMINGS } from "../core/core-world.ts";
import { mustFound, SILENT } from "../storage/storage-fixtures.ts";

async function leaderWithSnapshot() {
  const disk = new FakeDisk();
  const storage = await mustFound(disk);
  const machine = new KeyValueMachine();
  const alone = { id: idOf(1), timings: TIMINGS, random: () => 0, now: 0, hardState: { term: term(0), votedFor: null } } as const;
  const raft = new Raft({ ...alone, snapshot: founding(1), snapshotSize: 0, entries: [], log: "whole" });
  const step = (events: readonly RaftEvent[]): void => {
    const { writes, committed } = raft.step(0, events);
    for (const entry of committed) {
      if (entry.kind === "command") machine.apply(entry);
      else machine.noop(entry.index, entry.time);
      keeper.applied(entry);
    }
    if (writes !== null) step([{ kind: "written", sequence: writes.sequence }]);
  };
  const propose = (id: string): void => {
    const envelope = { client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id } } as const;
    step([{ kind: "propose", id: 1, payload: encodeEnvelope(envelope) }]);
  };
  const disks = { durable: Promise.resolve() };
  const told = { sent: Promise.withResolvers<PeerFrame>(), saved: Promise.withResolvers<void>(), warned: Promise.withResolvers<string>() };
  const warnings: string[] = [];
  const ended = new AbortController();
  const turns = { count: 0, between: (): void => {} };
  const keeper = new SnapshotKeeper({
    raft,
    defer: (run) => {
      turns.count++;
      turns.between();
      setImmediate(run);
    },
    storage,
    machine,
    log: {
      ...SILENT,
      warning: (text) => {
        warnings.push(text);
        told.warned.resolve(text);
      },
    },
    ended: ended.signal,
    limits: { entries: 1000, bytes: 1e6 },
    durable: () => disks.durable,
    send: (_to, frame) => told.sent.resolve(frame),
    push: (event) => {
      step([event]);
      told.saved.resolve();
    },
    onFault: (reason) => {
      throw new Error(reason);
    },
  });
  step([{ kind: "tick" }]);
  propose("a");
  await keeper.take();
  const { snapshotIndex, snapshotBytes } = raft.status();
  const meta = raft.snapshotMeta(snapshotIndex);
  const chunk: ChunkToSend = { to: idOf(2), term: term(1), meta, size: snapshotBytes, offset: 0, length: snapshotBytes, round: 1 };
  disk.rot(snapshotName(meta), 8 * Math.floor(snapshotBytes / 2));
  told.saved = Promise.withResolvers<void>();
  return { disk, disks, keeper, machine, raft, storage, chunk, propose, told, turns, warnings, ended };
}

describe("a snapshot that rotted on the leader's disk", () => {
  test("is replaced by one of the same index where nothing was applied since", async () => {
    const { keeper, raft, chunk, told } = await leaderWithSnapshot();
    keeper.send(chunk);
    await told.saved.promise;
    expect(raft.status()).toMatchObject({ snapshotIndex: chunk.meta.index, snapshotBytes: chunk.size });
    keeper.send(chunk);
    const sent = { kind: "snapshot-chunk", meta: { index: chunk.meta.index }, offset: 0 };
    expect(await told.sent.promise).toMatchObject({ kind: "raft", message: sent });
  });

  test("is replaced by one of what is applied by now", async () => {
    const { keeper, raft, chunk, propose, told } = await leaderWithSnapshot();
    propose("b");
    keeper.send(chunk);
    await told.saved.promise;
    expect(raft.status().snapshotIndex).toBe((chunk.meta.index + 1) as typeof chunk.meta.index);
  });

  test("is left alone once a newer one is there: the core sends that", async () => {
    const { keeper, raft, chunk, propose, told } = await leaderWithSnapshot();
    propose("b");
    await keeper.take();
    const newest = raft.status().snapshotIndex;
    propose("c");
    keeper.send(chunk);
    expect(await told.warned.promise).toContain("is damaged");
    told.saved = Promise.withResolvers<void>();
    await Promise.race([told.saved.promise, new Promise((resolve) => setImmediate(resolve))]);
    expect(raft.status().snapshotIndex).toBe(newest);
  });
});

test("a snapshot of what the others alone made durable waits for the own log", async () => {
  const { disk, disks, keeper, propose } = await leaderWithSnapshot();
  const before = await disk.list();
  const own = Promise.withResolvers<void>();
  disks.durable = own.promise;
  propose("b");
  const taken = keeper.take();
  await new Promise((resolve) => setImmediate(resolve));
  expect(await disk.list()).toEqual(before);
  own.resolve();
  await taken;
  expect(await disk.list()).not.toEqual(before);
});

test("a large snapshot is made in several turns, and is what was applied before the first of them", async () => {
  const { keeper, machine, raft, storage, propose, turns } = await leaderWithSnapshot();
  for (let each = 0; each < 3000; each++) propose(`client-${each}`);
  const index = machine.appliedIndex;
  const body = machine.snapshot();
  turns.between = () => propose("between");
  await keeper.take();
  expect(turns.count).toBeGreaterThan(1);
  expect(machine.appliedIndex).toBe((index + turns.count) as typeof index);
  expect(raft.status().snapshotIndex).toBe(index);
  expect(Buffer.compare(await storage.loadSnapshot(raft.snapshotMeta(index)), body)).toBe(0);
});

test("a snapshot asked for while one is under way is of what was applied by then", async () => {
  const { keeper, machine, raft, propose, turns } = await leaderWithSnapshot();
  for (let each = 0; each < 3000; each++) propose(`client-${each}`);
  const asked = Promise.withResolvers<void>();
  turns.between = () => {
    if (turns.count !== 2) return;
    propose("late");
    const index = machine.appliedIndex;
    // Two that ask share the next one.
    Promise.all([keeper.take(), keeper.take()])
      .then(() => expect(raft.status().snapshotIndex).toBe(index))
      .then(() => asked.resolve(), asked.reject);
  };
  await keeper.take();
  await asked.promise;
  expect(turns.count).toBeGreaterThan(1);
});

test("a stop ends the making of a snapshot, and nobody is warned of it", async () => {
  const { keeper, raft, propose, turns, warnings, ended } = await leaderWithSnapshot();
  for (let each = 0; each < 3000; each++) propose(`client-${each}`);
  const { snapshotIndex } = raft.status();
  turns.between = () => ended.abort();
  keeper.takeIfDue();
  expect(turns.count).toBe(1);
  await expect(keeper.take()).rejects.toThrow("this member has stopped");
  await new Promise((resolve) => setImmediate(resolve));
  expect([turns.count, raft.status().snapshotIndex, warnings]).toEqual([1, snapshotIndex, []]);
});
