// Owns the faults that befall simulated cores: each picks its victims, does its harm and, where it has an end, sets that end.

import type { FaultName } from "./core-settings.ts";
import type { CoreWorld } from "./core-world.ts";
import type { Seat } from "./seat.ts";

/** Does the harm. Value: what was done, for the trace; null where there was nobody to do it to. */
export const FAULTS: Readonly<Record<FaultName, (world: CoreWorld) => string | null>> = {
  crash: (world) => crash(world, anyAlive(world)),
  "crash-leader": (world) => crash(world, world.leader()),
  "crash-all": (world) => {
    const downFor = world.random.between(50, 1000);
    for (const seat of world.seats) if (seat.alive) crashFor(world, seat, downFor * world.random.between(0.5, 1.5));
    return "everybody";
  },
  pause: (world) => pause(world, world.random.pick([50, 300, 1000, 3000])),
  suspend: (world) => pause(world, world.random.between(3000, 10_000)),
  partition: (world) => {
    const { random, seats } = world;
    const side = seats.filter(() => random.chance(0.5));
    const rest = seats.filter((seat) => !side.includes(seat));
    for (const a of side) for (const b of rest) cutBoth(world, a, b);
    mendLater(world);
    return `${names(side)} | ${names(rest)}`;
  },
  "isolate-leader": (world) => {
    const leader = world.leader();
    if (leader === null) return null;
    const spared = world.random.chance(0.3) ? world.random.pick(world.seats) : leader;
    for (const seat of world.seats) if (seat !== spared) cutBoth(world, leader, seat);
    mendLater(world);
    return `${leader.name}${spared === leader ? "" : ` but for ${spared.name}`}`;
  },
  "one-way": (world) => {
    const { random } = world;
    const victim = random.chance(0.5) ? (world.leader() ?? random.pick(world.seats)) : random.pick(world.seats);
    const way = random.chance(0.5) ? "out of" : "into";
    for (const seat of world.seats) {
      if (random.chance(0.3)) continue;
      if (way === "out of") world.network.cut(victim, seat);
      else world.network.cut(seat, victim);
    }
    mendLater(world);
    return `${way} ${victim.name}`;
  },
  "slow-link": (world) => {
    const { random } = world;
    const [a, b] = [random.pick(world.seats), random.pick(world.seats)];
    world.network.slow(a, b, random.pick([10, 100, 1000]));
    mendLater(world);
    return `${a.name} to ${b.name}`;
  },
  "slow-disk": (world) => {
    const seat = anyAlive(world);
    if (seat === null) return null;
    world.diskFactor.set(seat, world.random.pick([20, 200, 2000]));
    world.queue.after(world.random.between(500, 4000), () => world.diskFactor.delete(seat));
    return seat.name;
  },
  "sync-fails": (world) => {
    const seat = anyAlive(world);
    if (seat === null) return null;
    world.failingSync.add(seat);
    return seat.name;
  },
  "disk-full": (world) => {
    const seat = anyAlive(world);
    if (seat === null || world.fullDisks.has(seat)) return null;
    world.fullDisks.add(seat);
    seat.receive({ kind: "disk-full" });
    world.queue.after(world.random.between(500, 5000), () => world.giveRoom(seat));
    return seat.name;
  },
  rot: (world) => {
    const seat = anyAlive(world);
    if (seat === null || !world.mayRot(seat)) return null;
    crashFor(world, seat, world.random.between(10, 1000));
    const first = seat.disk.newest.meta.index;
    const from = world.random.whole(first, Math.max(first, seat.disk.log.last - 1));
    seat.disk.rot(from);
    return `${seat.name} behind ${from}`;
  },
  transfer: (world) => {
    const leader = world.leader();
    if (leader === null) return null;
    const to = world.random.chance(0.5) ? null : world.random.pick(world.seats);
    leader.receive({ kind: "transfer", to: to?.member.id ?? null });
    return `${leader.name} to ${to?.name ?? "anybody"}`;
  },
  "add-member": (world) => {
    if (world.leader() === null || world.memberCount() >= MEMBERS_MAX || world.seats.length >= SEATS_MAX) return null;
    const seat = world.addSeat();
    world.change({ kind: "add", member: seat.member, replaces: null });
    return seat.name;
  },
  "remove-member": (world) => {
    const leader = world.leader();
    if (leader === null || world.memberCount() <= 1 || world.hasUnknownRot(leader)) return null;
    const seat = world.random.chance(0.3) ? leader : world.random.pick(world.seats);
    world.change({ kind: "remove", id: seat.member.id });
    return seat.name;
  },
  "replace-member": (world) => {
    if (world.leader() === null || world.seats.length >= SEATS_MAX) return null;
    const old = world.random.pick(world.seats);
    const seat = world.addSeat();
    world.change({ kind: "add", member: seat.member, replaces: old.member.id });
    return `${seat.name} for ${old.name}`;
  },
  "snapshot-now": (world) => {
    const seat = anyAlive(world);
    if (seat === null) return null;
    seat.shelf.save();
    return seat.name;
  },
};

/** raft.md: 1 to 9 members; one less, so that a replacement fits. */
const MEMBERS_MAX = 8;
const SEATS_MAX = 20;

function anyAlive(world: CoreWorld): Seat | null {
  const alive = world.seats.filter((seat) => seat.alive);
  return alive.length === 0 ? null : world.random.pick(alive);
}

function crash(world: CoreWorld, seat: Seat | null): string | null {
  if (seat === null) return null;
  crashFor(world, seat, world.random.pick([5, 100, 1000, 4000]) * world.random.between(0.5, 1.5));
  return seat.name;
}

export function crashFor(world: CoreWorld, seat: Seat, downMs: number): void {
  seat.crash();
  world.heardLost(seat);
  world.queue.after(downMs, () => world.restart(seat));
}

function pause(world: CoreWorld, forMs: number): string | null {
  const seat = anyAlive(world);
  if (seat === null) return null;
  seat.pause();
  world.queue.after(forMs, () => seat.resume());
  return `${seat.name} for ${forMs.toFixed(0)} ms`;
}

function cutBoth(world: CoreWorld, a: Seat, b: Seat): void {
  world.network.cut(a, b);
  world.network.cut(b, a);
}

function mendLater(world: CoreWorld): void {
  world.queue.after(world.random.pick([100, 1000, 3000, 6000]) * world.random.between(0.5, 1.5), () => world.network.mendAll());
}

function names(seats: readonly Seat[]): string {
  return seats.map(({ name }) => name).join("");
}
