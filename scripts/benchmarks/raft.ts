// Owns the course of the Raft's measurements: the built-in Raft beside etcd and Consul where those are installed, one after the
// other, the same rows for each. Prints a table. One machine stands for all servers and for the client.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { consulVersion, startConsul } from "./raft-consul.ts";
import { etcdVersion, startEtcd } from "./raft-etcd.ts";
import { ownRows } from "./raft-in-process.ts";
import type { Reading } from "./raft-load.ts";
import { startOurs } from "./raft-ours.ts";
import { RAFT_ROWS } from "./raft-rows.ts";
import type { RaftSystem } from "./raft-system.ts";

const USAGE = `usage: bun run scripts/benchmarks/raft.ts [--only ours,etcd,consul] [--rows ROW,ROW…] [--rounds N] [--peer-rounds N]
         [--writes N] [--folder DIR] [--etcd PROGRAM] [--consul PROGRAM] [--json FILE]
  --only    the systems (default: those that are found); "ours" alone has rows more, measured inside one process
  --rows    ${RAFT_ROWS.map(({ id }) => id).join(", ")}, in-process (default: all)
  --rounds  how often a server is struck for each row (default 15)
  --peer-rounds  the same for etcd and Consul (default 5): Consul takes a quarter of a minute for each
  --writes  commits of the 64 writers (default 100000)
  --folder  on the disk to measure (default: the folder for temporary files; Consul's data is always there)
  --etcd    its program (default: in PATH); --consul likewise (default: CONSUL_BIN, PATH, or what scripts/setup installed)
  --json    every sample, for a closer look`;
const IN_PROCESS = "in-process";

interface Candidate {
  readonly name: string;
  readonly version: string;
  readonly start: (folder: string) => Promise<RaftSystem>;
}

/** By title: what is to be reached, and each system's reading. */
type Table = Map<string, { readonly reach: string; readonly cells: Map<string, Reading> }>;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rows: { type: "string" },
    rounds: { type: "string", default: "15" },
    "peer-rounds": { type: "string", default: "5" },
    writes: { type: "string", default: "100000" },
    folder: { type: "string", default: tmpdir() },
    etcd: { type: "string", default: "etcd" },
    consul: { type: "string" },
    json: { type: "string" },
    help: { type: "boolean", short: "h" },
  },
});
if (values.help === true) {
  console.log(USAGE);
  process.exit(0);
}
const rounds = Number(values.rounds);
const peerRounds = Number(values["peer-rounds"]);
const writes = Number(values.writes);
const ids = [...RAFT_ROWS.map(({ id }) => id), IN_PROCESS];
const rows = values.rows?.split(",") ?? ids;
if (!(rounds > 0) || !(peerRounds > 0) || !(writes > 0) || rows.some((row) => !ids.includes(row))) {
  console.error(USAGE);
  process.exit(2);
}
if (values.consul !== undefined) process.env["CONSUL_BIN"] = values.consul;
const base = mkdtempSync(join(values.folder, "raft-bench-"));
try {
  const systems = candidates();
  const table: Table = new Map();
  for (const system of systems) {
    if (system.name === "ours" && rows.includes(IN_PROCESS)) {
      for (const { title, reach, reading } of await ownRows({ writes, folder: base }))
        note(table, { title, reach, system: "ours", reading });
    }
    await measure(system, table);
  }
  console.log(written(table, systems));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(samplesOf(table)));
} finally {
  rmSync(base, { recursive: true, force: true });
}
process.exit(0);

/** Those that are asked for and installed. Ours is first. */
function candidates(): readonly Candidate[] {
  const etcd = etcdVersion(values.etcd);
  const consul = consulVersion();
  const all: readonly (Candidate | null)[] = [
    { name: "ours", version: "", start: startOurs },
    etcd === null ? null : { name: "etcd", version: etcd, start: (folder) => startEtcd(values.etcd, etcd, folder) },
    consul === null ? null : { name: "Consul", version: consul, start: () => startConsul(consul) },
  ];
  const wanted = values.only?.split(",") ?? ["ours", "etcd", "consul"];
  const found = all.filter((each): each is Candidate => each !== null && wanted.includes(each.name.toLowerCase()));
  for (const name of wanted) if (!found.some((each) => each.name.toLowerCase() === name)) console.error(`${name}: not found, not measured`);
  return found;
}

async function measure(candidate: Candidate, table: Table): Promise<void> {
  const wanted = RAFT_ROWS.filter(({ id }) => rows.includes(id));
  if (wanted.length === 0) return;
  const folder = join(base, candidate.name);
  mkdirSync(folder);
  const system = await candidate.start(folder);
  try {
    for (const { title, reach, measure: read } of wanted) {
      const reading = await read({ system, rounds: candidate.name === "ours" ? rounds : peerRounds, writes, folder });
      note(table, { title, reach, system: candidate.name, reading });
    }
  } finally {
    await system.close();
  }
}

function note(
  table: Table,
  entry: { readonly title: string; readonly reach: string; readonly system: string; readonly reading: Reading },
): void {
  const { title, reach, system, reading } = entry;
  const row = table.get(title) ?? { reach, cells: new Map<string, Reading>() };
  table.set(title, row);
  row.cells.set(system, reading);
  console.error(`${system}  ${title}: ${reading.text}  (load ${loadavg()[0]?.toFixed(1)})`);
}

function written(table: Table, systems: readonly Candidate[]): string {
  const head = ["what", "reach", ...systems.map(({ name, version }) => `${name} ${version}`.trim())];
  const lines = [...table].map(([title, { reach, cells }]) => [title, reach, ...systems.map(({ name }) => cells.get(name)?.text ?? "–")]);
  return [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function samplesOf(table: Table): unknown {
  const cells = [...table].map(([title, row]) => [title, Object.fromEntries([...row.cells].map(([name, { samples }]) => [name, samples]))]);
  return { at: new Date().toISOString(), load: loadavg(), rows: Object.fromEntries(cells) };
}
