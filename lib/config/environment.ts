// Owns the environment: which variable sets which option, and how its text becomes a value. Both prefixes work, PATRONI_ and
// the product's own, which wins. Never shows a variable's value.

import type { ConfigFault } from "../model/errors.ts";
import { FOREIGN_STORES } from "./obsolete.ts";
import type { OptionForm } from "./option.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { namedSectionsOf, optionsOf } from "./schema-walk.ts";
import { NAMED_SECRETS, SECRET_OPTIONS } from "./secret-files.ts";
import { EMPTY_TREE, isTree, type Source, type Tree, withValue } from "./tree.ts";
import { parseYaml } from "./yaml-text.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Weakest first. */
export const PREFIXES = ["PATRONI_", "MATRIARCH_"] as const;

export interface EnvironmentTree {
  readonly tree: Tree;
  /** Dotted path → `environment VAR`. */
  readonly sources: ReadonlyMap<string, Source>;
  readonly faults: readonly ConfigFault[];
  readonly warnings: readonly ConfigFault[];
}

/** Reads every variable with one of our prefixes. An empty variable counts as not set. */
export function readEnvironment(env: Environment): EnvironmentTree {
  const found = { tree: EMPTY_TREE, sources: new Map<string, Source>(), faults: [] as ConfigFault[], warnings: [] as ConfigFault[] };
  for (const prefix of PREFIXES) {
    for (const variable of Object.keys(env).sort()) {
      const text = env[variable];
      if (!variable.startsWith(prefix) || text === undefined || text === "") continue;
      const name = variable.slice(prefix.length);
      if (name === "CONFIGURATION") continue;
      addVariable(found, variable, name, text);
    }
  }
  return found;
}

interface Gathered {
  tree: Tree;
  readonly sources: Map<string, Source>;
  readonly faults: ConfigFault[];
  readonly warnings: ConfigFault[];
}

function addVariable(found: Gathered, variable: string, name: string, text: string): void {
  const target = VARIABLES.get(name) ?? targetInNamed(name);
  if (target === undefined) {
    const store = FOREIGN_STORES.find((section) => name.startsWith(`${section.toUpperCase()}_`));
    if (store !== undefined) {
      found.tree = withValue(found.tree, [store], {});
      found.sources.set(store, `environment ${variable}`);
    } else {
      const why = OBSOLETE_VARIABLES.has(name) ? "is obsolete" : "sets no option";
      found.warnings.push({ path: variable, message: `this variable ${why} and is ignored` });
    }
    return;
  }
  const value = readVariable(text, target.form);
  if (value === undefined) {
    const wanted = target.form !== "map" ? "a YAML list, such as 'a','b'" : "a YAML mapping, such as {key: value}";
    found.faults.push({ path: target.path.join("."), message: `the text of ${variable} is not ${wanted}` });
    return;
  }
  found.tree = withValue(found.tree, target.path, value);
  found.sources.set(target.path.join("."), `environment ${variable}`);
}

/** Text as it is; a list is a YAML list with or without its brackets; a mapping is YAML. Undefined when it does not parse. */
function readVariable(text: string, form: OptionForm): unknown {
  const trimmed = text.trim();
  if (form === "scalar" || (form === "text-or-list" && !trimmed.startsWith("["))) return text;
  const bracketed = form === "list" && !/^(\[|- |\{)/.test(trimmed) ? `[${trimmed}]` : trimmed;
  const parsed = parseYaml(bracketed, "environment");
  if (!parsed.ok) return undefined;
  return (form === "map" ? isTree(parsed.value) : Array.isArray(parsed.value)) ? parsed.value : undefined;
}

const OBSOLETE_VARIABLES: ReadonlySet<string> = new Set([
  "THREAD_POOL_SIZE",
  "THREAD_STACK_SIZE",
  "RESTAPI_THREAD_POOL_SIZE",
  "LOG_TRACEBACK_LEVEL",
  "LOG_MAX_QUEUE_SIZE",
]);

interface Target {
  readonly path: readonly string[];
  readonly form: OptionForm;
}

/** Variable without prefix → option. Follows the schema; what Patroni names otherwise is added. */
const VARIABLES: ReadonlyMap<string, Target> = variables();

function variables(): ReadonlyMap<string, Target> {
  const map = new Map<string, Target>();
  for (const { path, facts } of optionsOf(NODE_SCHEMA)) {
    for (const name of namesOf(path)) map.set(name, { path, form: facts.form });
  }
  for (const { filePath } of SECRET_OPTIONS) for (const name of namesOf(filePath)) map.set(name, { path: filePath, form: "scalar" });
  map.set("TAGS", { path: ["tags"], form: "map" });
  for (const key of ["parameters", "recovery_conf"]) map.set(`POSTGRESQL_${key.toUpperCase()}`, { path: ["postgresql", key], form: "map" });
  return map;
}

interface NamedVariables {
  /** Of the section that holds the names: HOOKS. */
  readonly prefix: string;
  readonly path: readonly string[];
  /** Variable below the name → option; the longest first, for URL_FILE ends with FILE and URL is an option too. */
  readonly options: readonly (readonly [variable: string, Target])[];
}

/** Sections whose names the user chooses. */
const NAMED: readonly NamedVariables[] = namedSectionsOf(NODE_SCHEMA).map(({ path, options }) => {
  const files = NAMED_SECRETS.find((named) => named.path.join(".") === path.join("."))?.secrets ?? [];
  const targets = [
    ...options.map(({ path: below, facts }) => ({ path: below, form: facts.form })),
    ...files.map(({ filePath }) => ({ path: filePath, form: "scalar" as const })),
  ];
  const named = targets.map((target) => [target.path.join("_").toUpperCase(), target] as const);
  return { prefix: path.join("_").toUpperCase(), path, options: named.toSorted(([a], [b]) => b.length - a.length) };
});

/** `HOOKS` is the whole mapping; `HOOKS_PAGER_URL` the option url of the one called pager: names from here are in lower case. */
function targetInNamed(variable: string): Target | undefined {
  for (const { prefix, path, options } of NAMED) {
    if (variable === prefix) return { path, form: "map" };
    if (!variable.startsWith(`${prefix}_`)) continue;
    const rest = variable.slice(prefix.length + 1);
    const found = options.find(([option]) => rest.endsWith(`_${option}`) && rest.length > option.length + 1);
    if (found === undefined) return undefined;
    const [option, { path: below, form }] = found;
    return { path: [...path, rest.slice(0, -option.length - 1).toLowerCase(), ...below], form };
  }
  return undefined;
}

function namesOf(path: readonly string[]): readonly string[] {
  const [section, key, ...rest] = path.map((part) => part.toUpperCase());
  if (section === undefined) return [];
  if (key === "AUTHENTICATION") return [(section === "POSTGRESQL" ? rest : [section, ...rest]).join("_")];
  if (section === "POSTGRESQL" && key === "BIN_NAME") {
    const program = rest.join("_");
    return program === "PG_ISREADY" ? ["POSTGRESQL_BIN_IS_READY", "POSTGRESQL_BIN_PG_ISREADY"] : [`POSTGRESQL_BIN_${program}`];
  }
  return [path.map((part) => part.toUpperCase()).join("_")];
}
