// Owns what a seed chooses for its cluster: timings, modes, tags, how bad the clocks are, and which faults may come.

import { ms } from "../../lib/model/units.ts";
import { FAULTS } from "./faults.ts";
import type { NodeChoice } from "./node-config.ts";
import { REQUESTS } from "./operators.ts";
import { Random } from "./random.ts";
import { SITE_FAULTS, STANDBY_CLUSTER } from "./remote-site.ts";

export interface Settings {
  readonly nodes: readonly NodeChoice[];
  /** Longest way to the DCS, one way, ms. */
  readonly latencyMs: number;
  /** How far a machine's clock rate may be off, as a fraction. */
  readonly clockError: number;
  /** Names of the faults that this seed draws from. */
  readonly faults: readonly string[];
  /** Mean time between faults, ms. */
  readonly faultEvery: number;
  readonly dcs: Readonly<Record<string, unknown>>;
  /** The cluster follows a site elsewhere (remote-site.ts). */
  readonly standbyCluster: boolean;
}

/** `figure`: the cluster of the performance figure: 3 nodes, the default timings, a fault a minute. */
export function chooseSettings(
  random: Random,
  options: { readonly seed: number; readonly count: number | null; readonly figure: boolean },
): Settings {
  const { figure } = options;
  const ttl = figure ? 30 : random.whole(20, 60);
  const loopWait = figure ? 10 : random.whole(1, 10);
  const mode = random.pick(["off", "off", "on", "strict", "quorum", "quorum", "strict quorum"]);
  const strict = mode.startsWith("strict");
  const dcs = {
    ttl,
    loop_wait: loopWait,
    retry_timeout: Math.min(10, Math.floor((ttl - loopWait) / 2)),
    maximum_lag_on_failover: random.pick([0, 10_000, 1_048_576]),
    primary_start_timeout: random.pick([0, 300, 300]),
    synchronous_mode: mode.endsWith("quorum") ? "quorum" : mode !== "off",
    synchronous_mode_strict: strict,
    synchronous_node_count: random.pick([1, 1, 1, 2, 2, 3]),
    maximum_lag_on_syncnode: random.pick([-1, -1, 20_000]),
    check_timeline: random.chance(0.3),
  };
  const size = figure ? 3 : (options.count ?? random.whole(2, 5));
  const usePgRewind = random.chance(0.8);
  const sessionCheckOf = chooseChecks(options.seed, figure);
  const operators = chooseOperators(options.seed, figure);
  const nodes: NodeChoice[] = [];
  for (let index = 0; index < size; index += 1) {
    const tags = { ...chooseTags(random, index, mode), ...(figure ? {} : chooseSources(random, index, size)) };
    nodes.push({
      name: `n${index + 1}`,
      tags,
      dcs,
      usePgRewind,
      removeDiverged: !usePgRewind || random.chance(0.5),
      sessionCheckTtl: sessionCheckOf(),
      prePromote: operators.prePromote,
    });
  }
  Object.assign(dcs, operators.dcs);
  const standbyCluster = !figure && new Random(options.seed + SITE_STREAM).chance(0.1);
  // Who leads a standby cluster without a stream has nothing to lead with.
  if (operators.nostream && !standbyCluster) leaveToArchive(nodes);
  if (standbyCluster) Object.assign(dcs, { standby_cluster: STANDBY_CLUSTER });
  if (!figure && random.chance(0.4)) Object.assign(dcs, { failsafe_mode: true });
  const all = Object.keys(FAULTS);
  const share = random.between(0.15, 1);
  const chosen = all.filter(() => random.chance(share));
  return {
    nodes,
    latencyMs: random.chance(0.8) ? random.between(0.5, 5) : random.between(5, 80),
    clockError: random.chance(0.7) ? 0.0002 : 0.01,
    faults: [
      ...(chosen.length === 0 ? [random.pick(all)] : chosen),
      ...operators.requests,
      ...(standbyCluster ? Object.keys(SITE_FAULTS) : []),
    ],
    faultEvery: figure ? 60_000 : random.pick([60_000, 60_000, 20_000, 8_000]),
    dcs,
    standbyCluster,
  };
}

/** In a quarter of the clusters most nodes have a check of their session's own. By a stream of its own: the other clusters stay what they were. */
function chooseChecks(seed: number, figure: boolean): () => NodeChoice["sessionCheckTtl"] {
  const random = new Random(seed + CHECK_STREAM);
  if (figure || !random.chance(0.25)) return () => null;
  return () => (random.chance(0.8) ? ms(random.whole(3_000, 12_000)) : null);
}

/** No seed of anybody's is as large. */
const CHECK_STREAM = 1_000_000_007;
const OPERATOR_STREAM = 2_000_000_011;
const SITE_STREAM = 3_000_000_019;

interface Operators {
  readonly requests: readonly string[];
  readonly prePromote: boolean;
  readonly nostream: boolean;
  readonly dcs: Readonly<Record<string, unknown>>;
}

/** In half of the clusters operators ask for things. By a stream of its own: the other clusters stay what they were. */
function chooseOperators(seed: number, figure: boolean): Operators {
  const random = new Random(seed + OPERATOR_STREAM);
  if (figure || !random.chance(0.5)) return { requests: [], prePromote: false, nostream: false, dcs: {} };
  return {
    requests: Object.keys(REQUESTS).filter(() => random.chance(0.7)),
    prePromote: random.chance(0.5),
    nostream: random.chance(0.25),
    dcs: random.chance(0.4) ? { primary_race_backoff: random.whole(1, 30) } : {},
  };
}

/** The last node has no stream, and no archive either: its data grows old. Only where nobody gets anything from it, and others may lead. */
function leaveToArchive(nodes: NodeChoice[]): void {
  const last = nodes.at(-1);
  if (last === undefined || nodes.length < 3) return;
  const isSource = nodes.some(({ tags }) => tags["replicatefrom"] === last.name);
  if (!isSource && Object.keys(last.tags).length === 0) nodes[nodes.length - 1] = { ...last, tags: { nostream: true } };
}

/** Cascades, circles of them and sources that lead among them. The first two stream from whoever leads: a sync standby has to. */
function chooseSources(random: Random, index: number, size: number): NodeChoice["tags"] {
  const cascades = index > 1 && random.chance(0.3);
  const clonefrom = random.chance(0.2) ? { clonefrom: true } : {};
  return cascades ? { ...clonefrom, replicatefrom: `n${random.whole(1, size)}` } : clonefrom;
}

/** The first node may always lead, and the second one too where others may not: somebody has to. */
function chooseTags(random: Random, index: number, mode: string): NodeChoice["tags"] {
  // A sync key that names only nodes that may not fail over leaves nobody to lead (docs/simulation.md).
  const mayNotLead = mode === "off" || mode.endsWith("quorum");
  if (index > 1 && mayNotLead && random.chance(0.15)) return { nofailover: true };
  if (index > 1 && mode !== "off" && random.chance(0.15)) return random.chance(0.5) ? { nosync: true } : { sync_priority: 2 };
  return index > 0 && random.chance(0.1) ? { failover_priority: 2 } : {};
}
