// Owns the words of scripts/bench. Starts nothing.

import { parseArgs } from "node:util";
import type { StoreKind } from "../../test/harness/store-sight.ts";
import { ROWS } from "./rows.ts";

export interface BenchArguments {
  /** Rows to measure, in the order of the table. */
  readonly rows: readonly string[];
  /** How often each row is measured; `default` for the rest. */
  readonly samples: ReadonlyMap<string, number>;
  readonly systems: "ours" | "both" | "patroni";
  /** What the clusters are over; Patroni speaks Consul alone of the two. */
  readonly store: StoreKind;
  /** Patroni's command without its file; null: found in PATH or PYTHONPATH. */
  readonly patroni: string | null;
  /** File for every sample; null: none. */
  readonly json: string | null;
}

export const USAGE = `usage: scripts/bench [--rows ROW,ROW…] [--n N | --n ROW=N]… [--only ours|patroni] [--store consul|raft] [--patroni COMMAND] [--json FILE] [--list]
  --rows     what to measure (default: everything); --list names the rows
  --n        samples of each row (default 3), or of one row
  --only     one of the two; without it Patroni is measured beside ours where it is found
  --store    what the clusters are over (default consul); over raft ours is measured alone
  --patroni  its command without the configuration file, e.g. "python3 -m patroni"
  --json     every sample, for a closer look`;

const SAMPLES = 3;

/** Null where the words are wrong. */
export function readBenchArguments(argv: readonly string[]): BenchArguments | "list" | "help" | null {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        rows: { type: "string" },
        n: { type: "string", multiple: true },
        only: { type: "string" },
        store: { type: "string", default: "consul" },
        patroni: { type: "string" },
        json: { type: "string" },
        list: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) return "help";
    if (values.list === true) return "list";
    const known = ROWS.map(({ id }) => id);
    const rows = values.rows === undefined ? known : values.rows.split(",");
    if (rows.some((row) => !known.includes(row))) return null;
    const samples = readSamples(values.n ?? []);
    if (samples === null || ![undefined, "ours", "patroni"].includes(values.only)) return null;
    if (values.store !== "consul" && values.store !== "raft") return null;
    if (values.store === "raft" && values.only === "patroni") return null;
    return {
      rows: known.filter((id) => rows.includes(id)),
      samples,
      systems: values.only === undefined ? "both" : (values.only as "ours" | "patroni"),
      store: values.store,
      patroni: values.patroni ?? null,
      json: values.json ?? null,
    };
  } catch {
    return null;
  }
}

function readSamples(words: readonly string[]): ReadonlyMap<string, number> | null {
  const samples = new Map([["default", SAMPLES]]);
  for (const word of words) {
    const [name, count] = word.includes("=") ? (word.split("=") as [string, string]) : (["default", word] as const);
    if (!/^[1-9]\d*$/.test(count) || (name !== "default" && !ROWS.some(({ id }) => id === name))) return null;
    samples.set(name, Number(count));
  }
  return samples;
}
