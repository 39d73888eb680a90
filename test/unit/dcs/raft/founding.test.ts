// Goal: three members, started in any order, wiped and restarted at any moment, found one cluster or say whom they wait for;
// never two. Method: every reachable state of a small world is visited (founding-model.ts); a seeded walk goes further.

import { describe, expect, test } from "bun:test";
import { type FoundingState, foundingStart, foundingStep, foundingWait, type Standing } from "../../../../lib/dcs/raft/core/founding.ts";
import type { MemberId, RaftClusterId, RaftMember } from "../../../../lib/model/raft.ts";
import { Random } from "../../../simulation/random.ts";
import { ADDRESSES, clusterOf, emptyWorld, healed, successors, type World, worldKey } from "./founding-model.ts";

const EXPLORED_MAX = 400_000;
/** A few seconds of work; the machine may be busy with much else. */
const EXHAUSTIVE_TIMEOUT_MS = 600_000;
const WALKS = 400;
const WALK_STEPS = 120;

function clustersAlive(world: World): readonly string[] {
  return [...new Set(world.members.map(clusterOf).filter((cluster) => cluster !== null))];
}

function faultsLeft(world: World): number {
  return world.wipesLeft + world.restartsLeft;
}

/** Calls `visit` with every state that can be reached, counted from 0; returns how many there are. */
function explore(start: World, visit: (world: World, count: number) => void): number {
  const seen = new Set<string>([worldKey(start)]);
  const open = [start];
  let visited = 0;
  for (let world = open.pop(); world !== undefined; world = open.pop()) {
    visit(world, visited++);
    for (const next of successors(world, "coarse")) {
      const key = worldKey(next);
      if (seen.has(key)) continue;
      if (seen.size >= EXPLORED_MAX) throw new Error("the world is larger than it was meant to be");
      seen.add(key);
      open.push(next);
    }
  }
  return seen.size;
}

function expectOneCluster(world: World): void {
  const end = healed(world);
  const clusters = end.members.map(clusterOf);
  if (new Set(clusters).size !== 1 || clusters[0] === null) {
    throw new Error(
      `no cluster of all: ${JSON.stringify(end.members.map((member) => (member === "down" ? member : foundingWait(member))))}`,
    );
  }
}

/** One cluster at most, and whoever is outside of it names an address that it waits for. */
function expectClusterOrWait(world: World): void {
  const end = healed(world);
  if (clustersAlive(end).length > 1) throw new Error(`two clusters: ${JSON.stringify(end)}`);
  for (const member of end.members) {
    if (member === "down" || clusterOf(member) !== null) continue;
    const text = foundingWait(member);
    if (!ADDRESSES.some((address) => text.includes(address))) throw new Error(`names nobody: ${text}`);
  }
}

describe("every state of three members", () => {
  test("in any order of starts, they end in one cluster", () => {
    const states = explore(emptyWorld({ wipes: 0, restarts: 1 }), (world) => {
      if (world.founded.length > 1) throw new Error(`two clusters: ${JSON.stringify(world)}`);
      expectOneCluster(world);
    });
    expect(states).toBeGreaterThan(1000);
  });

  test(
    "one of them wiped at any step: still one cluster of all three, and never two",
    () => {
      let wipedAfterFounding = 0;
      const states = explore(emptyWorld({ wipes: 1, restarts: 0 }), (world, count) => {
        if (world.founded.length > 1) throw new Error(`two clusters: ${JSON.stringify(world)}`);
        if (world.wipesLeft === 0 && world.founded.length > 0) wipedAfterFounding++;
        // What heals from a state heals from its neighbours: a fourth of them is enough.
        if (count % 4 === 0) expectOneCluster(world);
      });
      expect(states).toBeGreaterThan(10_000);
      expect(wipedAfterFounding).toBeGreaterThan(0);
    },
    EXHAUSTIVE_TIMEOUT_MS,
  );
});

describe("seeded walks, where each question and each sync is a step of its own", () => {
  for (const faults of [
    { wipes: 1, restarts: 2 },
    { wipes: 2, restarts: 1 },
    { wipes: 4, restarts: 3 },
  ]) {
    test(`with ${faults.wipes} wipes and ${faults.restarts} restarts: one cluster alive, or a wait that names an address`, () => {
      let together = 0;
      for (let seed = 1; seed <= WALKS; seed++) {
        const random = new Random(seed);
        let world = emptyWorld(faults);
        for (let step = 0; step < WALK_STEPS; step++) {
          const next = successors(world, "fine");
          if (next.length === 0) break;
          // Faults are rare, or all of them would be spent before anything was promised.
          const pick = (): World => next[Math.floor(random.next() * next.length)] as World;
          const first = pick();
          world = faultsLeft(first) < faultsLeft(world) && random.next() < 0.85 ? pick() : first;
          if (clustersAlive(world).length > 1) throw new Error(`seed ${seed}, step ${step}: two clusters: ${JSON.stringify(world)}`);
        }
        if (faults.wipes === 1) expectOneCluster(world);
        else expectClusterOrWait(world);
        if (clustersAlive(healed(world)).length === 1) together++;
      }
      expect(together).toBeGreaterThan(WALKS / 2);
    });
  }
});

describe("one member", () => {
  test("a list of one founds alone, after its promise is durable", () => {
    const alone = started([]);
    const promised = foundingStep(alone, { kind: "tick" });
    expect(promised.output.write?.kind).toBe("promised");
    expect(promised.state.record).toBeNull();
    const founded = foundingStep(promised.state, { kind: "written" });
    expect(founded.output.write).toEqual({ kind: "founded", promise: { clusterId: CLUSTER, members: [alone.self] } });
    expect(foundingStep(founded.state, { kind: "written" }).state.record?.kind).toBe("founded");
  });

  test("an empty one joins the cluster that any of its list belongs to, although it may not found", () => {
    const state = started(["b:1"], "may-not");
    const { output } = foundingStep(state, answer(standing("b:1", { kind: "member", clusterId: OTHER })));
    expect(output.write).toEqual({ kind: "joining", clusterId: OTHER });
  });

  test("between two clusters it does not choose", () => {
    let state = started(["b:1", "c:1"]);
    state = foundingStep(
      state,
      answer({ ...standing("b:1", { kind: "empty", founding: "may", readiness: "asking", token: "" }), list: ["a:1", "b:1", "c:1"] }),
    ).state;
    state = foundingStep(
      { ...state, writing: null },
      { kind: "answer", address: "c:1", standing: null, reason: "connection refused" },
    ).state;
    expect(foundingWait(state)).toBe("waiting for b:1 (it has not heard from everyone yet), c:1 (connection refused)");
    const answers = {
      "b:1": { standing: standing("b:1", { kind: "member", clusterId: OTHER }), failure: null },
      "c:1": { standing: standing("c:1", { kind: "member", clusterId: CLUSTER }), failure: null },
    };
    const torn = foundingStep({ ...state, answers }, { kind: "tick" });
    expect(torn.output.write).toBeNull();
    expect(foundingWait(torn.state)).toContain("refusing to choose");
  });

  test("whoever has another list, may not found, or is met twice is named", () => {
    const empty = { kind: "empty", founding: "may", readiness: "ready", token: "t" } as const;
    const waits = (what: Standing): string => foundingWait(foundingStep(started(["b:1"]), answer(what)).state);
    expect(waits({ ...standing("b:1", empty), list: ["b:1"] })).toBe("waiting for b:1 (its members are b:1; here they are a:1, b:1)");
    expect(waits(standing("b:1", { ...empty, founding: "may-not" }))).toBe(
      "waiting for b:1 (it may not found: its data directory belongs to a cluster)",
    );
    expect(waits({ ...standing("b:1", empty), id: started([]).self.id })).toBe(
      "waiting for b:1 (it is this member itself under another address)",
    );
    expect(foundingWait(foundingStep(started(["b:1"], "may-not"), answer(standing("b:1", empty))).state)).toContain("may not found");
  });

  test("a promise is given once, to the newest token of a member of the own list, and by nobody who may not", () => {
    const from = { id: id("b"), address: "b:1" };
    const ask = (founding: "may" | "may-not", token: string, members: readonly RaftMember[]) => {
      const asked = foundingStep(started(["b:1"], founding), { kind: "asked", reply: 1, from, token: "fresh" }).state;
      return foundingStep(asked, { kind: "promise-asked", reply: 2, from, token, promise: { clusterId: OTHER, members } });
    };
    const both = [started([]).self, from];
    expect(ask("may", "fresh", both).output.write).toEqual({ kind: "promised", promise: { clusterId: OTHER, members: both } });
    for (const refused of [
      ask("may", "stale", both),
      ask("may", "", both),
      ask("may-not", "fresh", both),
      ask("may", "fresh", [from]),
      ask("may", "fresh", [{ ...from, id: id("c") }, started([]).self]),
      ask("may", "fresh", [{ id: id("d"), address: "a:1" }, from]),
    ]) {
      expect(refused.output.write).toBeNull();
      expect(refused.output.replies).toHaveLength(1);
    }
    const given = foundingStep(ask("may", "fresh", both).state, { kind: "written" });
    expect(given.output.replies).toEqual([expect.objectContaining({ reply: 2 })]);
    const again = { kind: "promise-asked", reply: 3, from, token: "fresh", promise: { clusterId: CLUSTER, members: both } } as const;
    expect(foundingStep(given.state, again).output.write).toBeNull();
  });
});

const CLUSTER = "ab".repeat(16) as RaftClusterId;
const OTHER = "cd".repeat(16) as RaftClusterId;

function id(letter: string): MemberId {
  return letter.repeat(32) as MemberId;
}

function started(partners: readonly string[], founding: "may" | "may-not" = "may"): FoundingState {
  return foundingStart({ self: { id: id("a"), address: "a:1" }, partners, founding, draw: CLUSTER, record: null });
}

function standing(address: string, state: Standing["state"]): Standing {
  return { id: id(address.slice(0, 1)), address, list: ["a:1", "b:1"], state };
}

function answer(what: Standing): Parameters<typeof foundingStep>[1] {
  return { kind: "answer", address: what.address, standing: what, reason: "" };
}
