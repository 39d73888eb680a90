// Many short lives of one folder: random writes, snapshots and orders in which the disk ends them, a crash at a random moment,
// sometimes with sectors lost out of order or a bit that rots meanwhile; then the next life. A failure names its seed.

import { expect, test } from "bun:test";
import type { HardState, LogEntry, LogWrite } from "../../../../../lib/dcs/raft/core/types.ts";
import type { OpenedStorage } from "../../../../../lib/dcs/raft/storage/open-storage.ts";
import { logIndex, type MemberId, term } from "../../../../../lib/model/raft.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { Random } from "../../../../simulation/random.ts";
import { HistoryModel, type HistoryStep, runHistory, settled, Turns } from "./history.ts";
import { ALICE, append, BOB, entry, meta, mustFound, open } from "./storage-fixtures.ts";

const SEGMENT = 2048;
const LIVES = 6;
const SEEDS = 250;

type Mischief = "prefix" | "sectors" | "rot";

/** Draws steps that a correct core could ask for. */
class Workload {
  readonly #random: Random;
  #state: HardState;
  #base: { index: number; term: number };
  #entries: readonly LogEntry[];

  constructor(random: Random, found: OpenedStorage) {
    this.#random = random;
    this.#state = found.hardState;
    this.#base = found.snapshot?.meta ?? { index: 0, term: 0 };
    this.#entries = found.entries;
  }

  steps(): HistoryStep[] {
    return Array.from({ length: this.#random.whole(1, 12) }, () => this.#step()).flat();
  }

  #step(): HistoryStep[] {
    const last = this.#entries.at(-1) ?? this.#base;
    if (this.#random.chance(0.1) && last.index > this.#base.index) {
      const at = this.#random.pick(this.#entries);
      return [{ kind: "snapshot", meta: meta(at.index, at.term), body: this.#payload() }];
    }
    if (this.#random.chance(0.05)) {
      this.#base = { index: last.index + this.#random.whole(1, 5), term: Math.max(1, this.#state.term) };
      this.#entries = [];
      const at = { index: logIndex(this.#base.index), term: term(this.#base.term) };
      const chunk = this.#random.whole(50, 400);
      return [
        { kind: "receive", meta: meta(at.index, at.term), body: this.#payload(), chunk },
        { kind: "batch", writes: [{ kind: "reset", ...at }] },
      ];
    }
    return [{ kind: "batch", writes: Array.from({ length: this.#random.whole(1, 3) }, () => this.#write()) }];
  }

  #write(): LogWrite {
    const last = this.#entries.at(-1) ?? this.#base;
    if (this.#random.chance(0.25)) return this.#vote();
    const first = this.#random.chance(0.2) ? this.#random.whole(this.#base.index + 1, last.index + 1) : last.index + 1;
    const ofTerm = Math.max(1, this.#state.term);
    const added = Array.from({ length: this.#random.whole(1, 3) }, (_, at) => entry(first + at, ofTerm, this.#payload()));
    this.#entries = [...this.#entries.filter(({ index }) => index < first), ...added];
    return append(...added);
  }

  #vote(): LogWrite {
    const raised = this.#state.votedFor !== null || this.#random.chance(0.5);
    const candidates: (MemberId | null)[] = raised ? [null, ALICE, BOB] : [ALICE, BOB];
    this.#state = { term: term(this.#state.term + (raised ? 1 : 0)), votedFor: this.#random.pick(candidates) };
    return { kind: "hard-state", state: this.#state };
  }

  #payload(): Uint8Array {
    const kind = this.#random.whole(0, 2);
    const bytes = new Uint8Array(this.#random.chance(0.05) ? 3000 : this.#random.whole(0, 300));
    return kind === 0 ? bytes : bytes.map((_, at) => (kind === 1 ? 0xff : at % 251));
  }
}

/** One life up to its crash. Null: it ended in a way that is right and cannot be gone on from. */
async function live(disk: FakeDisk, model: HistoryModel, random: Random, mischief: Mischief): Promise<FakeDisk> {
  const turns = new Turns();
  const living = disk.clone({ after: turns.after });
  const run = open(living, SEGMENT).then(async (opened) => {
    if (!opened.ok) throw new Error(opened.error.message);
    const steps = new Workload(random, opened.value).steps();
    await runHistory(opened.value.storage, model, steps, random.chance(0.5) ? "each" : "burst");
  });
  await settled();
  for (let left = random.whole(1, 80); left > 0 && turns.waiting > 0; left -= 1) await turns.end(random.whole(0, turns.waiting - 1));
  const failed = await Promise.race([
    run.then(
      () => null,
      (thrown: unknown) => thrown,
    ),
    settled().then(() => null),
  ]);
  if (failed !== null) throw failed;
  const crashed = living.clone({});
  const extreme = random.whole(0, 4);
  crashed.crash(
    (_name, unsynced) => (extreme === 0 ? 0 : extreme === 1 ? unsynced : random.whole(0, unsynced)),
    () => mischief === "sectors" && random.chance(0.3),
  );
  return crashed;
}

async function judgeSeed(seed: number, mischief: Mischief): Promise<Record<string, number>> {
  const random = new Random(seed);
  let disk = new FakeDisk();
  await (await mustFound(disk, SEGMENT)).close();
  let model = new HistoryModel();
  const outcomes: Record<string, number> = {};
  for (let number = 0; number < LIVES; number += 1) {
    disk = await live(disk, model, random, mischief);
    if (mischief === "rot") {
      const file = random.pick(disk.names().filter((name) => name.startsWith("log-") || name.startsWith("state-")));
      disk.rot(file, random.whole(0, Math.min(disk.size(file) ?? 0, 600) * 8 - 1));
    }
    // What an opening found is a promise only once it resolved, so rot may come only behind one; a crash may come within.
    const opened = await open(mischief === "rot" ? disk.mount() : disk.clone(), SEGMENT);
    const outcome = opened.ok ? opened.value.log : opened.error.kind;
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (!opened.ok) return outcomes;
    const wrong = opened.value.log === "whole" ? model.judge(opened.value) : model.judgeHardState(opened.value);
    if (wrong !== null) throw new Error(`seed ${seed}, life ${number}: ${wrong}`);
    if (opened.value.log === "damaged") return outcomes;
    await opened.value.storage.close();
    model = new HistoryModel(opened.value);
  }
  return outcomes;
}

async function judgeSeeds(mischief: Mischief): Promise<Record<string, number>> {
  const total: Record<string, number> = {};
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    for (const [outcome, count] of Object.entries(await judgeSeed(seed, mischief))) total[outcome] = (total[outcome] ?? 0) + count;
  }
  return total;
}

test("crashes that keep any prefix leave the log whole, with all that was durable", async () => {
  expect(await judgeSeeds("prefix")).toEqual({ whole: SEEDS * LIVES });
}, 240_000);

test("crashes that lose sectors out of order lose nothing durable: at worst the log counts as damaged", async () => {
  const outcomes = await judgeSeeds("sectors");
  expect(Object.keys(outcomes).sort()).toEqual(["damaged", "whole"]);
}, 240_000);

test("a bit that rots beside a crash never leaves a whole log with less than was durable, nor another vote", async () => {
  const outcomes = await judgeSeeds("rot");
  expect(outcomes["whole"]).toBeGreaterThan(0);
  expect(outcomes["damaged"]).toBeGreaterThan(0);
}, 240_000);
