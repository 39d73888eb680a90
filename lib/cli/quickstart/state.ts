// Owns the state file of a quickstart: what runs, where, and under which ports and passwords. It is what `stop` trusts
// after anything else was killed, so it is written before each step, whole or not at all. It must not judge processes.

import { chmodSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";

const ProcessSchema = v.object({ pid: v.pipe(v.number(), v.integer(), v.minValue(2)), startTicks: v.number() });
const PortSchema = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

const StateSchema = v.object({
  version: v.literal(1),
  /** Random; stands in the environment of every process of the run. */
  runId: v.pipe(v.string(), v.regex(/^[0-9a-f]{16,}$/)),
  bootId: v.string(),
  /** starting: data may be half made; running: all nodes were seen up; stopped: kept on purpose. */
  phase: v.picklist(["starting", "running", "stopped"]),
  /** Whether the data outlives the stop. */
  keep: v.boolean(),
  /** The quickstart that watches in the foreground; null when it was detached. */
  foreground: v.nullable(ProcessSchema),
  passwords: v.object({ superuser: v.string(), replication: v.string(), raft: v.optional(v.string(), "") }),
  /** Null: the nodes keep the cluster's state in a Raft of their own. */
  consul: v.nullable(v.object({ httpPort: PortSchema, serverPort: PortSchema, serfPort: PortSchema, process: v.nullable(ProcessSchema) })),
  nodes: v.pipe(
    v.array(
      v.object({
        name: v.string(),
        postgresPort: PortSchema,
        apiPort: PortSchema,
        /** Of its member of the Raft; null over Consul. */
        raftPort: v.optional(v.nullable(PortSchema), null),
        process: v.nullable(ProcessSchema),
      }),
    ),
    v.minLength(1),
  ),
});

export type QuickstartState = v.InferOutput<typeof StateSchema>;
export type QuickstartNode = QuickstartState["nodes"][number];

/** The run's state; null when there is none. Throws Error when the file is not one (somebody else's, or cut off). */
export function readState(folder: string): QuickstartState | null {
  const path = statePath(folder);
  if (!existsSync(path)) return null;
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Error(`${path} cannot be read: ${(error as Error).message}`);
  }
  const parsed = v.safeParse(StateSchema, value);
  if (!parsed.success) throw new Error(`${path} is not the state of a quickstart: ${v.summarize(parsed.issues)}`);
  return parsed.output;
}

/** Takes the folder for a new run. False when another quickstart was faster. */
export function claimState(folder: string, state: QuickstartState): boolean {
  try {
    writeFileSync(statePath(folder), JSON.stringify(state, null, 2), { mode: 0o600, flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** Replaces the state as a whole. */
export function writeState(folder: string, state: QuickstartState): void {
  const temporary = `${statePath(folder)}.${process.pid}`;
  writeFileSync(temporary, JSON.stringify(state, null, 2), { mode: 0o600 });
  chmodSync(temporary, 0o600);
  renameSync(temporary, statePath(folder));
}

export function removeState(folder: string): void {
  rmSync(statePath(folder), { force: true });
}

function statePath(folder: string): string {
  return join(folder, "state.json");
}
