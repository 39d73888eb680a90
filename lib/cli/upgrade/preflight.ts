// Owns the look at one node before a major upgrade of PostgreSQL: programs, the server, room, and on the primary a rehearsal. Told as
// findings, like the doctor's. Changes nothing but for files of its own, which it removes.

import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { loadNodeConfig } from "../../config/load.ts";
import type { Clock } from "../../model/clock.ts";
import type { PostgresqlConfig } from "../../model/node-config.ts";
import { inspectDataDirectory, readPostmasterPid } from "../../postgres/data-directory.ts";
import { sizeText } from "../ctl/progress.ts";
import { type Finding, fault, fine, unknown, warning } from "../doctor/finding.ts";
import { rehearse } from "./rehearsal.ts";
import { readServerFacts, type ServerFacts } from "./server-facts.ts";

/** What an upgrade and the steps after it run. */
const PROGRAMS = [
  "postgres",
  "initdb",
  "pg_upgrade",
  "pg_ctl",
  "pg_controldata",
  "pg_resetwal",
  "pg_dump",
  "pg_dumpall",
  "pg_restore",
  "psql",
  "vacuumdb",
];
/** Links need room for catalogues, a few logs and the first WAL. */
const LINK_ROOM_BYTES = 2 * 1024 ** 3;
/** A copy is as large as the data, and grows while it is made. */
const COPY_FACTOR = 1.1;

export interface PreflightOptions {
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly newBinDir: string;
  readonly mode: "link" | "copy";
}

/** `path` and `env` as for a supervisor's start. */
export async function preflight(options: PreflightOptions): Promise<readonly Finding[]> {
  const { path, env, clock, newBinDir, mode } = options;
  const loaded = await loadNodeConfig({ path, env });
  const named = path ?? "the environment";
  if (!loaded.ok) return loaded.error.map((wrong) => fault("configuration", `${wrong.path}: ${wrong.message}`, `correct it in ${named}`));
  const config = loaded.value.config.postgresql;
  const data = await inspectDataDirectory(config.dataDir);
  if (data.kind !== "valid")
    return [fault("data", `${config.dataDir} holds no PostgreSQL data`, "run it on a node of the cluster, with its file")];
  const owner = await ownerFinding(config);
  if (owner !== null) return [owner];
  const version = newVersion(newBinDir, data.majorVersion);
  if (typeof version !== "number") return [version];
  const findings = [fine("programs", `version ${data.majorVersion} is in use, version ${version} in ${newBinDir} is complete`)];
  const pidFile = await readPostmasterPid(config.dataDir);
  if (pidFile === null) return [...findings, unknown("server", "it does not run here: start it, what it holds is asked of itself")];
  const asked = await readServerFacts(config, pidFile, clock);
  if (!asked.ok) return [...findings, fault("server", `it cannot be asked: ${asked.error}`, "see ctl doctor")];
  const facts = asked.value;
  findings.push(...serverFindings(facts), await roomFinding(config, facts, mode));
  if (facts.in_recovery) return [...findings, fine("role", "a standby: it is not upgraded but copied again from the upgraded primary")];
  if (facts.provider !== "c")
    return [...findings, unknown("rehearsal", `the cluster's locales are of provider ${facts.provider}: rehearse by hand`)];
  const said = await rehearse({ config, port: pidFile.port ?? config.port, facts, newBinDir, newMajor: version, mode, clock });
  const verdict = said.ok
    ? fine("rehearsal", `pg_upgrade --check of version ${version} has nothing against it (${mode})`)
    : fault("rehearsal", said.error, "mend what pg_upgrade names, then check again");
  return [...findings, verdict];
}

/** pg_upgrade and initdb refuse root, and files of another user's could not be linked. Null where it is the right user. */
async function ownerFinding({ dataDir }: PostgresqlConfig): Promise<Finding | null> {
  const { uid } = await stat(dataDir);
  if (process.getuid?.() === uid) return null;
  return fault("user", `${dataDir} belongs to the user with the id ${uid}`, "run it as that user, as whom the supervisor runs as well");
}

function newVersion(newBinDir: string, oldMajor: number): number | Finding {
  const missing = PROGRAMS.filter((program) => !isExecutable(join(newBinDir, program)));
  if (missing.length > 0)
    return fault("programs", `${newBinDir} lacks ${missing.join(", ")}`, "install the new version's server and client packages");
  const ran = spawnSync(join(newBinDir, "postgres"), ["--version"], { encoding: "utf8" });
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(ran.stdout ?? "")?.[1] ?? Number.NaN);
  if (Number.isNaN(major))
    return fault("programs", `${newBinDir}/postgres does not run: ${(ran.stderr || "").trim()}`, "install what it lacks");
  if (major > oldMajor) return major;
  return fault("programs", `${newBinDir} is of version ${major}, and the data of ${oldMajor}`, "name the folder of a newer major version");
}

/** What stands against an upgrade, or does not survive it. */
export function serverFindings(facts: ServerFacts): readonly Finding[] {
  const findings: Finding[] = [];
  if (facts.prepared > 0)
    findings.push(
      fault("server", `${facts.prepared} prepared transactions are open`, "commit or roll back each: select gid from pg_prepared_xacts"),
    );
  if (facts.logical_slots > 0 && facts.major < 17)
    findings.push(
      warning(
        "server",
        `${facts.logical_slots} logical slots do not survive an upgrade from ${facts.major}`,
        "let their consumers catch up, and make them anew afterwards",
      ),
    );
  if (facts.tablespaces > 0)
    findings.push(
      warning(
        "server",
        `${facts.tablespaces} tablespaces lie outside of the data directory`,
        "the new version makes a folder of its own in each: see that there is room",
      ),
    );
  return findings.length > 0
    ? findings
    : [fine("server", `${sizeText(facts.bytes)}, no prepared transactions, no logical slots, no tablespaces`)];
}

async function roomFinding({ dataDir }: PostgresqlConfig, { bytes }: ServerFacts, mode: "link" | "copy"): Promise<Finding> {
  const { bavail, bsize } = await statfs(dirname(dataDir));
  const wanted = mode === "link" ? LINK_ROOM_BYTES : Math.max(LINK_ROOM_BYTES, bytes * COPY_FACTOR);
  const text = `${sizeText(bavail * bsize)} are free beside the data, ${sizeText(wanted)} are wanted (${mode})`;
  return bavail * bsize >= wanted
    ? fine("room", text)
    : fault("room", text, mode === "copy" ? "make room, or use --mode link" : "make room");
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // That is the answer.
  }
}
