// Owns a small world for tests of the core: N cores, a message queue that the test empties, disks that sync when told.
// Everything is delivered in order; the simulator (test/raft/simulation) is the place for disorder.

import { foundingConfiguration } from "../../../../../lib/dcs/raft/core/configuration.ts";
import { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { LogEntry, Outgoing, Output, RaftEvent, RaftStart, SnapshotMeta } from "../../../../../lib/dcs/raft/core/types.ts";
import { logIndex, type MemberId, memberId, type RaftMember, term } from "../../../../../lib/model/raft.ts";

export const TIMINGS = { heartbeatMs: 100, electionMinMs: 500, electionMaxMs: 1000 } as const;

export function idOf(number: number): MemberId {
  return memberId(String(number).padStart(32, "0")) as MemberId;
}

export function memberOf(number: number): RaftMember {
  return { id: idOf(number), address: `host${number}:2380` };
}

export function founding(count: number): SnapshotMeta {
  const members = Array.from({ length: count }, (_, index) => memberOf(index + 1));
  return { index: logIndex(0), term: term(0), time: 0, configuration: foundingConfiguration(members), configurationIndex: logIndex(0) };
}

/** Draws that repeat in every run; spread out, so that two members seldom choose the same moment. */
export function draws(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export interface CoreMember {
  readonly raft: Raft;
  readonly committed: LogEntry[];
  readonly outputs: Output[];
  unsynced: number[];
  timerAt: number;
}

export class CoreWorld {
  readonly members = new Map<MemberId, CoreMember>();
  /** Messages that nobody has received yet. */
  queue: (Outgoing & { readonly from: MemberId })[] = [];
  /** Neither sends nor receives. */
  readonly cut = new Set<MemberId>();
  /** Their disks sync nothing while they are in here. */
  readonly slow = new Set<MemberId>();
  now = 1000;

  constructor(count: number) {
    for (let number = 1; number <= count; number++) this.add(number, founding(count));
  }

  add(number: number, snapshot: SnapshotMeta, start: Partial<RaftStart> = {}): CoreMember {
    const raft = new Raft({
      id: idOf(number),
      timings: TIMINGS,
      random: draws(number),
      now: this.now,
      hardState: { term: term(0), votedFor: null },
      snapshot,
      snapshotSize: 0,
      entries: [],
      log: "whole",
      ...start,
    });
    const member: CoreMember = { raft, committed: [], outputs: [], unsynced: [], timerAt: this.now };
    this.members.set(idOf(number), member);
    return member;
  }

  member(number: number): CoreMember {
    return this.members.get(idOf(number)) as CoreMember;
  }

  step(id: MemberId, ...events: RaftEvent[]): Output {
    const member = this.members.get(id) as CoreMember;
    const output = member.raft.step(this.now, events);
    member.outputs.push(output);
    member.committed.push(...output.committed);
    member.timerAt = output.timerAt;
    if (output.writes !== null) member.unsynced.push(output.writes.sequence);
    for (const message of output.messages) this.queue.push({ ...message, from: id });
    return output;
  }

  /** Delivers and syncs until nothing moves any more. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      const messages = this.queue;
      this.queue = [];
      for (const { from, to, message } of messages) {
        if (this.cut.has(from) || this.cut.has(to) || !this.members.has(to)) continue;
        this.step(to, { kind: "message", from, message });
      }
      const synced = [...this.members].filter(([id]) => !this.slow.has(id));
      for (const [id, member] of synced) {
        const sequence = member.unsynced.at(-1);
        member.unsynced = [];
        if (sequence !== undefined) this.step(id, { kind: "written", sequence });
      }
      if (this.queue.length === 0 && synced.every(([, member]) => member.unsynced.length === 0)) return;
    }
    throw new Error("the world does not come to rest");
  }

  /** Lets time pass; each member is stepped at its own timers. */
  run(durationMs: number): void {
    const end = this.now + durationMs;
    for (;;) {
      let next = end;
      for (const { timerAt } of this.members.values()) next = Math.min(next, Math.max(timerAt, this.now + 1));
      this.now = next;
      for (const [id, member] of this.members) if (member.timerAt <= this.now) this.step(id, { kind: "tick" });
      this.settle();
      if (this.now >= end) return;
    }
  }

  /** The one leader of the highest term. */
  leader(): MemberId {
    const leaders = [...this.members].filter(([id, member]) => member.raft.role.role === "leader" && !this.cut.has(id));
    leaders.sort(([, a], [, b]) => b.raft.role.term - a.raft.role.term);
    const first = leaders[0];
    if (first === undefined) throw new Error("nobody leads");
    return first[0];
  }

  payloads(number: number): readonly string[] {
    return this.member(number)
      .committed.filter((entry) => entry.kind === "command")
      .map((entry) => new TextDecoder().decode(entry.payload));
  }
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
