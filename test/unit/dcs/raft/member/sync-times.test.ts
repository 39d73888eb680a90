// Goal: what a member tells of its disk is what each sync of its log took. Method: an engine that leads alone, on a disk in memory
// whose syncs take seven milliseconds of a clock that stands still otherwise.

import { expect, test } from "bun:test";
import { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import { encodeEnvelope } from "../../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { Engine } from "../../../../../lib/dcs/raft/member/engine.ts";
import { NO_FSYNCS } from "../../../../../lib/dcs/raft/member/sync-times.ts";
import { DiskError } from "../../../../../lib/dcs/raft/storage/disk.ts";
import { term } from "../../../../../lib/model/raft.ts";
import { ms } from "../../../../../lib/model/units.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { founding, idOf, TIMINGS } from "../core/core-world.ts";
import { mustFound, SILENT } from "../storage/storage-fixtures.ts";

const SYNC_MS = 7;

async function leaderAlone() {
  let now = 1000;
  const disk = new FakeDisk({
    latency: ({ kind, file }) => (kind === "sync" && file.startsWith("log-") ? SYNC_MS : 0),
    after: (delayMs, run) => {
      now += delayMs;
      run();
    },
  });
  const led = Promise.withResolvers<void>();
  const faults: string[] = [];
  const start = { id: idOf(1), timings: TIMINGS, random: () => 0, now, hardState: { term: term(0), votedFor: null } } as const;
  const engine = new Engine({
    raft: new Raft({ ...start, snapshot: founding(1), snapshotSize: 0, entries: [], log: "whole" }),
    storage: await mustFound(disk, 1_000_000),
    machine: new KeyValueMachine(),
    clock: { now: () => ms(now), wallNow: () => now, sleepUntil: () => new Promise(() => {}) },
    log: SILENT,
    defer: (run) => void setImmediate(run),
    send: () => {},
    snapshots: { entries: 1000, bytes: 1e6 },
    onRole: () => {},
    onConfiguration: () => {},
    onApplied: () => led.resolve(),
    onFault: (reason) => faults.push(reason),
  });
  engine.push({ kind: "tick" });
  await led.promise;
  const propose = () =>
    new Promise((settle) => {
      engine.propose(encodeEnvelope({ client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id: "a" } }), settle);
    });
  return { engine, disk, propose, faults };
}

test("each sync of the log counts once, with what it took", async () => {
  const { engine, propose } = await leaderAlone();
  const before = engine.syncs.fsyncs;
  expect(before.count).toBeGreaterThan(0);
  for (let round = 0; round < 3; round += 1) await propose();
  const { buckets, sum, count } = engine.syncs.fsyncs;
  expect(count - before.count).toBe(3);
  expect(sum - before.sum).toBeCloseTo((3 * SYNC_MS) / 1000, 9);
  const within = (distribution: typeof before, bound: number) => distribution.buckets.find(([atMost]) => atMost === bound)?.[1] ?? 0;
  expect(buckets.length).toBe(NO_FSYNCS.buckets.length);
  expect(within(engine.syncs.fsyncs, 0.005) - within(before, 0.005)).toBe(0);
  expect(within(engine.syncs.fsyncs, 0.01) - within(before, 0.01)).toBe(3);
  engine.stop("the test is over");
});

test("a sync that fails is none of them", async () => {
  const { engine, disk, propose, faults } = await leaderAlone();
  const before = engine.syncs.fsyncs.count;
  disk.fault = ({ kind, file }) => (kind === "sync" ? new DiskError("failed", file, "EIO") : null);
  await propose();
  expect(faults.length).toBe(1);
  expect(engine.syncs.fsyncs.count).toBe(before);
});
