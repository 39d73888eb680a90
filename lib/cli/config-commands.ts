// Owns the commands around the configuration: --validate-config, --print-config, --generate-config and
// --generate-sample-config. Starts nothing; writes at most the file that it was told to write.

import { lookup } from "node:dns/promises";
import { readFile, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { effectiveConfig } from "../config/effective.ts";
import type { Environment } from "../config/environment.ts";
import { systemMessage } from "../config/files.ts";
import { generateConfig } from "../config/generate.ts";
import { type LoadedConfig, limitsOf, loadNodeConfig } from "../config/load.ts";
import { maskTree } from "../config/mask.ts";
import { FIXME, type Machine, sampleConfig } from "../config/sample.ts";
import { pgbackrestTree } from "../config/sample-pgbackrest.ts";
import { surroundings } from "../config/surroundings.ts";
import { isTree, type Tree } from "../config/tree.ts";
import { writeAnnotated } from "../config/yaml-write.ts";
import type { ConfigFault } from "../model/errors.ts";
import { scriptCommand } from "../model/product-place.ts";

const COMMANDS = ["validate-config", "print-config", "generate-config", "generate-sample-config"] as const;
const FLAGS: ReadonlySet<string> = new Set(COMMANDS.map((name) => `--${name}`));

export interface CommandResult {
  /** False: none of these commands was asked for. */
  readonly handled: boolean;
  /** 0 done, 1 refused or failed, 2 usage. */
  readonly exitCode: number;
}

const USAGE = `usage: --validate-config [FILE] [--strict] [--ignore-listen-port] [--print]
       --print-config [FILE]
       --generate-config [--dsn DSN] [FILE]
       --generate-sample-config [--pgbackrest] [FILE]`;

/** Runs the command that argv (without program and script) names, if it names one. Prints to stdout and stderr. */
export async function runConfigCommand(argv: readonly string[], env: Environment): Promise<CommandResult> {
  if (!argv.some((word) => FLAGS.has(word))) return { handled: false, exitCode: 0 };
  const options = readArguments(argv);
  if (options === null) {
    process.stderr.write(`${USAGE}\n`);
    return { handled: true, exitCode: 2 };
  }
  return { handled: true, exitCode: await run(options, env) };
}

interface Arguments {
  readonly command: (typeof COMMANDS)[number];
  readonly path: string | null;
  readonly dsn: string | null;
  readonly strict: boolean;
  readonly print: boolean;
  readonly ignoreListenPort: boolean;
  readonly pgbackrest: boolean;
}

function readArguments(argv: readonly string[]): Arguments | null {
  const flag = { type: "boolean" } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        "validate-config": flag,
        "print-config": flag,
        "generate-config": flag,
        "generate-sample-config": flag,
        strict: flag,
        print: { ...flag, short: "p" },
        "ignore-listen-port": { ...flag, short: "i" },
        dsn: { type: "string" },
        pgbackrest: flag,
      },
    });
    const commands = COMMANDS.filter((name) => values[name] === true);
    const [command] = commands;
    if (command === undefined || commands.length > 1 || positionals.length > 1) return null;
    if (values.pgbackrest === true && command !== "generate-sample-config") return null;
    return {
      command,
      path: positionals[0] ?? null,
      dsn: values.dsn ?? null,
      strict: values.strict ?? false,
      print: values.print ?? false,
      ignoreListenPort: values["ignore-listen-port"] ?? false,
      pgbackrest: values.pgbackrest ?? false,
    };
  } catch {
    return null;
  }
}

async function run(options: Arguments, env: Environment): Promise<number> {
  switch (options.command) {
    case "validate-config":
      return validate(options, env);
    case "print-config":
      return print(options, env);
    case "generate-sample-config":
      return emit(
        sampleConfig(await machineFacts(), env, options.pgbackrest ? (scope) => withPgBackRest(scope, options.path) : undefined),
        options.path,
      );
    case "generate-config": {
      const generated = await generateConfig(options.dsn, await machineFacts(), env);
      if (generated.ok) return emit(generated.value, options.path);
      process.stderr.write(`${generated.error}\n`);
      return 1;
    }
  }
}

/** The hooks read the file that is written here. */
function withPgBackRest(stanza: string, path: string | null): Tree {
  return pgbackrestTree({ stanza, backrest: scriptCommand("backrest"), file: path === null ? FIXME : resolve(path) });
}

async function validate(options: Arguments, env: Environment): Promise<number> {
  const loaded = await loadNodeConfig({ path: options.path, env });
  if (!loaded.ok) {
    report(loaded.error);
    return 1;
  }
  const machine = await surroundings(loaded.value.config, { listenPorts: options.ignoreListenPort ? "ignore" : "try" });
  report(machine.faults);
  report(loaded.value.warnings, options.strict ? "" : "warning: ");
  report(machine.notes, "note: ");
  if (machine.faults.length > 0 || (options.strict && loaded.value.warnings.length > 0)) return 1;
  if (options.print) await printEffective(loaded.value);
  else process.stdout.write("the configuration is valid\n");
  return 0;
}

async function print(options: Arguments, env: Environment): Promise<number> {
  const loaded = await loadNodeConfig({ path: options.path, env });
  if (!loaded.ok) {
    report(loaded.error);
    return 1;
  }
  report(loaded.value.warnings, "warning: ");
  await printEffective(loaded.value);
  return 0;
}

/** The dynamic part is the one that this node has seen last; the store is not asked. */
async function printEffective(loaded: LoadedConfig): Promise<void> {
  const file = join(loaded.config.postgresql.dataDir, "patroni.dynamic.json");
  const dynamic = await readDynamic(file);
  const effective = effectiveConfig(loaded, dynamic, limitsOf(loaded.config));
  report(effective.faults, "warning: ");
  const origin =
    dynamic === null ? "no dynamic configuration seen on this node yet; defaults stand for it" : `dcs: as last seen in ${file}`;
  process.stdout.write(`# ${origin}\n${writeAnnotated(maskTree(effective.tree), effective.sources)}`);
}

async function readDynamic(file: string): Promise<Tree | null> {
  try {
    const parsed: unknown = JSON.parse(await readFile(file, "utf8"));
    return isTree(parsed) ? parsed : null;
  } catch {
    // Not there yet, or not readable: the header of the output says so.
    return null;
  }
}

async function machineFacts(): Promise<Machine> {
  const name = hostname();
  try {
    return { hostname: name, address: (await lookup(name, { family: 4 })).address };
  } catch {
    // A host that does not know its own name: the operator has to fill in the address.
    return { hostname: name, address: "127.0.0.1" };
  }
}

/** To stdout, or into a new file that only its owner can read. An existing file is never overwritten. */
async function emit(text: string, path: string | null): Promise<number> {
  if (path === null) {
    process.stdout.write(text);
    return 0;
  }
  try {
    await writeFile(path, text, { flag: "wx", mode: 0o600 });
    return 0;
  } catch (error) {
    const exists = error instanceof Error && "code" in error && error.code === "EEXIST";
    process.stderr.write(`${path}: ${exists ? "exists already; name another file" : `cannot be written: ${systemMessage(error)}`}\n`);
    return 1;
  }
}

function report(faults: readonly ConfigFault[], prefix = ""): void {
  for (const fault of faults) process.stderr.write(`${prefix}${fault.path}: ${fault.message}\n`);
}
