// Crashes: after every operation of short histories, with every prefix of what was not synced, what is found is one of the
// states from the one that was reported durable on, the log is whole, and the member goes on from there.

import { expect, test } from "bun:test";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { crashesOf, HistoryModel, type HistoryStep, runHistory, settled, Turns } from "./history.ts";
import { ALICE, append, BOB, entry, meta, mustFound, open, vote, Writing } from "./storage-fixtures.ts";

const SEGMENT = 1024;

const elections: HistoryStep[] = [
  { kind: "batch", writes: [vote(1, ALICE)] },
  { kind: "batch", writes: [append(entry(1, 1, "", "no-op"))] },
  { kind: "batch", writes: [append(entry(2), entry(3))] },
  { kind: "batch", writes: [vote(2, null)] },
  { kind: "batch", writes: [vote(2, BOB), append(entry(3, 2))] },
  { kind: "batch", writes: [append(entry(4, 2, new Uint8Array(40)))] },
];

const segments: HistoryStep[] = [
  { kind: "batch", writes: [vote(1, ALICE), append(entry(1, 1, new Uint8Array(400).fill(1)))] },
  { kind: "batch", writes: [append(entry(2, 1, new Uint8Array(300)))] },
  { kind: "batch", writes: [append(entry(3, 1, new Uint8Array(1500)))] },
  { kind: "batch", writes: [vote(2, BOB), append(entry(2, 2, new Uint8Array(500).fill(7)))] },
];

const snapshots: HistoryStep[] = [
  { kind: "batch", writes: [vote(1, ALICE), append(entry(1, 1, new Uint8Array(500)), entry(2, 1, new Uint8Array(500)))] },
  { kind: "snapshot", meta: meta(1), body: new Uint8Array(20).fill(1) },
  { kind: "batch", writes: [append(entry(3, 1, new Uint8Array(500)))] },
  { kind: "snapshot", meta: meta(3), body: new Uint8Array(20).fill(3) },
  { kind: "batch", writes: [append(entry(4, 1, new Uint8Array(500)))] },
  { kind: "receive", meta: meta(9, 2), body: new Uint8Array(30).fill(9), chunk: 100 },
  { kind: "batch", writes: [{ kind: "reset", index: logIndex(9), term: term(2) }, vote(2, null), append(entry(10, 2))] },
];

/** All prefixes of short writes; of long ones, whose middle is like its neighbours, the ends and every 37th. */
function* prefixes(_name: string, unsynced: number): Generator<number> {
  for (let kept = 0; kept <= unsynced; kept += 1) {
    if (unsynced <= 160 || kept < 64 || kept > unsynced - 64 || kept % 37 === 0) yield kept;
  }
}

/** Runs the history, crashing a copy at each point in each way. Returns how many crashes were judged. */
async function crashEverywhere(steps: readonly HistoryStep[], pace: "each" | "burst"): Promise<number> {
  const start = new FakeDisk();
  await (await mustFound(start, SEGMENT)).close();
  const turns = new Turns();
  const disk = start.clone({ after: turns.after });
  const model = new HistoryModel();
  let running = true;
  const run = open(disk, SEGMENT).then(async (opened) => {
    if (opened.ok) await runHistory(opened.value.storage, model, steps, pace);
    running = false;
  });
  let judged = 0;
  await settled();
  while (running) {
    for (const crashed of crashesOf(disk, prefixes)) {
      await judgeCrash(crashed, model, judged);
      judged += 1;
    }
    await turns.end();
  }
  await run;
  return judged;
}

async function judgeCrash(crashed: FakeDisk, model: HistoryModel, number: number): Promise<void> {
  const opened = await open(crashed.mount(), SEGMENT);
  if (!opened.ok) throw new Error(`crash ${number}: ${opened.error.message}`);
  const found = opened.value;
  const wrong = model.judge(found);
  if (wrong !== null) throw new Error(`crash ${number}: ${wrong}`);
  if (number % 5 !== 0) return;
  // What comes after the crash is kept as well, by a second crash that keeps nothing unsynced.
  const next = entry((found.entries.at(-1)?.index ?? found.snapshot?.meta.index ?? 0) + 1, 9, "after");
  await new Writing(found.storage).write(vote(9, BOB), append(next));
  crashed.crash(() => 0);
  const again = await open(crashed, SEGMENT);
  if (!again.ok) throw new Error(`after crash ${number}: ${again.error.message}`);
  expect(again.value).toMatchObject({ log: "whole", hardState: { term: term(9), votedFor: BOB } });
  expect(again.value.entries).toEqual([...found.entries, next]);
}

for (const [name, steps] of Object.entries({ elections, segments, snapshots })) {
  for (const pace of ["each", "burst"] as const) {
    const how = pace === "each" ? "each write awaited" : "all writes at once";
    test(`a crash anywhere in a history of ${name}, ${how}, loses nothing that was durable`, async () => {
      expect(await crashEverywhere(steps, pace)).toBeGreaterThan(100);
    });
  }
}
