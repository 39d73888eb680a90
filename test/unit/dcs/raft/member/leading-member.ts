// Owns a member that leads, for tests of what a leader does for others: an engine on a disk in memory, elected by peers that the test
// plays, which then fall silent or do not.

import { Raft } from "../../../../../lib/dcs/raft/core/raft.ts";
import type { Message } from "../../../../../lib/dcs/raft/core/types.ts";
import { Deadlines } from "../../../../../lib/dcs/raft/deadlines.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { Admin } from "../../../../../lib/dcs/raft/member/admin.ts";
import { Engine } from "../../../../../lib/dcs/raft/member/engine.ts";
import { Forwarder } from "../../../../../lib/dcs/raft/member/forwarder.ts";
import { Leadership } from "../../../../../lib/dcs/raft/member/leadership.ts";
import { Reads } from "../../../../../lib/dcs/raft/member/reads.ts";
import { Requests } from "../../../../../lib/dcs/raft/member/requests.ts";
import { logIndex, type RaftClusterId, raftClusterId, term } from "../../../../../lib/model/raft.ts";
import { err } from "../../../../../lib/model/result.ts";
import { steadyClock } from "../../../../conformance/steady-clock.ts";
import { FakeDisk } from "../../../../raft/fake-disk.ts";
import { founding, idOf, memberOf } from "../core/core-world.ts";
import { mustFound, SILENT } from "../storage/storage-fixtures.ts";

export const CLUSTER = raftClusterId("c".repeat(32)) as RaftClusterId;
export const clock = steadyClock();

/** What a voter says that follows whatever it is told. */
function answerTo(message: Message): Message | null {
  if (message.kind === "vote-request") {
    const purpose = message.purpose === "pre" ? "pre" : "election";
    return { kind: "vote-answer", purpose, term: message.term, verdict: "granted" };
  }
  if (message.kind !== "append") return null;
  const index = logIndex(message.previousIndex + message.entries.length);
  return { kind: "append-answer", term: message.term, outcome: "matched", index, damage: null, round: message.round };
}

/** Member 1 of so many, leading, with a committed entry of its term. It gives up once it has heard no majority for `electionMaxMs`. */
export async function leadingMember(count: number, electionMaxMs: number) {
  const peer: { state: "answers" | "silent" } = { state: "answers" };
  let { configuration } = founding(count);
  const led = Promise.withResolvers<void>();
  const timings = { heartbeatMs: 10, electionMinMs: 30, electionMaxMs };
  const start = { id: idOf(1), timings, random: () => 0, now: clock.now(), hardState: { term: term(0), votedFor: null } } as const;
  const machine = new KeyValueMachine();
  const engine = new Engine({
    raft: new Raft({ ...start, snapshot: founding(count), snapshotSize: 0, entries: [], log: "whole" }),
    storage: await mustFound(new FakeDisk()),
    machine,
    clock,
    log: SILENT,
    defer: (run) => void setImmediate(run),
    send: (to, frame) => {
      const answer = frame.kind === "raft" && peer.state === "answers" ? answerTo(frame.message) : null;
      if (answer !== null) engine.message(to, answer);
    },
    snapshots: { entries: 1000, bytes: 1e6 },
    onRole: () => {},
    onConfiguration: (next) => {
      configuration = next;
    },
    onApplied: () => led.resolve(),
    onFault: (reason) => led.reject(new Error(reason)),
  });
  const deadlines = new Deadlines(clock);
  const forwarder = new Forwarder({ send: () => {}, deadlines });
  const parts = { engine, machine, forwarder, clock, deadlines, leadership: new Leadership({ engine, forwarder, clock, deadlines }) };
  const requests = new Requests({ ...parts, reads: new Reads(parts), electionMaxMs, leader: () => null });
  const known = { self: memberOf(1), configuration: () => configuration, leader: () => null, clusterId: () => CLUSTER };
  const admin = new Admin({ ...parts, ...known, log: SILENT, requests, ask: () => Promise.resolve(err("nobody")) });
  engine.push({ kind: "tick" });
  await led.promise;
  return { peer, engine, admin, forwarder, known, stop: () => engine.stop("the test is over") };
}
