// Owns the faults that befall whole members: each picks its victim, does its harm and sets its end.

import { DiskError } from "../../../lib/dcs/raft/storage/disk.ts";
import type { Host } from "./host.ts";
import { newestSlot, newestVoteRecord } from "./vote-rot.ts";
import type { WholeFaultName } from "./whole-settings.ts";
import type { WholeWorld } from "./whole-world.ts";

/** Does the harm. Value: what was done, for the trace; null where there was nobody to do it to. */
export const WHOLE_FAULTS: Readonly<Record<WholeFaultName, (world: WholeWorld) => string | null>> = {
  kill: (world) => kill(world, world.anyAlive(), "process"),
  "power-off": (world) => kill(world, world.anyAlive(), "machine"),
  "kill-all": (world) => {
    const what = world.random.chance(0.5) ? "process" : "machine";
    for (const host of world.hosts) kill(world, host, what);
    return what;
  },
  pause: (world) => pause(world, world.random.pick([100, 600, 3000])),
  // Twice what a session of the clients lives for.
  suspend: (world) => pause(world, 2 * world.settings.ttlMs),
  partition: (world) => {
    const side = world.hosts.filter(() => world.random.chance(0.5));
    for (const a of side) for (const b of world.hosts) if (!side.includes(b)) stallBoth(world, a, b);
    return `${names(side)} | ${names(world.hosts.filter((host) => !side.includes(host)))}`;
  },
  "one-way": (world) => {
    const [from, to] = [world.random.pick(world.hosts), world.random.pick(world.hosts)];
    if (from === to) return null;
    world.network.stall(from.name, to.name);
    world.mendLater();
    return `${from.name} to ${to.name}`;
  },
  "isolate-leader": (world) => {
    const leader = world.leader();
    if (leader === null) return null;
    for (const host of world.hosts) if (host !== leader) stallBoth(world, leader, host);
    return leader.name;
  },
  "reset-connections": (world) => {
    const [a, b] = [world.random.pick(world.hosts), world.random.pick(world.hosts)];
    if (a === b) return null;
    world.network.reset(a.name, b.name);
    return `${a.name} and ${b.name}`;
  },
  "slow-disk": (world) => {
    const host = world.random.pick(world.hosts);
    host.diskFactor = world.random.pick([20, 100]);
    world.queue.after(world.random.between(500, 4000), () => {
      host.diskFactor = 1;
    });
    return host.name;
  },
  "sync-fails": (world) => {
    const host = world.anyAlive();
    if (host === null) return null;
    const { disk } = host;
    disk.fault = ({ kind, file }) => {
      if (kind !== "sync") return null;
      disk.fault = null;
      return new DiskError("failed", file, `cannot sync ${file}: input/output error`);
    };
    return host.name;
  },
  "disk-full": (world) => {
    const host = world.anyAlive();
    if (host === null || host.disk.full) return null;
    const { disk } = host;
    disk.full = true;
    world.queue.after(world.random.between(1000, 6000), () => {
      disk.full = false;
    });
    return host.name;
  },
  "bit-rot": (world) => {
    const host = world.anyAlive();
    const { random } = world;
    if (host === null || !world.mayHurt(host)) return null;
    const files = host.disk.names().filter((name) => !name.includes("identity") && (host.disk.size(name) ?? 0) > 0);
    if (files.length === 0) return null;
    const file = random.pick(files);
    world.hurt = host;
    kill(world, host, random.chance(0.5) ? "process" : "machine");
    const size = host.disk.size(file);
    if (size === null || size === 0) return null;
    const bit = random.whole(0, 8 * Math.min(size, 4096) - 1);
    host.disk.rot(file, bit);
    return `${host.name} ${file} bit ${bit}`;
  },
  // In the newer slot, in the log, or in both.
  "vote-rot": (world) => {
    const host = world.anyAlive();
    if (host === null || !world.mayHurt(host)) return null;
    world.hurt = host;
    kill(world, host, world.random.chance(0.5) ? "process" : "machine");
    const places = world.random.pick([["slot"], ["log"], ["slot", "log"]]);
    const flipped: string[] = [];
    for (const place of places) {
      const stretch = place === "slot" ? newestSlot(host.disk) : newestVoteRecord(host.disk);
      if (stretch === null) continue;
      const bit = 8 * stretch.from + world.random.whole(0, 8 * stretch.length - 1);
      host.disk.rot(stretch.file, bit);
      flipped.push(`${stretch.file} bit ${bit}`);
    }
    return `${host.name} ${flipped.join(" and ")}`;
  },
  "wall-clock-jump": (world) => {
    const host = world.random.pick(world.hosts);
    const byMs = world.random.pick([-1, 1]) * 3_600_000;
    host.jumpWall(byMs);
    world.holders.jumpWall(byMs);
    return host.name;
  },
  // Twice what its session lives for.
  "suspend-holder": (world) => world.holders.suspend(),
  wipe: (world) => {
    const host = world.random.pick(world.hosts);
    if (!world.mayHurt(host)) return null;
    world.hurt = host;
    kill(world, host, "process");
    host.wipe();
    return host.name;
  },
  transfer: (world) => {
    const leader = world.leader();
    if (leader === null) return null;
    void leader.request({ kind: "transfer", to: null }, world.queue.now + 2000);
    return leader.name;
  },
  "remove-and-add": (world) => {
    const host = world.random.pick(world.hosts);
    const other = world.hosts.find((candidate) => candidate !== host && candidate.alive);
    if (other === undefined || !world.mayHurt(host)) return null;
    world.hurt = host;
    void other.request({ kind: "remove", member: host.address }, world.queue.now + 3000).then((answer) => {
      if (answer.kind !== "done") return;
      kill(world, host, "process");
      host.wipe();
    });
    return host.name;
  },
  "snapshot-now": (world) => {
    const host = world.anyAlive();
    if (host === null) return null;
    void host.request({ kind: "snapshot" }, world.queue.now + 2000);
    return host.name;
  },
};

function kill(world: WholeWorld, host: Host | null, what: "process" | "machine"): string | null {
  if (host === null) return null;
  host.kill(what);
  world.restartLater(host);
  return host.name;
}

function pause(world: WholeWorld, forMs: number): string | null {
  const host = world.anyAlive();
  if (host === null) return null;
  host.pause();
  world.queue.after(forMs, () => host.resume());
  return `${host.name} for ${forMs} ms`;
}

function stallBoth(world: WholeWorld, a: Host, b: Host): void {
  world.network.stall(a.name, b.name);
  world.network.stall(b.name, a.name);
  world.mendLater();
}

function names(hosts: readonly Host[]): string {
  return hosts.map(({ name }) => name).join(" ");
}
