// Owns the look at one node before a major upgrade of PostgreSQL: programs, the server, room, and on the primary a rehearsal. Told as
// findings, like the doctor's. Changes nothing but for files of its own, which it removes.

import { accessSync, constants } from "node:fs";
import { stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Clock } from "../../model/clock.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import type { PostgresqlConfig } from "../../model/node-config.ts";
import { sizeText } from "../../model/size-text.ts";
import { ms } from "../../model/units.ts";
import type { UpgradeMode } from "../../model/upgrade.ts";
import { placeObstacle } from "../aside.ts";
import { reasonOf } from "../atomic-file.ts";
import { inspectDataDirectory, readPostmasterPid } from "../data-directory.ts";
import { programRunner, withPrograms } from "../programs.ts";
import { carriedObstacle } from "./carried.ts";
import { copyObstacle, outsideObstacle } from "./outside.ts";
import { rehearse } from "./rehearsal.ts";
import { initdbLocale, readServerFacts, type ServerFacts } from "./server-facts.ts";

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
/** A disk that has to be woken; longer means that it hangs. */
const VERSION_WITHIN_MS = 30_000;
/** Links need room for catalogues, a few logs and the first WAL. */
const LINK_ROOM_BYTES = 2 * 1024 ** 3;
/** A copy is as large as the data, and grows while it is made. */
const COPY_FACTOR = 1.1;

export interface LookOptions {
  readonly config: PostgresqlConfig;
  readonly clock: Clock;
  readonly newBinDir: string;
  readonly mode: UpgradeMode;
  /** Aborted: a rehearsal is ended; what was found says so. */
  readonly signal?: AbortSignal;
}

export interface Look {
  readonly findings: readonly Finding[];
  /** null where the server could not be asked. */
  readonly facts: ServerFacts | null;
  /** Of the new programs; null where they are not complete. */
  readonly newMajor: number | null;
}

export async function lookBeforeUpgrade(options: LookOptions): Promise<Look> {
  const { config, clock, newBinDir, mode } = options;
  const only = (...findings: readonly Finding[]): Look => ({ findings, facts: null, newMajor: null });
  const data = await inspectDataDirectory(config.dataDir);
  if (data.kind !== "valid")
    return only(fault("data", `${config.dataDir} holds no PostgreSQL data`, "run it on a node of the cluster, with its file"));
  const owner = await ownerFinding(config);
  if (owner !== null) return only(owner);
  const version = await newVersion(options, data.majorVersion);
  if (typeof version !== "number") return only(version);
  const findings = [fine("programs", `version ${data.majorVersion} is in use, version ${version} in ${newBinDir} is complete`)];
  const pidFile = await readPostmasterPid(config.dataDir);
  const silent = unknown("server", "it does not run here: start it, what it holds is asked of itself");
  if (pidFile === null) return { findings: [...findings, silent], facts: null, newMajor: version };
  const asked = await readServerFacts(config, pidFile, clock);
  const told = (finding: Finding, facts: ServerFacts | null): Look => ({ findings: [...findings, finding], facts, newMajor: version });
  if (!asked.ok) return told(fault("server", `it cannot be asked: ${asked.error}`, "see ctl doctor"), null);
  const facts = asked.value;
  const place = await placeFindings(config, { newMajor: version, standbyOf: facts.in_recovery ? data.majorVersion : null });
  findings.push(...serverFindings(facts), ...place, ...(await roomFindings(config, facts, mode)));
  if (facts.in_recovery) return told(fine("role", "a standby: it is not upgraded but copied again from the upgraded primary"), facts);
  if (initdbLocale(facts) === null)
    return told(unknown("rehearsal", `the cluster's locales are of provider ${facts.provider}: rehearse by hand`), facts);
  const said = await rehearse({
    ...{ config, port: pidFile.port ?? config.port, facts, newBinDir, newMajor: version, mode, clock },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (!said.ok) return told(fault("rehearsal", said.error, "mend what pg_upgrade names, then check again"), facts);
  return told(fine("rehearsal", `pg_upgrade --check of version ${version} has nothing against it (${mode})`), facts);
}

/** What the steps of `ctl upgrade --run` cannot do here, and an operator can. `standbyOf`: the version of a standby's data; null: a primary. */
export async function placeFindings(
  config: PostgresqlConfig,
  versions: { readonly newMajor: number; readonly standbyOf: number | null },
): Promise<readonly Finding[]> {
  try {
    return await placeFacts(config, versions);
  } catch (error) {
    return [fault("directory", `what lies in ${config.dataDir} cannot be looked at: ${reasonOf(error)}`, "mend what it names")];
  }
}

async function placeFacts(
  config: PostgresqlConfig,
  { newMajor, standbyOf }: { readonly newMajor: number; readonly standbyOf: number | null },
): Promise<readonly Finding[]> {
  const byHand = "upgrade by hand (docs/upgrades.md); ctl upgrade --run does not do it";
  const own = (await placeObstacle(config.dataDir)) ?? (await outsideObstacle(config.dataDir, newMajor));
  const obstacle = own ?? (standbyOf === null ? null : await copyObstacle(config.dataDir, standbyOf));
  const tooMuch = await carriedObstacle(config.dataDir);
  return [
    ...(tooMuch === null ? [] : [fault("directory", tooMuch, "move it out of the data directory, or give it to the server's user")]),
    ...(obstacle === null ? [] : [warning("directory", obstacle, byHand)]),
    ...(config.configDir === config.dataDir
      ? []
      : [warning("directory", `the configuration is in a directory of its own, ${config.configDir}`, byHand)]),
  ];
}

/** pg_upgrade and initdb refuse root, and files of another user's could not be linked. Null where it is the right user. */
async function ownerFinding({ dataDir }: PostgresqlConfig): Promise<Finding | null> {
  const { uid } = await stat(dataDir);
  if (process.getuid?.() === uid) return null;
  return fault("user", `${dataDir} belongs to the user with the id ${uid}`, "run it as that user, as whom the supervisor runs as well");
}

async function newVersion({ config, clock, newBinDir }: LookOptions, oldMajor: number): Promise<number | Finding> {
  const missing = PROGRAMS.filter((program) => !isExecutable(join(newBinDir, program)));
  if (missing.length > 0)
    return fault("programs", `${newBinDir} lacks ${missing.join(", ")}`, "install the new version's server and client packages");
  const run = programRunner(withPrograms(config, newBinDir), clock);
  const ran = await run({ argv: ["postgres", "--version"], deadline: ms(clock.now() + VERSION_WITHIN_MS) });
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(ran.ok ? ran.value.stdout : "")?.[1] ?? Number.NaN);
  if (Number.isNaN(major)) {
    const said = ran.ok ? ran.value.stderr.trim() : ran.error.message;
    return fault("programs", `${newBinDir}/postgres does not run: ${said}`, "install what it lacks");
  }
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

/** One for each disk that files are written to. */
export async function roomFindings(config: PostgresqlConfig, facts: ServerFacts, mode: UpgradeMode): Promise<readonly Finding[]> {
  try {
    return await roomFacts(config, facts, mode);
  } catch (error) {
    return [fault("room", `the room on the disks cannot be told: ${reasonOf(error)}`, "mend what it names")];
  }
}

async function roomFacts({ dataDir }: PostgresqlConfig, facts: ServerFacts, mode: UpgradeMode): Promise<readonly Finding[]> {
  const outside = facts.outside.reduce((sum, { bytes }) => sum + bytes, 0);
  const beside = { place: dirname(dataDir), bytes: facts.bytes - outside };
  const disks = new Map<number, { readonly place: string; readonly bytes: number }>();
  // Links take their room beside the data, where most of the catalogues are.
  for (const { place, bytes } of mode === "link" ? [beside] : [beside, ...facts.outside]) {
    const { dev } = await stat(place);
    const before = disks.get(dev);
    disks.set(dev, { place: before?.place ?? place, bytes: (before?.bytes ?? 0) + bytes });
  }
  return await Promise.all([...disks.values()].map((disk) => roomFinding(disk, { isBeside: disk.place === beside.place, mode })));
}

async function roomFinding(
  { place, bytes }: { readonly place: string; readonly bytes: number },
  { isBeside, mode }: { readonly isBeside: boolean; readonly mode: UpgradeMode },
): Promise<Finding> {
  const { bavail, bsize } = await statfs(place);
  const least = isBeside ? LINK_ROOM_BYTES : 0;
  const wanted = mode === "link" ? least : Math.max(least, bytes * COPY_FACTOR);
  const text = `${sizeText(bavail * bsize)} are free ${isBeside ? "beside the data" : `in ${place}`}, ${sizeText(wanted)} are wanted (${mode})`;
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
