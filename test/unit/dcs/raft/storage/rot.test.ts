// Rot: every single bit of every file of a small member's folder, missing files, and sectors that a disk lost. What comes of
// it is a fault, a damaged log with the right term and vote, or nothing at all; never a whole log that lacks what was durable.

import { describe, expect, test } from "bun:test";
import { logIndex, term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { HistoryModel, type HistoryStep, runHistory } from "./history.ts";
import { ALICE, append, BOB, entry, meta, mustFound, mustOpen, open, vote, Writing } from "./storage-fixtures.ts";

const SEGMENT = 768;

interface Kept {
  readonly disk: FakeDisk;
  readonly model: HistoryModel;
}

async function keep(steps: readonly HistoryStep[]): Promise<Kept> {
  const disk = new FakeDisk();
  const model = new HistoryModel();
  await runHistory(await mustFound(disk, SEGMENT), model, steps, "each");
  return { disk, model };
}

/** The last record is a vote; zeros stand in payloads and at their ends. */
const votedLast: HistoryStep[] = [
  { kind: "batch", writes: [vote(1, ALICE), append(entry(1, 1, "", "no-op"))] },
  { kind: "batch", writes: [append(entry(2, 1, new Uint8Array(30)), entry(3))] },
  { kind: "batch", writes: [vote(2, BOB)] },
];
const entryLast: HistoryStep[] = [...votedLast, { kind: "batch", writes: [append(entry(3, 2, new Uint8Array([1, 0, 0, 0])))] }];
const manySegments: HistoryStep[] = [
  ...entryLast,
  { kind: "batch", writes: [append(entry(4, 2, new Uint8Array(600)))] },
  { kind: "batch", writes: [append(entry(5, 2, new Uint8Array(1300)))] },
  { kind: "batch", writes: [vote(3, ALICE), append(entry(5, 3, new Uint8Array(700).fill(5)))] },
];
const twoSnapshots: HistoryStep[] = [
  ...manySegments,
  { kind: "snapshot", meta: meta(2), body: new Uint8Array(9).fill(2) },
  { kind: "snapshot", meta: meta(4, 2), body: new Uint8Array(9).fill(4) },
  { kind: "batch", writes: [append(entry(6, 3))] },
];
const histories = { votedLast, entryLast, manySegments, twoSnapshots };

/** What became of a folder that something happened to. Throws where that may not be. */
async function judgeRot({ disk, model }: Kept, what: string): Promise<"fault" | "damaged" | "whole"> {
  const opened = await open(disk.mount(), SEGMENT);
  if (!opened.ok) {
    expect(opened.error.message).toContain("raft recover");
    return "fault";
  }
  const found = opened.value;
  const hardState = model.judgeHardState(found);
  if (hardState !== null) throw new Error(`${what}: ${hardState}`);
  if (found.log === "damaged") {
    expect(found.damage).not.toBeNull();
    return "damaged";
  }
  const wrong = model.judge(found);
  if (wrong !== null) throw new Error(`${what}: ${wrong}`);
  return "whole";
}

/** Flips each bit of the file in turn, or one of each byte. Returns how often each outcome came about. */
async function rotEach(kept: Kept, name: string, how: "every bit" | "every byte" = "every bit"): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = {};
  // A step of nine moves on by a byte and a bit.
  for (let bit = 0; bit < (kept.disk.size(name) ?? 0) * 8; bit += how === "every bit" ? 1 : 9) {
    const disk = kept.disk.clone();
    disk.rot(name, bit);
    const outcome = await judgeRot({ disk, model: kept.model }, `${name} bit ${bit}`);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
  return outcomes;
}

describe("one flipped bit", () => {
  for (const [name, steps] of Object.entries(histories)) {
    test(`anywhere in the log never leaves it whole with less than was durable (${name})`, async () => {
      const kept = await keep(steps);
      const segments = kept.disk.names().filter((file) => file.startsWith("log-"));
      let damaged = 0;
      for (const file of segments) {
        const outcomes = await rotEach(kept, file, segments.length > 2 ? "every byte" : "every bit");
        expect(outcomes["fault"] ?? 0).toBe(0);
        damaged += outcomes["damaged"] ?? 0;
      }
      expect(damaged).toBeGreaterThan(250);
    }, 240_000);

    test(`anywhere in a slot changes nothing (${name})`, async () => {
      const kept = await keep(steps);
      for (const file of ["state-0", "state-1"]) expect(await rotEach(kept, file)).toEqual({ whole: 4096 });
    }, 240_000);
  }

  test("in the record of the last vote, every bit of it, damages the log and never loses the vote", async () => {
    const kept = await keep(votedLast);
    const name = kept.disk.names().find((file) => file.startsWith("log-")) as string;
    const before = await keep(votedLast.slice(0, -1));
    const [end, start] = [kept, before].map(({ disk }) => disk.peek(name).findLastIndex((byte) => byte !== 0) + 1) as [number, number];
    expect(end - start).toBe(47 + 16 + 1);
    for (let bit = start * 8; bit < end * 8; bit += 1) {
      const disk = kept.disk.clone();
      disk.rot(name, bit);
      const found = await mustOpen(disk, SEGMENT);
      expect(found.log).toBe("damaged");
      expect(found.hardState).toEqual({ term: term(2), votedFor: BOB });
    }
  });

  test("in the last vote's record and another in its slot stop the member for good", async () => {
    const { disk } = await keep(votedLast);
    const name = disk.names().find((file) => file.startsWith("log-")) as string;
    const last = disk.peek(name).findLastIndex((byte) => byte !== 0);
    disk.rot(name, last * 8 - 16);
    for (const slot of ["state-0", "state-1"]) {
      const worse = disk.clone();
      worse.rot(slot, 41 * 8);
      const opened = await open(worse, SEGMENT);
      expect(opened).toMatchObject({ ok: false, error: { kind: "hard-state-lost" } });
    }
  });

  test("in both slots stops the member for good", async () => {
    const { disk } = await keep(entryLast);
    disk.rot("state-0", 100);
    disk.rot("state-1", 100);
    expect(await open(disk, SEGMENT)).toMatchObject({ ok: false, error: { kind: "hard-state-lost" } });
  });

  test("anywhere in the identity is a fault that says what to do", async () => {
    const kept = await keep(votedLast);
    const outcomes = await rotEach(kept, "identity");
    expect(outcomes).toEqual({ fault: (kept.disk.size("identity") as number) * 8 });
  });

  test("anywhere in the newest snapshot is made good by the one before it and the log", async () => {
    const kept = await keep(twoSnapshots);
    const names = kept.disk.names().filter((file) => file.startsWith("snapshot-"));
    const expected = [
      entry(3, 2, new Uint8Array([1, 0, 0, 0])),
      entry(4, 2, new Uint8Array(600)),
      entry(5, 3, new Uint8Array(700).fill(5)),
      entry(6, 3),
    ];
    for (let bit = 0; bit < (kept.disk.size(names[1] as string) as number) * 8; bit += 1) {
      const disk = kept.disk.clone();
      disk.rot(names[1] as string, bit);
      const found = await mustOpen(disk, SEGMENT);
      expect(found.log).toBe("whole");
      expect(found.snapshot?.meta).toEqual(meta(2));
      expect(found.entries).toEqual(expected);
    }
    expect(await rotEach(kept, names[0] as string)).toEqual({ whole: (kept.disk.size(names[0] as string) as number) * 8 });
  });
});

describe("a file that is missing", () => {
  for (const [name, steps] of Object.entries(histories)) {
    test(`never leaves the log whole with less than was durable (${name})`, async () => {
      const kept = await keep(steps);
      for (const file of kept.disk.names()) {
        if (file.startsWith("snapshot-")) continue;
        const disk = kept.disk.clone();
        disk.vanish(file);
        const outcome = await judgeRot({ disk, model: kept.model }, file);
        if (file === "identity") expect(outcome).toBe("fault");
        if (file.startsWith("state-")) expect(outcome).toBe("whole");
      }
    });
  }

  test("each needed segment that is missing makes the log damaged, also the newest; a prepared one changes nothing", async () => {
    const kept = await keep(manySegments);
    const segments = kept.disk.names().filter((file) => file.startsWith("log-"));
    expect(segments.length).toBeGreaterThan(4);
    for (const [position, file] of segments.entries()) {
      const disk = kept.disk.clone();
      disk.vanish(file);
      const found = await mustOpen(disk, SEGMENT);
      expect(found.log).toBe(position === segments.length - 1 ? "whole" : "damaged");
      if (found.log === "damaged") expect(found.damage).toContain(file);
    }
  });

  test("both snapshots gone leaves a damaged log", async () => {
    const steps: HistoryStep[] = [...twoSnapshots, { kind: "snapshot", meta: meta(6, 3), body: new Uint8Array(3) }];
    const { disk } = await keep(steps);
    for (const name of disk.names()) if (name.startsWith("snapshot-")) disk.vanish(name);
    const found = await mustOpen(disk, SEGMENT);
    expect(found).toMatchObject({ log: "damaged", snapshot: null, entries: [] });
    expect(found.damage).toContain("missing");
  });
});

describe("a damaged log", () => {
  /** Entry 2 of five has rotted. */
  async function damaged(): Promise<FakeDisk> {
    const { disk } = await keep([
      { kind: "batch", writes: [vote(3, ALICE), append(entry(1), entry(2, 1, "rotten"), entry(3))] },
      { kind: "batch", writes: [append(entry(4), entry(5))] },
    ]);
    const name = disk.names().find((file) => file.startsWith("log-")) as string;
    disk.rot(name, (Buffer.from(disk.peek(name)).indexOf("rotten") + 2) * 8);
    return disk;
  }

  test("is returned up to the corruption, and stays damaged over restarts and writes until it is made whole", async () => {
    const disk = await damaged();
    for (let restart = 0; restart < 3; restart += 1) {
      const found = await mustOpen(disk, SEGMENT);
      expect(found).toMatchObject({ log: "damaged", entries: [entry(1)], hardState: { term: term(3), votedFor: ALICE } });
      await found.storage.close();
    }
    const first = await mustOpen(disk, SEGMENT);
    await new Writing(first.storage).write(append(entry(2, 1, "sent again")), vote(4, null));
    await first.storage.close();
    const second = await mustOpen(disk, SEGMENT);
    expect(second).toMatchObject({
      log: "damaged",
      entries: [entry(1), entry(2, 1, "sent again")],
      hardState: { term: term(4), votedFor: null },
    });
    await new Writing(second.storage).write(append(entry(3)), { kind: "whole" });
    await second.storage.close();
    const third = await mustOpen(disk, SEGMENT);
    expect(third).toMatchObject({ log: "whole", damage: null, entries: [entry(1), entry(2, 1, "sent again"), entry(3)] });
  });

  test("keeps what is corrupt on disk as it is", async () => {
    const disk = await damaged();
    const name = disk.names().find((file) => file.startsWith("log-")) as string;
    const before = disk.peek(name);
    const { storage } = await mustOpen(disk, SEGMENT);
    const writing = new Writing(storage);
    await writing.write(append(entry(2), entry(3, 1, new Uint8Array(2000))));
    await storage.saveSnapshot(meta(1), new Uint8Array(1));
    await storage.saveSnapshot(meta(3), new Uint8Array(1));
    expect(disk.peek(name)).toEqual(before);
    await storage.close();
    expect((await mustOpen(disk, SEGMENT)).log).toBe("damaged");
  });

  test("is made whole by a snapshot and a reset, and the corrupt segment then goes", async () => {
    const disk = await damaged();
    const name = disk.names().find((file) => file.startsWith("log-")) as string;
    const { storage } = await mustOpen(disk, SEGMENT);
    const writing = new Writing(storage);
    await storage.saveSnapshot(meta(50, 3), new Uint8Array(1));
    await writing.write({ kind: "reset", index: logIndex(50), term: term(3) }, append(entry(51, 3)), { kind: "whole" });
    await writing.write(append(entry(52, 3, new Uint8Array(700))));
    await storage.saveSnapshot(meta(51, 3), new Uint8Array(1));
    await storage.saveSnapshot(meta(52, 3), new Uint8Array(1));
    expect(disk.names()).not.toContain(name);
    await storage.close();
    expect(await mustOpen(disk, SEGMENT)).toMatchObject({ log: "whole", entries: [] });
  });
});
