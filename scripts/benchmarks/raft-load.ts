// Owns the writers of the Raft's rows: one that waits for each commit, and many at once, in blocks between which the bare disk is
// measured, so that its mood is known for the same seconds.

import { join } from "node:path";
import { RawFile } from "./raw-file.ts";
import { median, percentile, short } from "./table.ts";

/** The one thing that a writer needs. */
export interface Writes {
  put(key: string, value: string): Promise<void>;
}

export interface Reading {
  /** For the table. */
  readonly text: string;
  readonly samples: readonly number[];
}

export const WRITERS = 64;
const VALUE = "x".repeat(200);
/** What a commit of all writers at once takes in the log, about. */
const GROUP_BYTES = WRITERS * 350;
const SEQUENTIAL_WRITES = 3000;
/** Told apart: until the code is compiled and the files are warm. */
const WARM_UP_PART = 0.1;
const BLOCKS = 20;
const BARE_SYNCS = 100;

/** Milliseconds of each commit, one after the other. */
export async function oneByOne(to: Writes): Promise<Reading> {
  const times: number[] = [];
  for (let count = 0; count < SEQUENTIAL_WRITES; count++) {
    const from = performance.now();
    await to.put(`bench/${count % 100}`, `${count} ${VALUE}`);
    times.push(performance.now() - from);
  }
  return spread(times.slice(times.length * WARM_UP_PART));
}

export interface Load {
  readonly writes: number;
  /** On the disk that is measured. */
  readonly folder: string;
}

/**
 * Milliseconds of each commit of 64 writers, by the given clock; the text has the rate, and the disk's own times beside it, and p99 with the
 * commits before those, from the first one on.
 */
export async function manyWriters(to: Writes, { writes, folder }: Load, now: () => number = () => performance.now()): Promise<Reading> {
  const raw = new RawFile(join(folder, `bare-${crypto.randomUUID()}`), GROUP_BYTES);
  const bare: number[] = [];
  const cold = new Times(Math.ceil(writes * WARM_UP_PART));
  const warm = new Times(BLOCKS * Math.ceil(writes / BLOCKS));
  let elapsed = 0;
  await block(to, { writes: writes * WARM_UP_PART, times: cold, now });
  for (let count = 0; count < BLOCKS; count++) {
    for (let sync = 0; sync < BARE_SYNCS; sync++) {
      const from = performance.now();
      await raw.appendAway(GROUP_BYTES);
      bare.push(performance.now() - from);
    }
    elapsed += await block(to, { writes: writes / BLOCKS, times: warm, now });
  }
  raw.close();
  const times = warm.all();
  const fromFirst = percentile([...cold.all(), ...times], 0.99);
  const rate = Math.round((times.length / elapsed) * 1000);
  const disk = `bare sync p50 ${short(median(bare))}, p99 ${short(percentile(bare, 0.99))} ms`;
  return {
    text: `**${rate}**/s, p50 ${short(median(times))}, p99 **${short(percentile(times, 0.99))}** ms (n=${times.length}; from the first commit on p99 ${short(fromFirst)}; ${disk})`,
    samples: times,
  };
}

/** Room for all from the beginning: a list that grows is copied again and again, and the copies count as garbage of what is measured. */
class Times {
  readonly #values: Float64Array;
  #count = 0;

  constructor(most: number) {
    this.#values = new Float64Array(most);
  }

  /** Throws RangeError where there is no room for it. */
  note(time: number): void {
    if (this.#count === this.#values.length) throw new RangeError(`more than ${this.#count} times`);
    this.#values[this.#count++] = time;
  }

  all(): readonly number[] {
    return [...this.#values.subarray(0, this.#count)];
  }
}

/** Value: how long it took, in ms. */
async function block(to: Writes, run: { readonly writes: number; readonly times: Times; readonly now: () => number }): Promise<number> {
  const { times, now } = run;
  let left = run.writes;
  const from = now();
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      while (left-- > 0) {
        const sent = now();
        await to.put(`bench/writer-${writer}`, `${left} ${VALUE}`);
        times.note(now() - sent);
      }
    }),
  );
  return now() - from;
}

export function spread(samples: readonly number[], unit = "ms"): Reading {
  const range = samples.length === 1 ? "" : `, p99 ${short(percentile(samples, 0.99))}, max ${short(Math.max(...samples))}`;
  return { text: `**${short(median(samples))}** ${unit} (n=${samples.length}${range})`, samples };
}
