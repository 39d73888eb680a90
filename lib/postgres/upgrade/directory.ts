// Owns what a major upgrade does on the disk of the node that upgrades: the old data directory aside, one of the new version in its place,
// filled by pg_upgrade; and the way back. Each step can be repeated after a crash. The old directory is never deleted.

import { mkdtemp, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { UpgradeMode, UpgradeRequest } from "../../model/upgrade.ts";
import { beside, exchangeAside, finishAside, putAsideBack } from "../aside.ts";
import { isThere, reasonOf, replaceFile, syncFolder } from "../atomic-file.ts";
import { writeConfigFiles } from "../config-files.ts";
import type { PostgresContext } from "../context.ts";
import { readControlData } from "../control-data.ts";
import { readMajorVersion } from "../data-directory.ts";
import { endLeftoverMakers, makingEnvironment } from "../making-processes.ts";
import { programFolder, programPath, programRunner, withPrograms } from "../programs.ts";
import { crashRecover } from "../rewind.ts";
import { takeAlong } from "./carried.ts";
import { fullDisk, serverComplaints } from "./complaints.ts";
import { lastOf, makeFresh } from "./fresh.ts";
import { backObstacle, bringOutsideBack, clearNewTablespaces, outsideObstacle, putWalAside } from "./outside.ts";

/** Access for the folder's group, as `initdb --allow-group-access` gives it. */
const GROUP_READS = 0o040;
const USERNAME = "--username=";
/** In the new directory, from version 15 on. */
const PG_UPGRADE_OUTPUT = "pg_upgrade_output.d";
/** What pg_upgrade's servers are started with beside their own files: nobody else gets in, nothing leaves, no commit waits. */
const UNSEEN_SETTINGS = ["archive_mode=off", "synchronous_standby_names=", "ssl=off"];

export interface UpgradeFilesOptions {
  readonly request: UpgradeRequest;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** Where the old data is kept, beside the data directory. */
export function oldDirectory(dataDir: string, id: string): string {
  return beside(dataDir, `before-upgrade-${id}`);
}

/** Where upgraded data that has served is kept after a rollback. */
export function upgradedDirectory(dataDir: string, id: string): string {
  return beside(dataDir, `upgraded-${id}`);
}

/**
 * Puts the stopped data directory aside and makes the upgraded one in its place; it stays marked as half-made until finishUpgrade. Does
 * nothing where that was done already. `context` has the old version's programs. Value: the new system identifier. Errors: refused
 * (nothing was changed), failed, cancelled.
 */
export async function upgradeAside(context: PostgresContext, options: UpgradeFilesOptions): Promise<Result<string, PostgresError>> {
  const { id, binDir, initdb } = options.request;
  if (initdb === null) return err({ kind: "refused", message: "nobody has looked how the new cluster has to be made" });
  const { dataDir } = context.config;
  const aside = oldDirectory(dataDir, id);
  const old = { ...context, config: { ...context.config, dataDir: aside, configDir: aside } };
  const config = withPrograms(context.config, binDir);
  const next = { ...context, config, run: programRunner(config, context.clock) };
  const { toMajor } = options.request;
  let waldir: string | null = null;
  const outside = {
    obstacle: () => outsideObstacle(dataDir, toMajor),
    ready: async () => {
      await endLeftoverMakers(dataDir);
      await clearNewTablespaces({ aside, dataDir, id, toMajor });
      waldir = await putWalAside({ aside, dataDir, id });
    },
  };
  const made = await exchangeAside(context, { aside, making: "upgrade", whole: "upgraded", progress: options.progress, outside }, () =>
    fill(old, next, { ...options, initdb: waldir === null ? initdb : [...initdb, `--waldir=${waldir}`] }),
  );
  if (!made.ok) return made;
  const control = await readControlData(next.run, next.clock, dataDir);
  if (!control.ok) return control;
  if (control.value.state !== "shut down")
    return err({ kind: "failed", message: `the upgraded directory is ${control.value.state}, and not shut down` });
  // Once it is to serve there may be no way back: what could not start is not made known.
  const [full] = await fullDisk(dataDir, initdb);
  if (full === undefined) return ok(control.value.systemIdentifier);
  const ways = "make room, and ctl upgrade --run goes on from there; or --rollback, which loses nothing";
  return err({ kind: "failed", message: `version ${options.request.toMajor} is made and whole, but could not start: ${full}; ${ways}` });
}

/** The upgraded directory is in use from now on. Errors: failed. */
export async function finishUpgrade({ config }: PostgresContext): Promise<Result<null, PostgresError>> {
  return await finishAside(config.dataDir, "upgraded");
}

/** Why the old directory, put aside, cannot serve again; null where it can, or is in its place already. Errors: failed (it cannot be told). */
export async function whyNotBack(
  dataDir: string,
  { id, fromMajor }: Pick<UpgradeRequest, "id" | "fromMajor">,
): Promise<Result<string | null, PostgresError>> {
  const aside = oldDirectory(dataDir, id);
  try {
    return ok(await backObstacle({ aside, dataDir, id, fromMajor }));
  } catch (error) {
    return err({ kind: "failed", message: `${aside}: ${reasonOf(error)}` });
  }
}

/**
 * The old directory again. `hasServed`: the upgraded one is kept beside it, as it may hold what nobody else has; one that has not is
 * removed, for with links it shares its files with the old one. Errors: refused, failed.
 */
export async function takeBack(
  context: PostgresContext,
  { id, toMajor, hasServed }: { readonly id: string; readonly toMajor: number; readonly hasServed: boolean },
): Promise<Result<null, PostgresError>> {
  const { dataDir } = context.config;
  const aside = oldDirectory(dataDir, id);
  try {
    if (await isThere(aside)) await enableOld(aside);
  } catch (error) {
    return err({ kind: "failed", message: `${aside}: ${reasonOf(error)}` });
  }
  const kept = hasServed ? upgradedDirectory(dataDir, id) : null;
  return await putAsideBack(context, { aside, kept, release: () => bringOutsideBack({ aside, dataDir, id, toMajor }, kept) });
}

async function fill(
  old: PostgresContext,
  next: PostgresContext,
  options: UpgradeFilesOptions & { readonly initdb: readonly string[] },
): Promise<Result<null, PostgresError>> {
  const { request, initdb, signal, progress } = options;
  const { dataDir } = next.config;
  const env = { LC_ALL: "C", ...makingEnvironment(dataDir) };
  const folder = await mkdtemp(join(tmpdir(), "matriarch-upgrade-"));
  try {
    await enableOld(old.config.dataDir);
    // Killed in the midst of an earlier attempt; pg_upgrade takes a clean one only.
    const recovered = await crashRecover(old, signal);
    if (!recovered.ok) return recovered;
    const access = ((await stat(old.config.dataDir)).mode & GROUP_READS) === 0 ? [] : ["--allow-group-access"];
    progress(`initdb of version ${request.toMajor}`);
    const fresh = await makeFresh(next.run, { dataDir, newMajor: request.toMajor, initdb: [...initdb, ...access], how: { signal, env } });
    if (!fresh.ok) return fresh;
    await takeAlong(old.config.dataDir, dataDir);
    const majorVersion = await readMajorVersion(dataDir);
    if (!majorVersion.ok) return majorVersion;
    if (majorVersion.value !== request.toMajor)
      return err({ kind: "failed", message: `${request.binDir} is of version ${majorVersion.value}, and not ${request.toMajor}` });
    const written = await writeConfigFiles(next, {
      ...{ role: "primary", follow: null, synchronousStandbyNames: "", majorVersion: majorVersion.value, controlData: null },
    });
    if (!written.ok) return written;
    const superuser = initdb.find((word) => word.startsWith(USERNAME))?.slice(USERNAME.length) ?? "postgres";
    progress(`pg_upgrade (${request.mode})`);
    // It begins with what --check does, which was rehearsed while the old server ran: a second time would only cost time.
    return await runPgUpgrade(old, next, { mode: request.mode, initdb, superuser, folder, how: { signal, env, onLine: progress } });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** pg_upgrade has renamed it when it began to link: nothing of the old files was changed, as the new server has not run. */
async function enableOld(directory: string): Promise<void> {
  const control = join(directory, "global/pg_control");
  if (await isThere(control)) return;
  await rename(`${control}.old`, control);
  await syncFolder(join(directory, "global"));
}

interface PgUpgradeOptions {
  readonly mode: UpgradeMode;
  readonly initdb: readonly string[];
  /** Who made the old cluster: the same in both. */
  readonly superuser: string;
  /** Of nobody but this user: sockets, access rules, and what pg_upgrade writes beside. */
  readonly folder: string;
  readonly how: Pick<Parameters<PostgresContext["run"]>[0], "signal" | "env" | "onLine">;
}

async function runPgUpgrade(
  old: PostgresContext,
  next: PostgresContext,
  { mode, initdb, superuser, folder, how }: PgUpgradeOptions,
): Promise<Result<null, PostgresError>> {
  const hba = join(folder, "pg_hba.conf");
  const ident = join(folder, "pg_ident.conf");
  await replaceFile(hba, "local all all trust\n");
  await replaceFile(ident, "");
  const settings = [...UNSEEN_SETTINGS, `hba_file=${hba}`, `ident_file=${ident}`].map((setting) => `-c ${setting}`).join(" ");
  const done = await next.run({
    ...how,
    argv: [
      programPath(next.config, "pg_upgrade"),
      ...(mode === "link" ? ["--link"] : []),
      `--old-bindir=${programFolder(old.config)}`,
      `--new-bindir=${next.config.binDir}`,
      `--old-datadir=${old.config.dataDir}`,
      `--new-datadir=${next.config.dataDir}`,
      `--old-options=${settings}`,
      `--new-options=${settings}`,
      `--username=${superuser}`,
      `--socketdir=${folder}`,
    ],
    cwd: folder,
    withoutSecrets: true,
  });
  if (!done.ok) return done;
  if (done.value.exitCode === 0) return ok(null);
  const complaints = [
    ...(await serverComplaints([folder, join(next.config.dataDir, PG_UPGRADE_OUTPUT)])),
    ...(await fullDisk(next.config.dataDir, initdb)),
  ];
  return err({
    kind: "failed",
    message: `pg_upgrade: ${lastOf([withoutPassed(done.value.stdout), done.value.stderr, ...complaints].join("\n"))}`,
  });
}

/** What it has checked and done well is of no interest any more. */
function withoutPassed(text: string): string {
  return text
    .split("\n")
    .filter((line) => !/\sok$|^-+$/.test(line.trimEnd()))
    .join("\n");
}
