// Owns loading a node's configuration: file or directory, environment, checks, typed values, and where each value comes from.
// Reads nothing but those files; what the DCS says is added in effective.ts. A fault never shows a secret.

import { type DynamicLimits, PATRONI_LIMITS, RAFT_LIMITS } from "../model/dynamic-config.ts";
import type { ConfigFault } from "../model/errors.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { seconds } from "../model/units.ts";
import { buildNode } from "./build-node.ts";
import { buildPostgresql, mergePostgresql } from "./build-postgresql.ts";
import { checkTree } from "./check.ts";
import { acceptDynamic } from "./dynamic.ts";
import { type Environment, PREFIXES, readEnvironment } from "./environment.ts";
import { type ReadFiles, readFiles } from "./files.ts";
import { holdsSecret } from "./mask.ts";
import { foreignStores, ignoredOptions } from "./obsolete.ts";
import { applyRules, type Purpose } from "./rules.ts";
import { DYNAMIC_SCHEMA } from "./schema-dynamic.ts";
import { NODE_SCHEMA, type NodeTree } from "./schema-node.ts";
import { defaultsOf, namedSectionsOf, schemaAt } from "./schema-walk.ts";
import { readSecretFiles } from "./secret-files.ts";
import { leavesOf, mergeTrees, type Source, type Tree, treeAt, withValue } from "./tree.ts";
import { parseYamlTree } from "./yaml-text.ts";

export interface LoadedConfig {
  /** `postgresql` merged against an empty dynamic configuration. */
  readonly config: NodeConfig;
  /** File and environment merged, in the form of the file, without defaults; what stands in secret files is in place. */
  readonly raw: Tree;
  /** Dotted path → where the value comes from. */
  readonly sources: ReadonlyMap<string, Source>;
  readonly warnings: readonly ConfigFault[];
}

export interface LoadOptions {
  /** A file or a directory; null = PATRONI_CONFIGURATION, or else the other variables alone. */
  readonly path: string | null;
  readonly env: Environment;
  /** What must be there: all that a node needs (the default), or less. */
  readonly purpose?: Purpose;
}

/** Loads and checks. The error holds every fault, not only the first. */
export async function loadNodeConfig(options: LoadOptions): Promise<Result<LoadedConfig, readonly ConfigFault[]>> {
  const files = await readText(options);
  const whole = options.path === null && wholeText(options.env) !== null;
  const environment = readEnvironment(whole ? {} : options.env);
  if (!files.ok) return err([...files.error, ...environment.faults]);

  const named = mergeTrees(files.value.tree, environment.tree);
  const secret = await readSecretFiles(named, new Map([...files.value.sources, ...environment.sources]));
  const { tree: raw, sources } = secret;
  const faults = [...environment.faults, ...secret.faults, ...foreignStores(raw)];
  const warnings = [...environment.warnings, ...secret.warnings, ...ignoredOptions(raw)];

  const checked = checkTree(NODE_SCHEMA, raw, sources);
  if (!checked.ok) {
    // Rules judge what is left, so that one wrong value does not hide a missing one.
    faults.push(...checked.wrong.map(({ fault }) => fault));
    return err(distinct([...faults, ...faultsOfTheRest(raw, checked.wrong, options.purpose ?? "node")]));
  }
  const rules = applyRules(checked.value, raw, options.purpose ?? "node");
  const dcs = checkBootstrapDcs(treeAt(raw, "bootstrap", "dcs"), checked.value.consul === null ? RAFT_LIMITS : LOWEST_LIMITS);
  faults.push(...rules.faults, ...dcs.faults);
  if (faults.length > 0) return err(distinct(faults));

  const merged = mergePostgresql({}, treeAt(raw, "postgresql"));
  const node = chooseStore(checked.value, options.purpose ?? "node");
  const config = buildNode(node, raw, buildPostgresql(merged, { pgpass: pgpassFallback(node, options.env), standbyCluster: null }));
  const open = files.value.worldReadable.filter((file) => holdsSecret(file.tree)).map((file) => worldReadableWarning(file.name));
  return ok({
    config,
    raw,
    sources: withDefaults(sources, raw),
    warnings: distinct([...warnings, ...rules.warnings, ...dcs.warnings, ...merged.faults, ...open]),
  });
}

/** No store holds less. What the one at hand holds is known once it has answered, and what is below is reported then. */
const LOWEST_LIMITS: DynamicLimits = { ttlFloorMs: seconds(2), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) };

/** The floors until the store has said what it can keep. */
export function limitsOf(config: NodeConfig): DynamicLimits {
  return config.consul === null && config.raft !== null ? RAFT_LIMITS : PATRONI_LIMITS;
}

async function readText(options: LoadOptions): Promise<Result<ReadFiles, readonly ConfigFault[]>> {
  if (options.path !== null) return readFiles(options.path);
  const whole = wholeText(options.env);
  if (whole === null) return ok({ tree: {}, sources: new Map(), worldReadable: [] });
  const parsed = parseYamlTree(whole.text, whole.variable);
  if (!parsed.ok) return parsed;
  const sources = new Map(leavesOf(parsed.value).map(({ path }) => [path.join("."), `environment ${whole.variable}`]));
  return ok({ tree: parsed.value, sources, worldReadable: [] });
}

/** The variable that holds a whole configuration; ours wins. */
function wholeText(env: Environment): { readonly variable: string; readonly text: string } | null {
  for (const prefix of PREFIXES.toReversed()) {
    const text = env[`${prefix}CONFIGURATION`];
    if (text !== undefined && text !== "") return { variable: `${prefix}CONFIGURATION`, text };
  }
  return null;
}

function faultsOfTheRest(
  raw: Tree,
  wrong: readonly { readonly path: readonly string[]; readonly fault: ConfigFault }[],
  purpose: Purpose,
): readonly ConfigFault[] {
  const blamed = wrong.map(({ fault }) => fault.path);
  let rest = raw;
  for (const { path } of wrong) rest = withExample(rest, path);
  const checked = checkTree(NODE_SCHEMA, rest);
  const rules = checked.ok ? applyRules(checked.value, rest, purpose).faults : [];
  const dcs = blamed.some((path) => path === "bootstrap" || path === "bootstrap.dcs")
    ? []
    : checkBootstrapDcs(treeAt(raw, "bootstrap", "dcs"), LOWEST_LIMITS).faults;
  return [
    ...rules.filter(({ path }) => !blamed.some((other) => path === other || path.startsWith(`${other}.`) || isPartOf(other, path))),
    ...dcs,
  ];
}

/** Of a hook or a token of the user's own name, a value that is wrong is not also missing. */
function isPartOf(wrong: string, path: string): boolean {
  return wrong.startsWith(`${path}.`) && NAMED_SECTIONS.some((section) => path === section || path.startsWith(`${section}.`));
}

const NAMED_SECTIONS = namedSectionsOf(NODE_SCHEMA).map(({ path }) => path.join("."));

/** Null stands for the default; it keeps a section that the user wrote. */
function withExample(tree: Tree, path: readonly string[]): Tree {
  return withValue(tree, path, null);
}

/** Wrong values in the first dynamic configuration are faults; values that will be adjusted are warnings. */
function checkBootstrapDcs(
  dcs: Tree,
  limits: DynamicLimits,
): { readonly faults: readonly ConfigFault[]; readonly warnings: readonly ConfigFault[] } {
  const under = (fault: ConfigFault): ConfigFault => ({ ...fault, path: `bootstrap.dcs.${fault.path}` });
  const checked = checkTree(DYNAMIC_SCHEMA, dcs);
  const faults = checked.ok ? [] : checked.wrong.map(({ fault }) => fault);
  const accepted = acceptDynamic(dcs, limits);
  const controlled = mergePostgresql(treeAt(accepted.tree, "postgresql"), {});
  const others = [...accepted.faults, ...controlled.faults].filter(({ path }) => !faults.some((fault) => fault.path === path));
  return { faults: faults.map(under), warnings: others.map(under) };
}

/** Consul wins where both stores are configured (the rules have warned); a witness is a member of the Raft whatever else is there. */
function chooseStore(tree: NodeTree, purpose: Purpose): NodeTree {
  if (purpose === "witness") return { ...tree, consul: null };
  return tree.consul !== null && tree.raft !== null ? { ...tree, raft: null } : tree;
}

/** In the home directory, or else beside the data directory; one for each node, as several may share a machine. */
function pgpassFallback(tree: NodeTree, env: Environment): string {
  const folder = env["HOME"] || `${tree.postgresql.data_dir ?? "."}/..`;
  const safe = (name: string | null) => (name ?? "").replace(/[^A-Za-z0-9_.-]/g, "_");
  return `${folder.replace(/\/+$/, "")}/.pgpass_${safe(tree.scope)}_${safe(tree.name)}`;
}

function worldReadableWarning(name: string): ConfigFault {
  return { path: name, message: "every user of this machine can read the passwords in it; run chmod 600 on it" };
}

/** Adds `default` for each option that nobody set. */
function withDefaults(sources: ReadonlyMap<string, Source>, raw: Tree): ReadonlyMap<string, Source> {
  const all = new Map(sources);
  for (const { path } of leavesOf(defaultsOf(NODE_SCHEMA))) {
    const dotted = path.join(".");
    const covered = [...sources.keys()].some((set) => set === dotted || set.startsWith(`${dotted}.`));
    if (!covered && schemaAt(NODE_SCHEMA, path) !== undefined) all.set(dotted, "default");
  }
  for (const { path } of leavesOf(raw)) if (!all.has(path.join("."))) all.set(path.join("."), "default");
  return all;
}

function distinct(faults: readonly ConfigFault[]): readonly ConfigFault[] {
  const seen = new Set<string>();
  return faults.filter((fault) => {
    const key = `${fault.path}: ${fault.message}`;
    return seen.has(key) ? false : seen.add(key);
  });
}
