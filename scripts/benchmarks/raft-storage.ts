// Owns the measurement of the Raft's log on a real disk beside the least that any such log can do: write and fdatasync of a
// preallocated file. Both take turns in small blocks, so that the machine's mood is the same for both.
//
//   bun run scripts/benchmarks/raft-storage.ts [--folder DIR] [--n N] [--json]

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { LogEntry } from "../../lib/dcs/raft/core/types.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { type OpenedStorage, openStorage } from "../../lib/dcs/raft/storage/open-storage.ts";
import type { Log } from "../../lib/model/log.ts";
import { logIndex, type MemberId, memberId, term } from "../../lib/model/raft.ts";
import { RawFile } from "./raw-file.ts";
import { median, percentile } from "./table.ts";

const RECORD_BYTES = 300;
const GROUP = 64;
const BLOCK = 50;
/** Bytes of a record beyond its payload, so that raw writes are as long as ours. */
const EXTRA_BYTES = 48;
const USAGE = `usage: bun run scripts/benchmarks/raft-storage.ts [--folder DIR] [--n N] [--json]
  --folder  where to write (default: the folder for temporary files); the disk under it is measured
  --n       samples of each figure (default 1000)
  --json    the figures as JSON`;

interface Figure {
  readonly what: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly n: number;
}

async function main(): Promise<number> {
  const words = readWords(process.argv.slice(2));
  if (words === null) {
    process.stderr.write(`${USAGE}\n`);
    return 2;
  }
  const folder = fs.mkdtempSync(join(words.folder, "raft-storage-"));
  try {
    const figures = await measure(folder, words.n);
    process.stdout.write(words.json ? `${JSON.stringify(figures, null, 2)}\n` : `${table(figures)}\n`);
    return 0;
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

function readWords(argv: readonly string[]): { readonly folder: string; readonly n: number; readonly json: boolean } | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: { folder: { type: "string" }, n: { type: "string" }, json: { type: "boolean" } },
    });
    const n = Number(values.n ?? "1000");
    return Number.isInteger(n) && n >= BLOCK ? { folder: values.folder ?? tmpdir(), n, json: values.json === true } : null;
  } catch {
    return null;
  }
}

async function measure(folder: string, n: number): Promise<readonly Figure[]> {
  const raw = new RawFile(join(folder, "raw"), GROUP * (RECORD_BYTES + EXTRA_BYTES));
  const log = await OpenLog.found(join(folder, "member"));
  const samples: Record<"raw" | "rawAway" | "one" | "rawGroup" | "group", number[]> = {
    raw: [],
    rawAway: [],
    one: [],
    rawGroup: [],
    group: [],
  };
  for (let round = -1; round < n / BLOCK; round += 1) {
    const kept = round >= 0;
    await block(kept ? samples.raw : [], async () => raw.append(RECORD_BYTES + EXTRA_BYTES));
    await block(kept ? samples.rawAway : [], () => raw.appendAway(RECORD_BYTES + EXTRA_BYTES));
    await block(kept ? samples.one : [], () => log.append(1));
    await block(kept ? samples.rawGroup : [], async () => raw.append(GROUP * (RECORD_BYTES + EXTRA_BYTES)));
    await block(kept ? samples.group : [], () => log.append(GROUP));
  }
  raw.close();
  const entries = log.lastIndex;
  await log.close();
  const opened: number[] = [];
  for (let round = 0; round < 10; round += 1)
    opened.push(await timed(async () => (await mustOpen(join(folder, "member"))).storage.close()));
  return [
    figure("raw: write + fdatasync of one record, in this thread", samples.raw),
    figure("raw: the same, fdatasync in another thread", samples.rawAway),
    figure("log: one record of 300 B durable", samples.one),
    figure("raw: write + fdatasync of 64 records", samples.rawGroup),
    figure("log: 64 records of 300 B in 64 batches durable", samples.group),
    figure(`open: ${entries} entries`, opened),
  ];
}

async function block(into: number[], work: () => Promise<void>): Promise<void> {
  for (let count = 0; count < BLOCK; count += 1) into.push(await timed(work));
}

async function timed(work: () => Promise<void>): Promise<number> {
  const before = performance.now();
  await work();
  return performance.now() - before;
}

class OpenLog {
  readonly #opened: OpenedStorage;
  readonly #payload = new Uint8Array(RECORD_BYTES).fill(0x61);
  #sequence = 0;
  #waiting: { readonly sequence: number; readonly resolve: () => void } | null = null;

  static async found(path: string): Promise<OpenLog> {
    const opened = await mustOpen(path);
    const address = "127.0.0.1:1";
    await opened.storage.writeIdentity({ memberId: SELF, clusterId: null, address, promise: null, founding: null });
    return new OpenLog(opened);
  }

  constructor(opened: OpenedStorage) {
    this.#opened = opened;
    opened.storage.onDurable = (sequence) => {
      if (this.#waiting !== null && this.#waiting.sequence <= sequence) this.#waiting.resolve();
    };
    opened.storage.onFailure = (error) => {
      throw error;
    };
  }

  get lastIndex(): number {
    return this.#sequence;
  }

  /** So many batches of one entry each, written in one turn; resolves when all are durable. */
  append(batches: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting = { sequence: this.#sequence + batches, resolve };
      for (let count = 0; count < batches; count += 1) {
        this.#sequence += 1;
        this.#opened.storage.write({ sequence: this.#sequence, writes: [{ kind: "append", entries: [this.#entry()] }] });
      }
    });
  }

  async close(): Promise<void> {
    await this.#opened.storage.close();
  }

  #entry(): LogEntry {
    return { index: logIndex(this.#sequence), term: term(1), kind: "command", time: this.#sequence, payload: this.#payload };
  }
}

const SELF = memberId("0".repeat(32)) as MemberId;
const SILENT: Log = { debug() {}, info() {}, warning() {}, error() {}, critical() {} };

async function mustOpen(path: string): Promise<OpenedStorage> {
  const disk = openFileDisk(path);
  if (!disk.ok) throw disk.error;
  const opened = await openStorage({ disk: disk.value, log: SILENT });
  if (!opened.ok) throw new Error(opened.error.message);
  return opened.value;
}

function figure(what: string, samples: readonly number[]): Figure {
  return { what, p50Ms: median(samples), p99Ms: percentile(samples, 0.99), n: samples.length };
}

function table(figures: readonly Figure[]): string {
  const lines = figures.map(({ what, p50Ms, p99Ms, n }) => `| ${what} | ${p50Ms.toFixed(3)} | ${p99Ms.toFixed(3)} | ${n} |`);
  const ratio = (ours: number, bare: number): string =>
    ((figures[ours]?.p50Ms ?? Number.NaN) / (figures[bare]?.p50Ms ?? Number.NaN)).toFixed(2);
  return [
    "| what | p50 ms | p99 ms | n |",
    "| --- | --- | --- | --- |",
    ...lines,
    "",
    `one record: ${ratio(2, 0)} × raw, ${ratio(2, 1)} × raw in another thread (reach: 1.3); 64 records: ${ratio(4, 3)} × raw`,
  ].join("\n");
}

process.exit(await main());
