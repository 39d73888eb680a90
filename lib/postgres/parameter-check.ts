// Owns the question which parameters the installed version takes. No table of versions: the program is asked (`postgres -C`
// on a file that holds them all names every fault of the file), so that an extension's or a fork's parameters pass too.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import { reasonOf, replaceFile } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { wantedParameters } from "./parameters.ts";
import { settingLine } from "./setting-lines.ts";

export interface CheckedParameters {
  readonly accepted: Readonly<Record<string, string>>;
  readonly faults: readonly ConfigFault[];
}

/** The program reports unknown names in one run and bad values in the next; a third covers what values unlock. */
const RUNS_MAX = 4;

/** Answers kept; a node has one set for each role. */
const CACHE_SIZE = 8;
const cache = new Map<string, CheckedParameters>();

/** Drops what the version does not know and values that it refuses. Where the program cannot be asked, everything is accepted: its start says why. */
export async function checkParameters(context: PostgresContext, parameters: Readonly<Record<string, string>>): Promise<CheckedParameters> {
  const key = JSON.stringify([context.config.binDir, context.config.binName["postgres"] ?? "", Object.entries(parameters).sort()]);
  const known = cache.get(key);
  if (known !== undefined) return known;
  const checked = await askProgram(context, parameters);
  if (cache.size >= CACHE_SIZE) cache.delete(cache.keys().next().value ?? "");
  cache.set(key, checked);
  return checked;
}

async function askProgram(context: PostgresContext, parameters: Readonly<Record<string, string>>): Promise<CheckedParameters> {
  const faults: ConfigFault[] = [];
  let accepted = { ...parameters };
  const folder = await mkdtemp(join(tmpdir(), "matriarch-check-"));
  try {
    for (let run = 0; run < RUNS_MAX; run += 1) {
      const names = Object.keys(accepted);
      await replaceFile(join(folder, "postgresql.conf"), names.map((name) => `${settingLine(name, accepted[name] ?? "")}\n`).join(""));
      const outcome = await context.run({ argv: ["postgres", "-D", folder, "-C", "port"], env: { LC_ALL: "C", LC_MESSAGES: "C" } });
      if (!outcome.ok || outcome.value.exitCode === 0) return { accepted, faults };
      const bad = faultyLines(outcome.value.stderr, accepted);
      if (bad.size === 0) return { accepted, faults };
      for (const [name, message] of bad) faults.push({ path: `postgresql.parameters.${name}`, message: `${message}; it is left out` });
      accepted = Object.fromEntries(Object.entries(accepted).filter(([name]) => !bad.has(name)));
    }
    return { accepted, faults };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Parameter → the program's words about it. The name is the first quoted word of its lines that we asked about. */
function faultyLines(stderr: string, asked: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  const faults = new Map<string, string>();
  for (const line of stderr.split("\n")) {
    const message = /\b(?:LOG|ERROR|FATAL|WARNING): {2}(.*)$/.exec(line)?.[1];
    const name = message === undefined ? undefined : /"([^"]+)"/.exec(message)?.[1];
    if (message === undefined || name === undefined || asked[name] === undefined || faults.has(name)) continue;
    faults.set(name, message.replace(/ in file ".*" line [0-9]+$/, ""));
  }
  return faults;
}

/** Every fault in the parameters of the configuration, for any role, each once. */
export async function parameterFaults(context: PostgresContext): Promise<readonly ConfigFault[]> {
  const faults = new Map<string, ConfigFault>();
  try {
    for (const role of ["primary", "replica", "standby_leader"] as const) {
      const wanted = wantedParameters(context.config, { role, scope: context.scope });
      const checked = await checkParameters(context, wanted.file);
      for (const fault of [...wanted.faults, ...checked.faults]) faults.set(`${fault.path} ${fault.message}`, fault);
    }
  } catch (error) {
    faults.set("check", { path: "postgresql.parameters", message: `cannot be checked: ${reasonOf(error)}` });
  }
  return [...faults.values()];
}
