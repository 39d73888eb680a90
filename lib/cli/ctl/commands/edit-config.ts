// Owns `ctl edit-config`: changes of the dynamic configuration, shown as a diff before they are written, and written only
// if nobody else wrote meanwhile. The values are taken as they are: what a node makes of them is said as a warning.

import { type Command, InvalidArgumentError } from "commander";
import { acceptDynamic } from "../../../config/dynamic.ts";
import { parseYaml, parseYamlTree } from "../../../config/yaml-text.ts";
import { type ConfigObject, mergeConfig } from "../../../core/config-patch.ts";
import { limitsBeside, tracePatroni } from "../../../core/time-limits.ts";
import { type ConfigChange, type ConfigHistory, readConfigHistory, writeRecordedConfig } from "../../../dcs/config-history.ts";
import { type DynamicLimits, PATRONI_LIMITS } from "../../../model/dynamic-config.ts";
import { type ConfigFault, describeStoreError, type StoreError } from "../../../model/errors.ts";
import type { Result } from "../../../model/result.ts";
import type { Revision } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { colourDiff, unifiedDiff } from "../config-diff.ts";
import { type CtlContext, orRefuse, type ReadCluster } from "../context.ts";
import { editText } from "../editor.ts";
import { yamlText } from "../formats.ts";
import { operatorOf } from "../operator.ts";
import type { CommandHost } from "../program.ts";
import { askYes } from "../prompt.ts";
import { CtlRefusal, usageRefusal } from "../refusal.ts";

interface EditFlags {
  readonly quiet?: true;
  readonly set: readonly string[];
  readonly pg: readonly string[];
  readonly apply?: string;
  readonly replace?: string;
  readonly force?: true;
  /** The number of a change, or true: the last one. */
  readonly undo?: number | true;
}

export function addEditConfig({ command, run }: CommandHost): void {
  command("edit-config [cluster]", "change the dynamic configuration")
    .option("-q, --quiet", "do not show the changes")
    .option("-s, --set <key=value>", "set one value, e.g. postgresql.use_slots=off; null removes it (may repeat)", collect, [])
    .option("-p, --pg <key=value>", "the same for one of postgresql.parameters (may repeat)", collect, [])
    .option("--apply <file>", "merge this YAML file into the configuration; - is standard input")
    .option("--replace <file>", "put this YAML file in the place of the configuration; - is standard input")
    .option("--undo [number]", "back to what was before the last change, or before this one of show-config --history", changeNumber)
    .option("--force", "ask nothing")
    .action((cluster: string | undefined, flags: EditFlags, self: Command) =>
      run(self, async (context) => {
        if (flags.apply !== undefined && flags.replace !== undefined)
          throw usageRefusal("--apply and --replace are mutually exclusive options");
        const others = flags.apply !== undefined || flags.replace !== undefined || flags.set.length > 0 || flags.pg.length > 0;
        if (flags.undo !== undefined && others)
          throw usageRefusal("--undo goes back to a configuration as it was: give no values beside it");
        return editConfig(context, await context.read(context.scopeOf(cluster)), flags);
      }),
    );
}

async function editConfig(context: CtlContext, read: ReadCluster, flags: EditFlags): Promise<ExitCode> {
  const { terminal } = context;
  const current = read.cluster.config;
  if (current === null) throw new CtlRefusal(`The config key does not exist in the cluster ${read.scope}`);
  const before = yamlText(current.data);
  const history = orRefuse(await readConfigHistory(context.store, read.store.keys, context.storeDeadline()));
  const changed =
    flags.undo === undefined
      ? await changedConfig(context, read, flags, { data: current.data, text: before })
      : configBefore(history.changes, flags.undo);
  const after = yamlText(changed);
  if (after === before) {
    terminal.out("Not changed\n");
    return EXIT.ok;
  }
  if (flags.quiet !== true) terminal.out(terminal.outIsTerminal ? colourDiff(unifiedDiff(before, after)) : unifiedDiff(before, after));
  for (const fault of acceptDynamic(changed, await limitsHere(context, read)).faults)
    terminal.complain(`Warning: ${fault.path}: ${fault.message}\n`);
  if (flags.force !== true && !(await mayWrite(context, flags))) return EXIT.failed;
  const change = {
    time: new Date(terminal.clock.wallNow()).toISOString(),
    by: operatorOf(terminal.env),
    before: current.data,
    after: changed,
  };
  await write(context, read, { expected: current.revision, history, change });
  terminal.out("Configuration changed\n");
  return EXIT.ok;
}

/** With the record of it; without where the store lets us write the configuration alone (an access rule). */
async function write(
  context: CtlContext,
  { store }: ReadCluster,
  what: { readonly expected: Revision; readonly history: ConfigHistory; readonly change: ConfigChange },
): Promise<void> {
  let written: Result<unknown, StoreError> = await writeRecordedConfig(context.store, store.keys, { ...what, ...context.storeDeadline() });
  if (!written.ok && written.error.kind === "rejected") {
    context.terminal.complain(`Warning: the change is not recorded, --undo will not know it: ${describeStoreError(written.error)}\n`);
    written = await store.values.setConfigValue(what.change.after, what.expected, context.storeDeadline());
  }
  if (!written.ok && written.error.kind === "condition-failed") {
    throw new CtlRefusal("Config modification aborted due to concurrent changes; nothing was written, look at the new configuration first");
  }
  orRefuse(written);
}

function configBefore(changes: readonly ConfigChange[], undo: number | true): ConfigObject {
  const change = undo === true ? changes.at(-1) : changes[undo - 1];
  if (change !== undefined) return change.before;
  throw new CtlRefusal(
    changes.length === 0
      ? "No change made with ctl is recorded"
      : `There is no change ${undo}: show-config --history lists ${changes.length}`,
  );
}

/** As the nodes find them; where the store does not say, the strictest. */
async function limitsHere(context: CtlContext, { store, cluster }: ReadCluster): Promise<DynamicLimits> {
  const answer = await store.limits(context.storeDeadline());
  const patroni = tracePatroni(null, cluster.members, { self: "", now: context.terminal.clock.now() });
  return limitsBeside(answer.ok ? answer.value : PATRONI_LIMITS, patroni);
}

async function mayWrite(context: CtlContext, flags: EditFlags): Promise<boolean> {
  if (flags.apply !== "-" && flags.replace !== "-") return askYes(context.terminal, "Apply these changes?");
  // Standard input was the file: nobody can answer there.
  context.terminal.out("Use --force option to apply changes\n");
  return false;
}

async function changedConfig(
  context: CtlContext,
  read: ReadCluster,
  flags: EditFlags,
  current: { readonly data: ConfigObject; readonly text: string },
): Promise<ConfigObject> {
  if (flags.replace !== undefined) return withSettings(treeOf(await readInput(context, flags.replace)), flags);
  if (flags.apply !== undefined) return withSettings(mergeConfig(current.data, treeOf(await readInput(context, flags.apply))), flags);
  if (flags.set.length > 0 || flags.pg.length > 0) return withSettings(current.data, flags);
  return editedConfig(context, read.scope, current.text);
}

/** A text that is no configuration may be mended: it is not lost. */
async function editedConfig(context: CtlContext, scope: string, present: string): Promise<ConfigObject> {
  let text = present;
  for (;;) {
    text = await editText(text, { name: `${scope}-config`, env: context.terminal.env });
    const parsed = parseYamlTree(text, "the edited text");
    if (parsed.ok) return parsed.value;
    context.terminal.complain(`${faultText(parsed.error)}\n`);
    if (!(await askYes(context.terminal, "Edit it again?"))) throw new CtlRefusal("nothing was changed");
  }
}

function withSettings(data: ConfigObject, flags: EditFlags): ConfigObject {
  const settings = [
    ...flags.set.map((setting) => settingOf(setting, [])),
    ...flags.pg.map((setting) => settingOf(setting, ["postgresql", "parameters"])),
  ];
  return settings.reduce(mergeConfig, data);
}

/** `a.b=1` → {a: {b: 1}}. A parameter's own dot belongs to its name (`pg_stat_statements.max`). Throws CtlRefusal. */
function settingOf(setting: string, above: readonly string[]): ConfigObject {
  const match = /^([^=]+)=(.*)$/s.exec(setting);
  const key = match?.[1]?.trim() ?? "";
  if (match === null || key === "") throw new CtlRefusal(`Invalid parameter setting ${setting}`);
  const value = orThrow(parseYaml(match[2] ?? "", setting));
  const path = above.length > 0 ? [...above, key] : dottedPath(key);
  return path.reduceRight<unknown>((below, name) => ({ [name]: below }), value ?? null) as ConfigObject;
}

function dottedPath(key: string): readonly string[] {
  const parts = key.split(".");
  const isParameter = parts[0] === "postgresql" && /^parameters(_|$)/.test(parts[1] ?? "") && parts.length > 3;
  return isParameter ? [...parts.slice(0, 2), parts.slice(2).join(".")] : parts;
}

interface NamedText {
  readonly name: string;
  readonly text: string;
}

async function readInput(context: CtlContext, file: string): Promise<NamedText> {
  if (file === "-") return { name: "standard input", text: await context.terminal.readAll() };
  try {
    return { name: file, text: await Bun.file(file).text() };
  } catch (error) {
    throw new CtlRefusal(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function treeOf({ name, text }: NamedText): ConfigObject {
  return orThrow(parseYamlTree(text, name));
}

function orThrow<T>(parsed: Result<T, readonly ConfigFault[]>): T {
  if (parsed.ok) return parsed.value;
  throw new CtlRefusal(faultText(parsed.error));
}

function faultText(faults: readonly ConfigFault[]): string {
  return faults.map((fault) => `${fault.path}: ${fault.message}`).join("\n");
}

function changeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError("write the number of a change");
  return Number(text);
}

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value];
}
