// Orders of events that an orderly world never meets, found by reading the core as an adversary would: what a follower
// remembers of a leader must not outlive that leader's term, and a change of the membership must not outgrow its bound.

import { describe, expect, test } from "bun:test";
import { encodeConfiguration } from "../../../../../lib/dcs/raft/core/configuration.ts";
import type { LogEntry, Message, Output } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId, term } from "../../../../../lib/model/raft.ts";
import { bytes, CoreWorld, founding, idOf, memberOf, TIMINGS } from "./core-world.ts";

type Append = Extract<Message, { readonly kind: "append" }>;

function entry(index: number, of: number): LogEntry {
  return { index: logIndex(index), term: term(of), kind: "command", time: index, payload: bytes(`${of}:${index}`) };
}

function append(of: number, previous: readonly [number, number], entries: readonly LogEntry[], more: Partial<Append> = {}): Append {
  const [index, previousTerm] = previous;
  const place = { previousIndex: logIndex(index), previousTerm: term(previousTerm) };
  return { kind: "append", term: term(of), ...place, entries, commit: logIndex(0), repair: null, time: 0, round: 1, ...more };
}

/** One follower, its disk as fast as thought; the leader is member 1, wherever the test says so. */
class Follower {
  readonly world = new CoreWorld(0);
  readonly id = idOf(2);

  constructor() {
    this.world.add(2, founding(3));
  }

  hears(message: Message, from: MemberId = idOf(1)): readonly Message[] {
    const heard = this.world.step(this.id, { kind: "message", from, message });
    return [heard, ...this.#sync(heard)].flatMap((output) => output.messages.map(({ message: sent }) => sent));
  }

  #sync(output: Output): Output[] {
    if (output.writes === null) return [];
    const synced = this.world.step(this.id, { kind: "written", sequence: output.writes.sequence });
    return [synced, ...this.#sync(synced)];
  }
}

describe("a leader that comes back in a later term, before the follower has missed it", () => {
  test("has nothing acknowledged that only its earlier term had sent", () => {
    const follower = new Follower();
    const old = [entry(1, 1), entry(2, 1), entry(3, 1)];
    expect(follower.hears(append(1, [0, 0], old)).at(-1)).toMatchObject({ outcome: "matched", index: 3 });
    // Since then another leader's entry 2 has replaced the leader's own 2 and 3; only entry 1 is known to be equal.
    expect(follower.hears(append(3, [1, 1], [], { round: 0 })).at(-1)).toMatchObject({ outcome: "matched", index: 1 });
  });

  test("does not make the follower apply entries of its own that the leader no longer has", () => {
    const follower = new Follower();
    follower.hears(append(1, [0, 0], [entry(1, 1), entry(2, 1), entry(3, 1)]));
    follower.hears(append(3, [1, 1], [], { round: 0, commit: logIndex(3) }));
    expect(follower.world.payloads(2)).toEqual(["1:1"]);
  });

  test("gets no round confirmed that its own term has not begun", () => {
    const follower = new Follower();
    follower.hears(append(1, [0, 0], [entry(1, 1)], { round: 5000 }));
    expect(follower.hears(append(2, [1, 1], [], { round: 3 })).at(-1)).toMatchObject({ outcome: "matched", round: 3 });
  });
});

describe("cluster time in a new term", () => {
  /** The stamp of the no-op with which the follower begins its own term, a moment after it heard the last leader. */
  function firstStamp(follower: Follower): number {
    const { world, id } = follower;
    world.run(TIMINGS.electionMaxMs * 2);
    for (const purpose of ["pre", "election"] as const) {
      const answer = { kind: "vote-answer", purpose, verdict: "granted" } as const;
      const { role, term: now } = world.member(2).raft.role;
      follower.hears({ ...answer, term: purpose === "pre" ? term(now + 1) : now }, idOf(3));
      expect(role).toBe(purpose === "pre" ? "pre-candidate" : "candidate");
    }
    const written = world.members.get(id)?.outputs.flatMap(({ writes }) => writes?.writes ?? []) ?? [];
    const appended = written.flatMap((write) => (write.kind === "append" ? write.entries : []));
    return appended.findLast(({ kind }) => kind === "no-op")?.time ?? Number.NaN;
  }

  test("goes on from what the leader said who wrote the log", () => {
    const follower = new Follower();
    follower.hears(append(6, [0, 0], [entry(1, 6)], { time: 1 }));
    follower.hears(append(6, [1, 6], [], { time: 50_000 }));
    expect(firstStamp(follower)).toBe(50_000);
  });

  test("does not go on from what another leader said: sessions in this log would end early", () => {
    const follower = new Follower();
    follower.hears(append(6, [0, 0], [entry(1, 6)], { time: 1 }));
    follower.hears(append(7, [0, 0], [], { time: 50_000 }), idOf(3));
    expect(firstStamp(follower)).toBe(1);
  });
});

describe("configurations", () => {
  test("nine voters stay nine, however many newcomers wait", () => {
    const world = new CoreWorld(8);
    world.run(3000);
    const leader = world.leader();
    for (const number of [9, 10]) {
      const snapshot = { ...founding(1), configuration: { voters: [], outgoing: null, learners: [] } };
      world.add(number, snapshot);
      world.step(leader, { kind: "change-members", id: number, change: { kind: "add", member: memberOf(number), replaces: null } });
      // Committed, and not caught up yet.
      world.cut.add(idOf(number));
      world.settle();
    }
    const refused = world.members.get(leader)?.outputs.flatMap((output) => output.refused) ?? [];
    expect(refused).toMatchObject([{ id: 10, refusal: { kind: "invalid" } }]);
    world.cut.clear();
    world.run(3000);
    const { configuration } = world.member(1).raft.status();
    expect(configuration.voters).toHaveLength(9);
    expect(configuration.outgoing).toBeNull();
  });

  test("one that replaces another at the same place of the log is reported", () => {
    const follower = new Follower();
    const configurationEntry = (of: number, count: number): LogEntry => {
      return { ...entry(1, of), kind: "configuration", payload: encodeConfiguration(founding(count).configuration) };
    };
    follower.hears(append(1, [0, 0], [configurationEntry(1, 4)]));
    follower.hears(append(2, [0, 0], [configurationEntry(2, 5)]), idOf(3));
    const reported = follower.world.member(2).outputs.flatMap(({ configuration }) => configuration ?? []);
    expect(reported.map(({ configuration }) => configuration.voters.length)).toEqual([4, 5]);
  });
});
