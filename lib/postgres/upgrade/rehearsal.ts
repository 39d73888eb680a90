// Owns the rehearsal of a major upgrade: an empty cluster of the new version beside the data, made as the real one would be, and
// pg_upgrade --check between both while the old one runs. Removes what it made; nothing of the running cluster is changed.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Clock } from "../../model/clock.ts";
import type { PostgresqlConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import { programFolder, programRunner, withPrograms } from "../programs.ts";
import { lastOf, makeFresh } from "./fresh.ts";
import { initdbOptions, type ServerFacts } from "./server-facts.ts";

/** A catalogue of many thousand tables takes minutes. */
const REHEARSAL_WITHIN_MS = 30 * 60_000;

export interface RehearsalOptions {
  readonly config: PostgresqlConfig;
  /** Where the old server listens. */
  readonly port: number;
  readonly facts: ServerFacts;
  readonly newBinDir: string;
  readonly newMajor: number;
  readonly mode: "link" | "copy";
  readonly clock: Clock;
}

/** Value: pg_upgrade has nothing to say against it. Errors: what it said, or why it could not be asked. */
export async function rehearse(options: RehearsalOptions): Promise<Result<null, string>> {
  const { config, facts, newBinDir, newMajor, mode, clock } = options;
  // Beside the data, so that links are tried on the disk that they will be made on; its sockets elsewhere, as their paths are short.
  let beside: string | null = null;
  const folder = await mkdtemp(join(tmpdir(), "matriarch-upgrade-"));
  const run = programRunner(withPrograms(config, newBinDir), clock);
  const deadline = ms(clock.now() + REHEARSAL_WITHIN_MS);
  try {
    beside = await mkdtemp(join(dirname(config.dataDir), ".matriarch-upgrade-"));
    const fresh = join(beside, "data");
    const made = await makeFresh(run, { dataDir: fresh, newMajor, initdb: initdbOptions(facts, newMajor), how: { deadline } });
    if (!made.ok) return err(made.error.message);
    const checked = await run({
      argv: [
        join(newBinDir, "pg_upgrade"),
        "--check",
        ...(mode === "link" ? ["--link"] : []),
        `--old-bindir=${programFolder(config)}`,
        `--new-bindir=${newBinDir}`,
        `--old-datadir=${config.dataDir}`,
        `--new-datadir=${fresh}`,
        `--old-port=${options.port}`,
        `--username=${facts.install_user}`,
        `--socketdir=${folder}`,
      ],
      cwd: folder,
      env: { PGPASSFILE: await passwordFile(folder, config, facts.install_user) },
      deadline,
      withoutSecrets: true,
    });
    if (!checked.ok) return err(checked.error.message);
    return checked.value.exitCode === 0 ? ok(null) : err(lastOf(`${checked.value.stdout}\n${checked.value.stderr}`));
  } catch (error) {
    return err(error instanceof Error ? error.message : String(error));
  } finally {
    await rm(folder, { recursive: true, force: true });
    if (beside !== null) await rm(beside, { recursive: true, force: true });
  }
}

async function passwordFile(folder: string, { superuser }: PostgresqlConfig, user: string): Promise<string> {
  const path = join(folder, "pgpass");
  const known = superuser.username === user && superuser.password !== null;
  const escaped = (word: string): string => word.replaceAll(/[\\:]/g, (sign) => `\\${sign}`);
  await writeFile(path, known ? `*:*:*:${escaped(user)}:${escaped(superuser.password ?? "")}\n` : "", { mode: 0o600 });
  return path;
}
