// Owns what the two tiers of tests consist of: an ordered list of stages. Pure but for a look at which files exist.

import { existsSync, readdirSync } from "node:fs";
import { basename, join, relative } from "node:path";

export type Tier = "default" | "full";

/**
 * Beside which others a stage runs. `alone`: no other. `servers`: it mostly waits for servers, which are its own, so that a
 * few such lanes run at a time. `computing`: it starts no
 * servers, or none that anybody waits for, and takes what the others leave of the processor.
 */
export type Lane = "alone" | "servers" | "computing";

/** One program to run. `tests`: it writes a report with counts; `one`: its exit status counts as one test. */
export interface Stage {
  readonly name: string;
  readonly kind: "tests" | "one";
  /** What follows `bun`, or a program of node_modules/.bin. */
  readonly command: readonly [string, ...string[]];
  /** Seeds that the stage simulates; 0 for other stages. */
  readonly seeds: number;
  readonly lane: Lane;
  /** Variables that it gets beside the caller's. */
  readonly environment: Readonly<Record<string, string>>;
}

export const seedsOf: Readonly<Record<Tier, number>> = { default: 200, full: 20_000 };
/** Clusters of the built-in Raft, cores alone and whole members; short lives as well, by the same reason. */
const raftSeedsOf: Readonly<Record<Tier, { readonly cores: number; readonly members: number }>> = {
  default: { cores: 2000, members: 400 },
  full: { cores: 60_000, members: 20_000 },
};
/** For how long faults happen in each simulated cluster: many short lives find more than few long ones. */
const faultMinutesOf: Readonly<Record<Tier, number>> = { default: 20, full: 4 };

/** Folders whose files share one process: they start nothing that could outlive them. */
const quick = ["unit", "scenarios"];
/** Folders whose files get a process each, so that what one leaves behind is found and ended before the next: those of long files first. */
const alone: Readonly<Record<Tier, readonly string[]>> = {
  default: ["integration", "conformance", "simulation"],
  full: ["integration", "full", "conformance", "simulation"],
};
/** The one long file in a folder of short ones. */
const begunFirst = ["test/conformance/raft.test.ts"];
/** Folders whose files run a second time with the Raft as their store in the full tier, all but those of `once`. */
const twice = ["integration", "full"];
/** The default tier has time for one for each promise. */
const twiceByDefault = ["cluster-start", "host-death", "silent-host", "supervisor-death", "switchover"];
/** Why a file of those folders runs once: by the beginning of its name. */
const once: Readonly<Record<string, string>> = {
  "consul-": "about Consul alone; raft-outage is its twin",
  deno: "it writes to a Consul of its own",
  executable: "over the Raft alone: its thread is what the executable has to hold",
  fuzz: "the API, not the store",
  guard: "no store",
  "move-dcs": "over both stores itself",
  migration: "from Patroni, which knows no such Raft",
  "mixed-": "beside one",
  package: "as executable",
  patroni: "with one",
  "pgbouncer-": "a store in memory",
  proxies: "the API, and the keys in Consul",
  "postgres-": "no store",
  quickstart: "it starts its own store, and a Consul where it is asked for one",
  "raft-": "about the Raft alone",
  "upgrade-rehearsal": "no store",
  secrets: "one of them is a token of Consul's",
};
/** Longer than the default tier has time for; what the last one adds stands in test/harness/times.ts. */
const longer: Readonly<Record<Tier, Readonly<Record<string, string>>>> = {
  default: {},
  full: { RAFT_KILL_ROUNDS: "100", RAFT_FAILOVER_ROUNDS: "15", FUZZ_CASES: "100000", MATRIARCH_TEST_TIER: "full" },
};
/** A test without a limit of its own must not hang the tier. */
const testTimeoutMs = { quick: 240_000, alone: 120_000 } as const;

/** The stages of a tier; with a pattern only the test files whose path contains it. */
export function stagesOf(product: string, options: { readonly tier: Tier; readonly only: string | null }): readonly Stage[] {
  const { tier, only } = options;
  const matching = (folder: string) => testFiles(product, folder).filter((file) => only === null || file.includes(only));
  const again = twice
    .filter((folder) => alone[tier].includes(folder))
    .flatMap((folder) => matching(folder).filter((file) => runsTwice(file, tier)));
  const quickly = quick.flatMap((folder) => {
    const files = matching(folder);
    return files.length === 0
      ? []
      : [{ ...testStage(`test/${folder}`, files, testTimeoutMs.quick), lane: "computing" as const, environment: longer[tier] }];
  });
  const onTheirOwn = alone[tier].flatMap((folder) =>
    matching(folder).map((file) => ({ ...testStage(file, [file], testTimeoutMs.alone), environment: longer[tier] })),
  );
  const overRaft = again.map((file) => ({
    ...testStage(`${file} over Raft`, [file], testTimeoutMs.alone),
    environment: { ...longer[tier], MATRIARCH_TEST_STORE: "raft" },
  }));
  // The long ones first, so that the lanes end together.
  const isFirst = ({ name }: Stage): boolean => begunFirst.includes(name);
  const tests = [...quickly, ...onTheirOwn.filter(isFirst), ...overRaft, ...onTheirOwn.filter((stage) => !isFirst(stage))];
  if (only !== null) return tests;
  const checks: Stage[] = [
    { name: "format and lint", kind: "one", command: ["biome", "check", "."], seeds: 0, lane: "alone", environment: {} },
    { name: "types", kind: "one", command: ["tsc", "--noEmit"], seeds: 0, lane: "alone", environment: {} },
  ];
  const seeds = seedsOf[tier];
  const simulate: Stage[] = existsSync(join(product, "scripts/simulate.ts"))
    ? [
        {
          name: `${seeds} simulated seeds`,
          kind: "one",
          command: ["bun", "run", "scripts/simulate.ts", "--seeds", String(seeds), "--minutes", String(faultMinutesOf[tier])],
          seeds,
          lane: "computing",
          environment: {},
        },
        raftStage("cores", raftSeedsOf[tier].cores, []),
        raftStage("members", raftSeedsOf[tier].members, ["--whole"]),
      ]
    : [];
  return [...checks, ...simulate, ...tests];
}

/** Whether a second time over the Raft. */
function runsTwice(file: string, tier: Tier): boolean {
  const name = basename(file, ".test.ts");
  return tier === "default" ? twiceByDefault.includes(name) : !Object.keys(once).some((beginning) => name.startsWith(beginning));
}

function raftStage(what: string, seeds: number, words: readonly string[]): Stage {
  const command = ["bun", "run", "scripts/simulate.ts", "--raft", ...words, "--seeds", String(seeds)] as const;
  return { name: `${seeds} simulated seeds of Raft ${what}`, kind: "one", command, seeds, lane: "computing", environment: {} };
}

function testStage(name: string, files: readonly string[], timeoutMs: number): Stage {
  return {
    name,
    kind: "tests",
    command: ["bun", "test", "--timeout", String(timeoutMs), ...files.map((file) => `./${file}`)],
    seeds: 0,
    lane: "servers",
    environment: {},
  };
}

function testFiles(product: string, folder: string): readonly string[] {
  const top = join(product, "test", folder);
  if (!existsSync(top)) return [];
  return readdirSync(top, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => relative(product, join(entry.parentPath, entry.name)))
    .sort();
}
