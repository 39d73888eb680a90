// Owns one look at a PgBouncer from outside its worker: for `--check` and for the doctor. It changes nothing.

import type { Clock } from "../../model/clock.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { ok, type Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";
import { readIfThere, reasonOf } from "../../postgres/atomic-file.ts";
import { PoolerConsole } from "./console.ts";
import { type SettingFinding, settingFindings, strayLine } from "./settings-check.ts";

/** The settings that matter, and whether PgBouncer goes by the worker's lines. The error says why the console does not answer. */
export async function examinePooler(
  config: PgbouncerConfig,
  clock: Clock,
  deadline: Ms,
): Promise<Result<readonly SettingFinding[], string>> {
  const pooler = new PoolerConsole({ address: config, clock });
  try {
    const settings = await pooler.settings(deadline);
    if (!settings.ok) return settings;
    const databases = await pooler.databases(deadline);
    if (!databases.ok) return databases;
    const findings = settingFindings(config, settings.value, databases.value);
    const stray = await strayOf(config, databases.value);
    return ok(stray === null ? findings : [...findings, stray]);
  } finally {
    await pooler.close();
  }
}

async function strayOf(config: PgbouncerConfig, databases: Parameters<typeof strayLine>[1]): Promise<SettingFinding | null> {
  const { databasesFile } = config;
  const fix = `%include ${databasesFile}, below [databases]`;
  try {
    const text = await readIfThere(databasesFile);
    if (text === null) return { setting: "%include", says: `${databasesFile} is not there yet: start the worker`, fix };
    const stray = strayLine(text, databases);
    return stray === null ? null : { setting: "%include", says: `PgBouncer does not go by ${databasesFile}: ${stray}`, fix };
  } catch (error) {
    return { setting: "%include", says: `${databasesFile} cannot be read from here: ${reasonOf(error)}`, fix };
  }
}
