// Owns the environment: which variable sets which option, and how its text becomes a value. Both prefixes work, PATRONI_ and
// the product's own, which wins. Never shows a variable's value.

import type { ConfigFault } from "../model/errors.ts";
import { FOREIGN_STORES } from "./obsolete.ts";
import type { OptionForm } from "./option.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { optionsOf } from "./schema-walk.ts";
import { SECRET_OPTIONS } from "./secret-files.ts";
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
  const target = VARIABLES.get(name);
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
