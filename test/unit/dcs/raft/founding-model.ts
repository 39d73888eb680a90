// Owns a small world of founding members for the exhaustive test: every address runs the real `foundingStep`, and the world
// chooses what happens next. Knows no time and no frames: asking is one act; promise requests travel, and may be late.

import {
  type FoundingOutput,
  type FoundingPromise,
  type FoundingState,
  foundingStart,
  foundingStep,
  isSettled,
  type Standing,
} from "../../../../lib/dcs/raft/core/founding.ts";
import { memberId, type RaftMember, raftClusterId } from "../../../../lib/model/raft.ts";

/** A promise request on its way; it may arrive after its sender was wiped. */
interface Travelling {
  readonly from: RaftMember;
  readonly to: string;
  readonly token: string;
  readonly promise: FoundingPromise;
}

export interface World {
  readonly members: readonly (FoundingState | "down")[];
  /** How often each address was wiped: the next identity there. */
  readonly lives: readonly number[];
  readonly travelling: readonly Travelling[];
  readonly wipesLeft: number;
  readonly restartsLeft: number;
  /** Clusters that some member has founded, whoever lives by now. */
  readonly founded: readonly string[];
}

export const ADDRESSES = ["a:1", "b:1", "c:1"] as const;
const REQUESTS_MAX = 2;

export function emptyWorld(faults: { readonly wipes: number; readonly restarts: number }): World {
  const none = ADDRESSES.map(() => 0);
  return {
    members: ADDRESSES.map(() => "down"),
    lives: none,
    travelling: [],
    wipesLeft: faults.wipes,
    restartsLeft: faults.restarts,
    founded: [],
  };
}

/**
 * Everything that can happen next. `coarse`: a member asks everyone in one act and its disk is at once done, which keeps
 * the number of states small enough to visit all of them. `fine`: each question and each sync of a disk is an act.
 */
export function successors(world: World, grain: "coarse" | "fine"): readonly World[] {
  const next: World[] = [];
  for (const [index, member] of world.members.entries()) {
    if (member === "down") {
      next.push(started(world, index));
      continue;
    }
    if (world.wipesLeft > 0) next.push({ ...wiped(world, index), wipesLeft: world.wipesLeft - 1 });
    if (world.restartsLeft > 0) next.push(restarted({ ...world, restartsLeft: world.restartsLeft - 1 }, index, member));
    if (member.writing !== null) next.push(stepped(world, index, { kind: "written" }));
    if (isSettled(member)) continue;
    const questions = ADDRESSES.filter((to) => to !== member.self.address);
    if (grain === "fine") for (const to of questions) next.push(asked(world, index, to));
    else next.push(questions.reduce((now, to) => flushedAll(asked(now, index, to)), world));
  }
  for (const [place, request] of world.travelling.entries()) {
    const rest = { ...world, travelling: world.travelling.filter((_, other) => other !== place) };
    next.push(rest, grain === "fine" ? arrived(rest, request) : flushedAll(arrived(rest, request)));
  }
  return next;
}

/** Everyone runs and reaches everyone, and nothing bad happens any more. */
export function healed(world: World): World {
  let now = world;
  for (const index of ADDRESSES.keys()) if (now.members[index] === "down") now = started(now, index);
  for (let round = 0; round < 8 && !now.members.every((member) => clusterOf(member) !== null); round++) {
    now = flushedAll(now);
    for (const index of ADDRESSES.keys()) {
      for (const to of ADDRESSES) {
        if (to === ADDRESSES[index]) continue;
        now = asked(now, index, to);
        for (const request of now.travelling) now = arrived(now, request);
        now = { ...now, travelling: [] };
        now = flushedAll(now);
      }
    }
  }
  return now;
}

/** Same key = same future: tokens are compared for equality alone, so they are numbered in the order in which they appear. */
export function worldKey(world: World): string {
  const seen = new Map<string, string>();
  return JSON.stringify(world).replace(/token-\d+/g, (token) => {
    if (!seen.has(token)) seen.set(token, `t${seen.size}`);
    return seen.get(token) as string;
  });
}

export function clusterOf(member: FoundingState | "down"): string | null {
  if (member === "down" || member.record === null || member.record.kind === "promised") return null;
  return member.record.kind === "founded" ? member.record.promise.clusterId : member.record.clusterId;
}

let tokens = 0;

function identity(index: number, life: number): string {
  return `${"abc"[index]}${life}`.padEnd(32, "0");
}

function started(world: World, index: number, record: FoundingState["record"] = null): World {
  const address = ADDRESSES[index] as string;
  const life = world.lives[index] as number;
  const id = memberId(identity(index, life));
  const draw = raftClusterId(identity(index, life));
  if (id === null || draw === null) throw new Error("identities are hexadecimal");
  const partners = ADDRESSES.filter((other) => other !== address);
  return replaced(world, index, foundingStart({ self: { id, address }, partners, founding: "may", draw, record }));
}

function wiped(world: World, index: number): World {
  return replaced({ ...world, lives: world.lives.with(index, (world.lives[index] as number) + 1) }, index, "down");
}

/** What was not durable is gone, and so is everything that the process knew. */
function restarted(world: World, index: number, member: FoundingState): World {
  return started(world, index, member.record);
}

function replaced(world: World, index: number, member: FoundingState | "down"): World {
  return { ...world, members: world.members.with(index, member) };
}

function flushed(world: World, index: number): World {
  const member = world.members[index];
  return member !== undefined && member !== "down" && member.writing !== null
    ? flushed(stepped(world, index, { kind: "written" }), index)
    : world;
}

function flushedAll(world: World): World {
  return [...ADDRESSES.keys()].reduce(flushed, world);
}

function stepped(world: World, index: number, event: Parameters<typeof foundingStep>[1]): World {
  const before = world.members[index];
  if (before === undefined || before === "down") return world;
  const { state, output } = foundingStep(before, event);
  const record = state.record;
  const founded =
    record?.kind === "founded" && !world.founded.includes(record.promise.clusterId)
      ? [...world.founded, record.promise.clusterId]
      : world.founded;
  return sent({ ...replaced(world, index, state), founded }, state.self, output);
}

function sent(world: World, from: RaftMember, output: FoundingOutput): World {
  let travelling = world.travelling;
  for (const { address, token, promise } of output.requests) {
    const request = { from, to: address, token, promise };
    if (!travelling.some((other) => JSON.stringify(other) === JSON.stringify(request))) travelling = [...travelling, request];
  }
  return { ...world, travelling: travelling.slice(-REQUESTS_MAX) };
}

/** One member asks an address and hears at once; what the answer makes it do may take its time. */
function asked(world: World, index: number, to: string): World {
  const asker = world.members[index];
  if (asker === undefined || asker === "down") return world;
  const target = ADDRESSES.indexOf(to as (typeof ADDRESSES)[number]);
  const there = world.members[target];
  if (there === undefined || there === "down") {
    return stepped(world, index, { kind: "answer", address: to, standing: null, reason: "connection refused" });
  }
  const { state, output } = foundingStep(there, { kind: "asked", reply: 0, from: asker.self, token: `token-${++tokens}` });
  const standing = output.replies[0]?.standing as Standing;
  return stepped(replaced(world, target, state), index, { kind: "answer", address: to, standing, reason: "" });
}

function arrived(world: World, { from, to, token, promise }: Travelling): World {
  return stepped(world, ADDRESSES.indexOf(to as (typeof ADDRESSES)[number]), { kind: "promise-asked", reply: 0, from, token, promise });
}
