// Owns the faults: what happens to machines, processes, network, DCS and data, and what operators do. Each knows how it ends.

import { encodeFailover, encodeJson } from "../../lib/dcs/encode.ts";
import type { Random } from "./random.ts";
import type { SimNode } from "./sim-node.ts";
import type { World } from "./world.ts";

/** Something that lasts: `end` is called once, after the duration or when everything is healed. */
export class FaultTimer {
  readonly world: World;
  readonly #open = new Set<() => void>();
  healing = false;

  constructor(world: World) {
    this.world = world;
  }

  for(duration: number, end: () => void): void {
    const once = (): void => {
      if (!this.#open.delete(once)) return;
      end();
    };
    this.#open.add(once);
    this.world.queue.after(duration, once);
  }

  healAll(): void {
    this.healing = true;
    for (const end of [...this.#open]) end();
  }
}

export type Fault = (world: World, timer: FaultTimer, random: Random) => string | null;

function someNode(world: World, random: Random): SimNode {
  const leader = world.leader();
  return leader !== null && random.chance(0.6) ? leader : random.pick(world.nodes);
}

function ttl(world: World): number {
  return world.dynamic().ttlMs;
}

/** Sometimes short, sometimes about as long as the lease, sometimes long. */
function aWhile(world: World, random: Random): number {
  return random.pick([random.between(50, 3000), random.between(0.5, 1.5) * ttl(world), random.between(1, 3) * ttl(world)]);
}

function cutBetween(world: World, timer: FaultTimer, pairs: readonly (readonly [string, string])[], duration: number): void {
  for (const [from, to] of pairs) world.network.cut(from, to);
  world.servers.lookAtLinks();
  timer.for(duration, () => {
    for (const [from, to] of pairs) world.network.mend(from, to);
    world.servers.lookAtLinks();
  });
}

function cutFromDcs(node: SimNode, timer: FaultTimer, how: "silent" | "refused", duration: number): void {
  node.way[how] += 1;
  node.supervisor?.store.cutOff();
  if (how === "refused") node.supervisor?.store.dropWatches();
  timer.for(duration, () => {
    node.way[how] -= 1;
    if (node.way.open) node.supervisor?.store.reconnect();
  });
}

export const FAULTS: Readonly<Record<string, Fault>> = {
  "supervisor-kill": (world, timer, random) => {
    const node = someNode(world, random);
    if (node.supervisor === null) return null;
    node.killSupervisor();
    node.keptDown += 1;
    timer.for(aWhile(world, random), () => {
      node.keptDown -= 1;
      node.start();
    });
    return node.name;
  },
  "supervisor-stop": (world, timer, random) => {
    const node = someNode(world, random);
    const { supervisor } = node;
    if (supervisor === null || supervisor.process.state !== "running") return null;
    supervisor.stop();
    timer.for(aWhile(world, random), () => {
      if (node.supervisor === supervisor && node.powered && !node.server.frozen) supervisor.resume();
    });
    return node.name;
  },
  "supervisor-terminate": (world, _timer, random) => {
    const node = someNode(world, random);
    node.supervisor?.terminate();
    return node.name;
  },
  "host-crash": (world, timer, random) => {
    const node = someNode(world, random);
    if (!node.powered) return null;
    node.crash();
    world.servers.lookAtLinks();
    timer.for(aWhile(world, random), () => node.boot());
    return node.name;
  },
  "host-suspend": (world, timer, random) => {
    const node = someNode(world, random);
    if (!node.powered || node.server.frozen) return null;
    node.suspend();
    timer.for(aWhile(world, random), () => node.goOn());
    return node.name;
  },
  "postmaster-crash": (world, _timer, random) => {
    const node = someNode(world, random);
    if (node.server.postmaster === null || node.server.frozen) return null;
    node.server.kill();
    return node.name;
  },
  "start-failure": (world, timer, random) => {
    const node = someNode(world, random);
    node.server.startsToFail = random.whole(1, 4);
    if (random.chance(0.7) && !node.server.frozen) node.server.kill();
    timer.for(5 * 60_000, () => {
      node.server.startsToFail = 0;
    });
    return node.name;
  },
  "slow-start": (world, _timer, random) => {
    const node = someNode(world, random);
    node.server.startDelay = random.between(1000, 40_000);
    if (random.chance(0.7) && !node.server.frozen) node.server.kill();
    return node.name;
  },
  "postgres-hang": (world, timer, random) => {
    const node = someNode(world, random);
    const { server } = node;
    const { postmaster } = server;
    if (postmaster === null || server.frozen) return null;
    server.hang();
    timer.for(aWhile(world, random), () => {
      if (server.postmaster === postmaster) server.hung = false;
      world.servers.lookAtLinks();
    });
    return node.name;
  },
  partition: (world, timer, random) => {
    const node = someNode(world, random);
    const pairs: [string, string][] = [];
    for (const other of world.nodes) if (other !== node) pairs.push([node.name, other.name], [other.name, node.name]);
    const duration = aWhile(world, random);
    cutBetween(world, timer, pairs, duration);
    if (random.chance(0.5)) cutFromDcs(node, timer, "silent", duration);
    return node.name;
  },
  "partition-one-way": (world, timer, random) => {
    const from = random.pick(world.nodes);
    const others = world.nodes.filter((node) => node !== from);
    if (others.length === 0) return null;
    const to = random.pick(others);
    cutBetween(world, timer, [[from.name, to.name]], aWhile(world, random));
    return `${from.name}>${to.name}`;
  },
  "dcs-cut": (world, timer, random) => {
    const node = someNode(world, random);
    cutFromDcs(node, timer, random.chance(0.7) ? "silent" : "refused", aWhile(world, random));
    return node.name;
  },
  "dcs-down": (world, timer, random) => {
    const duration = aWhile(world, random);
    const how = random.chance(0.5) ? "silent" : "refused";
    for (const node of world.nodes) cutFromDcs(node, timer, how, duration);
    return how;
  },
  "answers-lost": (world, timer, random) => {
    const node = someNode(world, random);
    const chance = random.between(0.05, 0.7);
    node.way.loseAnswers += chance;
    timer.for(aWhile(world, random), () => {
      node.way.loseAnswers = Math.max(0, node.way.loseAnswers - chance);
    });
    return node.name;
  },
  "requests-late": (world, timer, random) => {
    const node = someNode(world, random);
    node.way.delayChance = random.between(0.05, 0.6);
    node.way.delayMs = random.pick([500, 3000, 8000, 20_000]);
    timer.for(aWhile(world, random), () => {
      node.way.delayChance = 0;
    });
    return node.name;
  },
  "session-destroyed": (world, _timer, random) => {
    const node = someNode(world, random);
    const session = world.view().members.find((member) => member.name === node.name)?.session ?? null;
    if (session !== null) world.cluster.closeSession(session);
    return node.name;
  },
  "leader-key-deleted": (world) => {
    world.cluster.apply([{ kind: "delete", key: world.keys.leader }]);
    return "";
  },
  "api-silent": (world, timer, random) => {
    const node = someNode(world, random);
    node.silent = true;
    timer.for(aWhile(world, random), () => {
      node.silent = false;
    });
    return node.name;
  },
  "wall-clock-jump": (world, _timer, random) => {
    const node = someNode(world, random);
    node.machine.wallOffset += random.between(-1, 1) * random.pick([1000, 3_600_000]);
    return node.name;
  },
  "lease-file-lost": (world, timer, random) => {
    const node = someNode(world, random);
    if (node.supervisor === null) return null;
    node.killSupervisor();
    node.leaseFile = null;
    node.keptDown += 1;
    timer.for(aWhile(world, random), () => {
      node.keptDown -= 1;
      node.start();
    });
    return node.name;
  },
  "slow-link": (world, timer, random) => {
    if (world.servers.links.length === 0) return null;
    const link = random.pick(world.servers.links);
    link.delay = random.between(500, 30_000);
    // Not what it was before: that may have been slow as well, by a fault that has ended meanwhile.
    timer.for(aWhile(world, random), () => {
      link.delay = link.usualDelay;
    });
    return `${link.from.name}>${link.to.name}`;
  },
  "data-wiped": (world, _timer, random) => {
    const { sync, leader } = world.view();
    const fit = world.nodes.filter((node) => node.name !== leader?.name && node.name !== sync.leader && !sync.standbys.includes(node.name));
    // A leader that is not promoted yet has not the newest timeline: whoever is wiped now may have the only copy of it.
    if (fit.length === 0 || leader === null || world.leader()?.server.inRecovery !== false) return null;
    const node = random.pick(fit);
    if (node.server.frozen) return null;
    node.server.kill();
    node.server.wipe();
    return node.name;
  },
  switchover: (world, _timer, random) => {
    const leader = world.leader();
    if (leader === null) return null;
    const others = world.nodes.filter((node) => node !== leader);
    const candidate = random.chance(0.5) && others.length > 0 ? random.pick(others).name : null;
    world.cluster.apply([{ kind: "put", key: world.keys.failover, value: encodeFailover({ leader: leader.name, member: candidate }) }]);
    return `${leader.name} to ${candidate ?? "any"}`;
  },
  failover: (world, timer, random) => {
    const others = world.nodes.filter((node) => node !== world.leader());
    if (others.length === 0) return null;
    const candidate = random.pick(others).name;
    world.cluster.apply([{ kind: "put", key: world.keys.failover, value: encodeFailover({ leader: null, member: candidate }) }]);
    // The operator means it: commits beyond the candidate's WAL are his loss. To a synchronous standby nothing may be lost; a voter of a
    // quorum alone need not have everything.
    const { standbys, quorum } = world.view().sync;
    if (!standbys.includes(candidate) || quorum > 0) world.choose(candidate, world.queue.now + 10 * ttl(world));
    timer.for(10 * ttl(world), () => {});
    return candidate;
  },
  pause: (world, timer, random) => {
    if (!patchConfig(world, { pause: true })) return null;
    const duration = random.between(10_000, 120_000);
    timer.for(duration, () => void patchConfig(world, { pause: false }));
    return "";
  },
  "synchronous-mode-changed": (world, _timer, random) => {
    const mode = random.pick([false, true, true, "quorum", "quorum"]);
    const patch = { synchronous_mode: mode, synchronous_mode_strict: random.chance(0.3), synchronous_node_count: random.pick([1, 2]) };
    if (!patchConfig(world, patch)) return null;
    // Whoever switches it off gives the promise up.
    if (mode === false) world.invariants.forgetSynchronous();
    return JSON.stringify(patch);
  },
  "tags-changed": (world, timer, random) => {
    const node = random.pick(world.nodes);
    const before = node.tags;
    // Who never may lead has been chosen so that somebody else may.
    if ("nofailover" in before || "nosync" in before) return null;
    const tags = random.pick([{ nosync: true }, { nosync: true }, { sync_priority: 2 }, { failover_priority: 2 }]);
    node.retag(tags);
    timer.for(aWhile(world, random), () => node.retag(before));
    return `${node.name} ${JSON.stringify(tags)}`;
  },
  "ttl-changed": (world, _timer, random) => {
    const value = random.whole(20, 60);
    patchConfig(world, { ttl: value, retry_timeout: Math.min(10, Math.floor((value - 10) / 2)) });
    return String(value);
  },
};

/** A key that is given as undefined goes. False where there is no configuration yet. */
export function patchConfig(world: World, patch: Readonly<Record<string, unknown>>): boolean {
  const { config } = world.view();
  if (config === null) return false;
  world.cluster.apply([{ kind: "put", key: world.keys.config, value: encodeJson({ ...config.data, ...patch }) }]);
  return true;
}
