// Owns reading the `config` key (contract §6): a wrong value costs only itself and becomes its default, floors depend on the
// store and on who else is in the cluster, and the timeouts keep their rule. Pure. Never refuses a configuration: a node must run with whatever is in the DCS.

import type { DynamicConfig, DynamicLimits, StandbyClusterConfig } from "../model/dynamic-config.ts";
import type { ConfigFault } from "../model/errors.ts";
import { type PermanentSlot, SLOT_NAME_PATTERN, type SlotMatcher } from "../model/slots.ts";
import { type Ms, ms } from "../model/units.ts";
import { checkTree } from "./check.ts";
import { ignoredFault } from "./obsolete.ts";
import { DYNAMIC_SCHEMA, type DynamicTree, OLD_NAMES } from "./schema-dynamic.ts";
import { unknownPaths } from "./schema-walk.ts";
import { isTree, type Tree, withoutValue } from "./tree.ts";

export interface AcceptedDynamic {
  /** What is left of the key after wrong values were taken out and old names replaced. */
  readonly tree: Tree;
  readonly config: DynamicConfig;
  readonly faults: readonly ConfigFault[];
  /** Top-level names whose effective value is not the one written. */
  readonly adjusted: ReadonlySet<string>;
}

/** `sessionCheckTtl`: this node's own `consul.session_check_ttl`, which shortens its leases; null where there is none. */
export function acceptDynamic(key: Tree, limits: DynamicLimits, sessionCheckTtl: Ms | null = null): AcceptedDynamic {
  const faults: ConfigFault[] = [];
  const named = replaceOldNames(key, faults);
  const unknown = unknownPaths(DYNAMIC_SCHEMA, named).filter((path) => !isMethodSection(named, path));
  faults.push(...unknown.map(ignoredFault));
  const { tree, value } = dropWrong(unknown.reduce(withoutValue, named), faults);
  const { config, adjusted } = buildDynamic(value, { limits, sessionCheckTtl }, faults);
  return { tree, config, faults, adjusted };
}

function replaceOldNames(key: Tree, faults: ConfigFault[]): Tree {
  let tree = key;
  for (const [old, name] of Object.entries(OLD_NAMES)) {
    if (!Object.hasOwn(tree, old)) continue;
    const value = tree[old];
    tree = withoutValue(tree, [old]);
    if (tree[name] === undefined || tree[name] === null) tree = { ...tree, [name]: value };
    else faults.push({ path: old, message: `ignored: ${name} is set too` });
  }
  return tree;
}

function isMethodSection(tree: Tree, path: readonly string[]): boolean {
  const [section, name, ...rest] = path;
  const value =
    section === "postgresql" && name !== undefined && rest.length === 0 && isTree(tree[section]) ? tree[section][name] : undefined;
  return isTree(value) && "command" in value;
}

/** Takes out one blamed option after the other until the rest is right. Ends: each round makes the tree smaller. */
function dropWrong(key: Tree, faults: ConfigFault[]): { readonly tree: Tree; readonly value: DynamicTree } {
  let tree = key;
  for (;;) {
    const checked = checkTree(DYNAMIC_SCHEMA, tree);
    if (checked.ok) return { tree, value: checked.value };
    const before = tree;
    for (const { path, fault } of checked.wrong) {
      tree = withoutValue(tree, path);
      faults.push({ path: fault.path, message: `${fault.message}; until then the default is used` });
    }
    if (tree === before) throw new Error(`no value to take out at ${checked.wrong.map(({ fault }) => fault.path).join(", ")}`);
  }
}

function buildDynamic(
  tree: DynamicTree,
  { limits, sessionCheckTtl }: { readonly limits: DynamicLimits; readonly sessionCheckTtl: Ms | null },
  faults: ConfigFault[],
): { config: DynamicConfig; adjusted: Set<string> } {
  const adjusted = new Set<string>();
  const shared = keepTimeoutRule(tree, limits, faults, adjusted);
  const { ttl } = shared;
  const leaseTtl = ms(Math.min(ttl, sessionCheckTtl ?? ttl));
  const { loopWait, retryTimeout } = leaseTtl < ttl ? keepLeaseRule(shared, { leaseTtl, limits }, faults, adjusted) : shared;
  const standby = standbyCluster(tree.standby_cluster);
  const config: DynamicConfig = {
    loopWaitMs: loopWait,
    ttlMs: ttl,
    leaseTtlMs: leaseTtl,
    retryTimeoutMs: retryTimeout,
    maximumLagOnFailoverBytes: tree.maximum_lag_on_failover,
    maximumLagOnSyncnodeBytes: tree.maximum_lag_on_syncnode,
    maxTimelinesHistory: tree.max_timelines_history,
    primaryStartTimeoutMs: tree.primary_start_timeout,
    primaryStopTimeoutMs: ms(Math.max(0, tree.primary_stop_timeout)),
    primaryRaceBackoffMs: tree.primary_race_backoff,
    // A standby cluster acknowledges no commits: nobody in it is synchronous.
    synchronousMode: standby === null ? tree.synchronous_mode : "off",
    synchronousModeStrict: tree.synchronous_mode_strict,
    synchronousNodeCount: tree.synchronous_node_count,
    failsafeMode: tree.failsafe_mode,
    checkTimeline: tree.check_timeline,
    memberSlotsTtlMs: tree.member_slots_ttl,
    pause: tree.pause,
    standbyCluster: standby,
    slots: permanentSlots(tree.slots, faults),
    ignoreSlots: tree.ignore_slots.map(slotMatcher),
  };
  return { config, adjusted };
}

function permanentSlots(tree: DynamicTree["slots"], faults: ConfigFault[]): readonly PermanentSlot[] {
  return Object.entries(tree).flatMap(([name, slot]): PermanentSlot[] => {
    if (!SLOT_NAME_PATTERN.test(name)) {
      const message = `Invalid permanent replication slot name '${name}'. Slot name may only contain lower case letters, numbers, and the underscore chars`;
      faults.push({ path: `slots.${name}`, message });
      return [];
    }
    const { type, database, plugin, cluster_type: clusterWord } = slot;
    const clusterType = clusterWord === "primary" || clusterWord === "standby" ? clusterWord : null;
    if (clusterType === null && clusterWord !== undefined && clusterWord !== null) {
      faults.push({
        path: `slots.${name}.cluster_type`,
        message: "is neither primary nor standby; the slot is kept in both kinds of cluster",
      });
    }
    if (type !== "logical") return [{ kind: "physical", name, clusterType }];
    return [{ kind: "logical", name, database: String(database), plugin: String(plugin), clusterType }];
  });
}

function slotMatcher(line: Readonly<Record<string, unknown>>): SlotMatcher {
  const word = (name: string): string | null => (line[name] === undefined || line[name] === null ? null : String(line[name]));
  return { name: word("name"), type: word("type"), database: word("database"), plugin: word("plugin") };
}

/** A standby cluster has a source; without one the section says nothing. */
function standbyCluster(section: StandbyClusterConfig | null): StandbyClusterConfig | null {
  return section === null || (section.host === null && section.port === null && section.restore_command === null) ? null : section;
}

interface Timeouts {
  readonly ttl: Ms;
  readonly loopWait: Ms;
  readonly retryTimeout: Ms;
}

/**
 * Raises each to its floor, then keeps loop_wait + 2·retry_timeout ≤ ttl as Patroni does (all nodes of a mixed cluster must
 * come to the same values): loop_wait gives way first, down to its floor; then retry_timeout, in whole seconds where possible.
 */
function keepTimeoutRule(tree: DynamicTree, limits: DynamicLimits, faults: ConfigFault[], adjusted: Set<string>): Timeouts {
  const raise = (name: string, value: Ms, floor: Ms): Ms => {
    if (value >= floor) return value;
    adjusted.add(name);
    const patroni = `${name}=${value / 1000} can't be smaller than ${floor / 1000}, adjusting...`;
    faults.push({
      path: name,
      message: `${value / 1000} is below the minimum; ${floor / 1000} is used; write ${name}: ${floor / 1000} (${patroni})`,
    });
    return floor;
  };
  const ttl = raise("ttl", tree.ttl, limits.ttlFloorMs);
  const loopWait = raise("loop_wait", tree.loop_wait, limits.loopWaitFloorMs);
  const retryTimeout = raise("retry_timeout", tree.retry_timeout, limits.retryTimeoutFloorMs);
  const given = { ttl, loopWait, retryTimeout };
  if (loopWait + 2 * retryTimeout <= ttl) return given;
  const kept = fitTimeouts(given, ttl, limits);
  noteAdjusted(given, kept, adjusted);
  faults.push({
    path: "loop_wait",
    message: `${violatedRule(given, kept)}: the rule loop_wait + 2·retry_timeout ≤ ttl is broken; write these, or a longer ttl`,
  });
  return kept;
}

/** In Patroni's words, which monitoring looks for. */
function violatedRule({ ttl, loopWait, retryTimeout }: Timeouts, kept: Timeouts): string {
  const [from, to] = [loopWait / 1000, kept.loopWait / 1000];
  const rule = 'Violated the rule "loop_wait + 2*retry_timeout <= ttl", where';
  if (kept.retryTimeout === retryTimeout) {
    return `${rule} ttl=${ttl / 1000} and retry_timeout=${retryTimeout / 1000}. Adjusting loop_wait from ${from} to ${to}`;
  }
  const retry = `retry_timeout from ${retryTimeout / 1000} to ${kept.retryTimeout / 1000}`;
  return `${rule} ttl=${ttl / 1000}. Adjusting loop_wait from ${from} to ${to} and ${retry}`;
}

/**
 * The same rule for the leases of this node where `consul.session_check_ttl` makes them shorter than ttl. What it adjusts holds on this
 * node alone: its loop_wait and retry_timeout are its own business, unlike ttl.
 */
function keepLeaseRule(
  shared: Timeouts,
  { leaseTtl, limits }: { readonly leaseTtl: Ms; readonly limits: DynamicLimits },
  faults: ConfigFault[],
  adjusted: Set<string>,
): Timeouts {
  const { loopWait, retryTimeout } = shared;
  if (loopWait + 2 * retryTimeout <= leaseTtl) return shared;
  const kept = fitTimeouts(shared, leaseTtl, limits);
  noteAdjusted(shared, kept, adjusted);
  const was = `${loopWait / 1000} + 2·${retryTimeout / 1000} is more than ${leaseTtl / 1000}`;
  const now = `loop_wait: ${kept.loopWait / 1000} and retry_timeout: ${kept.retryTimeout / 1000} are used on this node`;
  faults.push({
    path: "consul.session_check_ttl",
    message: `the rule loop_wait + 2·retry_timeout ≤ session_check_ttl is broken: ${was}; ${now}; write these, or a longer session_check_ttl`,
  });
  return kept;
}

function fitTimeouts(given: Timeouts, lease: Ms, limits: DynamicLimits): Timeouts {
  const { ttl, retryTimeout } = given;
  const fits = limits.loopWaitFloorMs + 2 * retryTimeout <= lease;
  return fits
    ? { ttl, loopWait: ms(lease - 2 * retryTimeout), retryTimeout }
    : { ttl, loopWait: limits.loopWaitFloorMs, retryTimeout: halfOfRest(lease, limits) };
}

function noteAdjusted(given: Timeouts, kept: Timeouts, adjusted: Set<string>): void {
  if (kept.loopWait !== given.loopWait) adjusted.add("loop_wait");
  if (kept.retryTimeout !== given.retryTimeout) adjusted.add("retry_timeout");
}

function halfOfRest(ttl: Ms, limits: DynamicLimits): Ms {
  const half = (ttl - limits.loopWaitFloorMs) / 2;
  const wholeSeconds = Math.floor(half / 1000) * 1000;
  return ms(wholeSeconds >= limits.retryTimeoutFloorMs ? wholeSeconds : half);
}
