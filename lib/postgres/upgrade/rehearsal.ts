// Owns the rehearsal of a major upgrade: an empty cluster of the new version beside the data, made and configured as the real one would be,
// and pg_upgrade --check between both while the old one runs. Removes what it made; nothing of the running cluster is changed, and the old
// data directory is never started, whatever happens to its server meanwhile.

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { Clock } from "../../model/clock.ts";
import type { Log } from "../../model/log.ts";
import type { PostgresqlConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import { reasonOf, replaceFile } from "../atomic-file.ts";
import { writeConfigFiles } from "../config-files.ts";
import { endLeftoverRehearsals, rehearsalEnvironment } from "../making-processes.ts";
import { programFolder, programRunner, withPrograms } from "../programs.ts";
import { takeAlong } from "./carried.ts";
import { serverComplaints } from "./complaints.ts";
import { lastOf, makeFresh } from "./fresh.ts";
import { initdbOptions, type ServerFacts } from "./server-facts.ts";

/** A catalogue of many thousand tables takes minutes. */
const REHEARSAL_WITHIN_MS = 30 * 60_000;
/**
 * No server knows it, so that none starts with it. Before it takes a postmaster.pid for a running server's, pg_upgrade tries to start the
 * old cluster; and it does start it where the primary died meanwhile.
 */
const NEVER_STARTS = "matriarch_rehearsal_never_starts_this";
/** The new server beside the running one: nothing leaves it, nothing of the other's is written, no memory is taken that the other needs. */
const MODEST_SETTINGS = [
  "archive_mode=off",
  "synchronous_standby_names=",
  "external_pid_file=",
  "logging_collector=off",
  "log_destination=stderr",
  "huge_pages=off",
  "shared_buffers=16MB",
];
const QUIET: Log = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {}, critical: () => {} };

export interface RehearsalOptions {
  readonly config: PostgresqlConfig;
  /** Where the old server listens. */
  readonly port: number;
  readonly facts: ServerFacts;
  readonly newBinDir: string;
  readonly newMajor: number;
  readonly mode: "link" | "copy";
  readonly clock: Clock;
  /** Aborted: it is ended, and what it made removed. */
  readonly signal?: AbortSignal;
}

/** Value: pg_upgrade has nothing to say against it. Errors: what it said, or why it could not be asked. */
export async function rehearse(options: RehearsalOptions): Promise<Result<null, string>> {
  const { config, facts, newBinDir, newMajor, mode, clock, signal } = options;
  // Beside the data, so that links are tried on the disk that they will be made on; its sockets elsewhere, as their paths are short.
  let beside: string | null = null;
  const folder = await mkdtemp(join(tmpdir(), "matriarch-upgrade-"));
  const run = programRunner(withPrograms(config, newBinDir), clock);
  const how = {
    ...{ deadline: ms(clock.now() + REHEARSAL_WITHIN_MS), env: { LC_ALL: "C", ...rehearsalEnvironment(config.dataDir) } },
    ...(signal === undefined ? {} : { signal }),
  };
  try {
    await removeLeftovers(config.dataDir);
    beside = await mkdtemp(besidePrefix(config.dataDir));
    const fresh = join(beside, "data");
    const made = await makeFresh(run, { dataDir: fresh, newMajor, initdb: initdbOptions(facts, newMajor), how });
    if (!made.ok) return err(made.error.message);
    const configured = await configure(options, fresh);
    if (!configured.ok) return configured;
    const hba = join(folder, "pg_hba.conf");
    const ident = join(folder, "pg_ident.conf");
    await replaceFile(hba, "local all all trust\n");
    await replaceFile(ident, "");
    const settings = [...MODEST_SETTINGS, `data_directory=${fresh}`, `hba_file=${hba}`, `ident_file=${ident}`];
    const checked = await run({
      ...how,
      argv: [
        join(newBinDir, "pg_upgrade"),
        "--check",
        ...(mode === "link" ? ["--link"] : []),
        `--old-bindir=${programFolder(config)}`,
        `--new-bindir=${newBinDir}`,
        `--old-datadir=${config.dataDir}`,
        `--new-datadir=${fresh}`,
        `--old-port=${options.port}`,
        `--old-options=-c ${NEVER_STARTS}=on`,
        `--new-options=${settings.map((setting) => `-c '${setting}'`).join(" ")}`,
        `--username=${facts.install_user}`,
        `--socketdir=${folder}`,
      ],
      cwd: folder,
      env: { ...how.env, PGPASSFILE: await passwordFile(folder, config, facts.install_user) },
      withoutSecrets: true,
    });
    if (!checked.ok) return err(checked.error.message);
    if (checked.value.exitCode === 0) return ok(null);
    const complaints = await serverComplaints([folder, fresh]);
    const told = lastOf(
      [checked.value.stdout, checked.value.stderr, ...complaints.filter((line) => !line.includes(NEVER_STARTS))].join("\n"),
    );
    return err(told.replaceAll(fresh, config.dataDir));
  } catch (error) {
    return err(reasonOf(error));
  } finally {
    await rm(folder, { recursive: true, force: true });
    if (beside !== null) await rm(beside, { recursive: true, force: true });
  }
}

/** The operator's files and ours, as the upgraded directory will have them: what the new version does not know is met here. */
async function configure({ config, clock, newBinDir, newMajor }: RehearsalOptions, fresh: string): Promise<Result<null, string>> {
  await takeAlong(config.dataDir, fresh);
  const next = withPrograms({ ...config, dataDir: fresh, configDir: fresh }, newBinDir);
  const written = await writeConfigFiles(
    { config: next, scope: "rehearsal", memberName: "rehearsal", log: QUIET, clock, run: programRunner(next, clock) },
    { role: "primary", follow: null, synchronousStandbyNames: "", majorVersion: newMajor, controlData: null },
  );
  return written.ok ? ok(null) : err(written.error.message);
}

/** Of one whose supervisor was killed in its midst. */
async function removeLeftovers(dataDir: string): Promise<void> {
  await endLeftoverRehearsals(dataDir);
  const prefix = basename(besidePrefix(dataDir));
  for (const name of await readdir(dirname(dataDir)))
    if (name.startsWith(prefix) && /^[A-Za-z0-9]{6}$/.test(name.slice(prefix.length)))
      await rm(join(dirname(dataDir), name), { recursive: true, force: true });
}

/** Its six last letters are chosen by mkdtemp. */
function besidePrefix(dataDir: string): string {
  return join(dirname(dataDir), `.matriarch-upgrade-${basename(dataDir)}-`);
}

async function passwordFile(folder: string, { superuser }: PostgresqlConfig, user: string): Promise<string> {
  const path = join(folder, "pgpass");
  const known = superuser.username === user && superuser.password !== null;
  const escaped = (word: string): string => word.replaceAll(/[\\:]/g, (sign) => `\\${sign}`);
  await writeFile(path, known ? `*:*:*:${escaped(user)}:${escaped(superuser.password ?? "")}\n` : "", { mode: 0o600 });
  return path;
}
