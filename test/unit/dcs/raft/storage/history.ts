// Owns a slow and obvious model of the Raft's log on disk, and the running of a history of writes, step by step, over a disk
// whose operations end when the test says. Judges what is found after a crash against what had been reported durable.

import { isDeepStrictEqual } from "node:util";
import type { HardState, LogEntry, LogWrite, SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import type { OpenedStorage } from "../../../../../lib/dcs/raft/storage/open-storage.ts";
import type { RaftStorage } from "../../../../../lib/dcs/raft/storage/raft-storage.ts";
import { encodeSnapshot } from "../../../../../lib/dcs/raft/storage/snapshot-file.ts";
import { type Term, term } from "../../../../../lib/model/raft.ts";
import type { FakeDisk } from "../../../../raft/fake-disk.ts";

export type HistoryStep =
  | { readonly kind: "batch"; readonly writes: readonly LogWrite[] }
  | { readonly kind: "snapshot"; readonly meta: SnapshotMeta; readonly body: Uint8Array }
  | { readonly kind: "receive"; readonly meta: SnapshotMeta; readonly body: Uint8Array; readonly chunk: number };

/** What the log amounts to after some of its records. */
interface ModelState {
  readonly hardState: HardState;
  readonly base: { readonly index: number; readonly term: Term };
  readonly entries: readonly LogEntry[];
}

const EMPTY: ModelState = { hardState: { term: term(0), votedFor: null }, base: { index: 0, term: term(0) }, entries: [] };

/** Every state that the log went through, record by record, and how far it was reported durable. */
export class HistoryModel {
  readonly #states: ModelState[];
  readonly #endOfBatch: number[] = [0];
  #durable = 0;
  /** Every snapshot that was begun, and the index of the newest that was reported durable. */
  readonly #snapshots: { readonly meta: SnapshotMeta; readonly body: Uint8Array }[] = [];
  #durableSnapshot = 0;

  /** Begins with what an earlier judgement found right; without it, with nothing. */
  constructor(found: Pick<OpenedStorage, "hardState" | "snapshot" | "entries"> | null = null) {
    this.#states = [
      found === null ? EMPTY : { hardState: found.hardState, base: found.snapshot?.meta ?? EMPTY.base, entries: found.entries },
    ];
    if (found === null || found.snapshot === null) return;
    this.#snapshots.push({ meta: found.snapshot.meta, body: new Uint8Array(0) });
    this.#durableSnapshot = found.snapshot.meta.index;
  }

  begin(writes: readonly LogWrite[]): void {
    for (const write of writes) {
      if (write.kind !== "append") this.#push(write);
      else for (const entry of write.entries) this.#push({ kind: "append", entries: [entry] });
    }
    this.#endOfBatch.push(this.#states.length - 1);
  }

  /** Every batch up to the sequence (from 1 on) was reported durable. */
  durable(sequence: number): void {
    this.#durable = this.#endOfBatch[sequence] as number;
  }

  beginSnapshot(meta: SnapshotMeta, body: Uint8Array): void {
    this.#snapshots.push({ meta, body });
  }

  durableSnapshot(meta: SnapshotMeta): void {
    this.#durableSnapshot = Math.max(this.#durableSnapshot, meta.index);
  }

  /** Why what was found cannot be; null where it is one of the states from the durable one on. */
  judge(found: Pick<OpenedStorage, "hardState" | "snapshot" | "entries" | "log" | "damage">): string | null {
    if (found.log !== "whole") return `the log counts as damaged: ${found.damage}`;
    return this.judgeHardState(found) ?? this.#judgeSnapshot(found) ?? this.#judgeEntries(found);
  }

  /** Term and vote are never behind what was reported durable, and never invented. */
  judgeHardState(found: Pick<OpenedStorage, "hardState">): string | null {
    const possible = this.#states.slice(this.#durable).map((state) => state.hardState);
    if (possible.some((state) => isDeepStrictEqual(state, found.hardState))) return null;
    return `term and vote ${JSON.stringify(found.hardState)}, but durable were ${JSON.stringify(possible[0])}`;
  }

  #judgeSnapshot({ snapshot }: Pick<OpenedStorage, "snapshot">): string | null {
    const index = snapshot?.meta.index ?? 0;
    if (index < this.#durableSnapshot) return `the snapshot found is at ${index}, the durable one at ${this.#durableSnapshot}`;
    if (snapshot === null || this.#snapshots.some(({ meta }) => isDeepStrictEqual(meta, snapshot.meta))) return null;
    return `a snapshot that nobody saved: ${JSON.stringify(snapshot.meta)}`;
  }

  #judgeEntries(found: Pick<OpenedStorage, "snapshot" | "entries">): string | null {
    const base = found.snapshot?.meta ?? EMPTY.base;
    const possible = this.#states.slice(this.#durable).map((state) => behind(state, base));
    if (possible.some((entries) => isDeepStrictEqual(entries, found.entries))) return null;
    return `entries ${summary(found.entries)} behind ${base.index}, but durable were ${summary(possible[0] ?? [])}`;
  }

  #push(write: LogWrite): void {
    this.#states.push(applied(this.#states.at(-1) as ModelState, write));
  }
}

function applied(state: ModelState, write: LogWrite): ModelState {
  switch (write.kind) {
    case "hard-state":
      return { ...state, hardState: write.state };
    case "reset":
      return { ...state, base: { index: write.index, term: write.term }, entries: [] };
    case "whole":
      return state;
    case "append": {
      const first = write.entries[0]?.index ?? 0;
      return { ...state, entries: [...state.entries.filter((entry) => entry.index < first), ...write.entries] };
    }
  }
}

/** The entries behind the snapshot, where the log leads on from it. */
function behind(state: ModelState, base: { readonly index: number; readonly term: Term }): readonly LogEntry[] {
  const at = [state.base, ...state.entries].find((entry) => entry.index === base.index);
  return at?.term === base.term ? state.entries.filter((entry) => entry.index > base.index) : [];
}

function summary(entries: readonly LogEntry[]): string {
  return `[${entries.map((entry) => `${entry.index}@${entry.term}`).join(" ")}]`;
}

/** Runs the steps; those of the log are not waited for where `pace` is "burst". */
export async function runHistory(
  storage: RaftStorage,
  model: HistoryModel,
  steps: readonly HistoryStep[],
  pace: "each" | "burst",
): Promise<void> {
  let wake = (): void => {};
  let reported = 0;
  storage.onDurable = (sequence) => {
    model.durable(sequence);
    reported = sequence;
    wake();
  };
  let sequence = 0;
  for (const step of steps) {
    if (step.kind === "batch") {
      model.begin(step.writes);
      sequence += 1;
      storage.write({ sequence, writes: step.writes });
      if (pace === "burst") continue;
    }
    while (reported < sequence) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (step.kind !== "batch") await runSnapshot(storage, model, step);
  }
  await storage.close();
}

async function runSnapshot(storage: RaftStorage, model: HistoryModel, step: Exclude<HistoryStep, { kind: "batch" }>): Promise<void> {
  model.beginSnapshot(step.meta, step.body);
  if (step.kind === "snapshot") {
    await storage.saveSnapshot(step.meta, step.body);
  } else {
    const file = encodeSnapshot(step.meta, step.body);
    for (let offset = 0; offset < file.length; offset += step.chunk) {
      const data = file.slice(offset, offset + step.chunk);
      await storage.receive({ meta: step.meta, size: file.length, offset, data });
    }
  }
  model.durableSnapshot(step.meta);
}

/** Operations that wait for the test to end them. */
export class Turns {
  readonly #waiting: (() => void)[] = [];

  readonly after = (_delayMs: number, run: () => void): void => {
    this.#waiting.push(run);
  };

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Ends one of the operations that wait, and lets everything run that follows from it. */
  async end(position = 0): Promise<void> {
    this.#waiting.splice(position, 1)[0]?.();
    await settled();
  }
}

/** When everything that can go on without another event has done so. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Every way in which a crash may leave one file at a byte, the others having kept nothing or all. */
export function* crashesOf(disk: FakeDisk, prefixes: (name: string, unsynced: number) => Iterable<number>): Generator<FakeDisk> {
  const unsynced = [...disk.unsynced()];
  for (const [varied, amount] of unsynced.length > 0 ? unsynced : [["", 0] as const]) {
    for (const kept of prefixes(varied, amount)) {
      for (const others of unsynced.length > 1 ? [0, 1] : [0]) {
        const crashed = disk.clone({});
        crashed.crash((name, all) => (name === varied ? kept : others * all));
        yield crashed;
      }
    }
  }
}
