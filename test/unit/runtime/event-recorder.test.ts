// Goal: what is told is what happened, once, with the rule and its facts. Method: decisions and observations by hand.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { EVENT_KINDS, type NodeEvent } from "../../../lib/model/event.ts";
import { lsn, ms } from "../../../lib/model/units.ts";
import { EventLog } from "../../../lib/runtime/event-log.ts";
import { EventRecorder } from "../../../lib/runtime/event-recorder.ts";
import { answer, cluster, leading, local, observation, primaryStatus, released, unlocked } from "../core/observations.ts";

function open() {
  const log = new EventLog({ scope: "demo", name: "b", wallNow: () => 1_700_000_000_000 });
  const around: { fencing: "armed" | "off"; raft: { role: string; term: number } | null } = { fencing: "off", raft: null };
  const recorder = new EventRecorder(log, { fencing: () => around.fencing, raft: () => around.raft });
  const told = (): readonly NodeEvent[] => log.since(null).events.map(({ json }) => JSON.parse(json));
  const decided = (o: Observation) => recorder.decided(decide(o), o);
  return { recorder, told, decided, around, kinds: () => told().map(({ kind }) => kind) };
}

/** b sees the free lock; c answered that it has more WAL. */
const losing = observation({
  cluster: unlocked,
  trace: released,
  done: [{ kind: "ask-peers", ok: true, message: "" }],
  peers: { answers: [answer("c", { lsn: lsn(5000) }), { name: "d", status: null, askedAt: ms(1) }] },
});

describe("events of decisions", () => {
  test("name the rule and the facts that it decided on", () => {
    const { decided, told, recorder } = open();
    expect(JSON.parse(decided(losing) ?? "null")).toEqual(told().at(-1));
    expect(told().at(-1)).toMatchObject({
      id: expect.stringMatching(/^[0-9a-z]+-\d+$/),
      time: "2023-11-14T22:13:20.000Z",
      scope: "demo",
      name: "b",
      kind: "decision",
      rule: "race-not-healthiest",
      text: "following a different leader because i am not the healthiest node: Wal position of c is ahead of my wal position",
      effect: "wait",
      facts: {
        dcs: "reachable",
        lock: "free",
        leader: null,
        wal: "0/3E8",
        timeline: 1,
        published_wal: "0/3E8",
        answers: { c: { state: "running", role: "replica", timeline: 1, wal: "0/1388" }, d: null },
      },
    });
    expect(recorder.lastRace?.json).toBe(JSON.stringify(told().at(-1)));
  });

  test("are told when something else is decided, not in each cycle, and not where rules take turns", () => {
    const { decided, kinds } = open();
    const asking = observation({ cluster: unlocked, trace: released });
    for (let round = 0; round < 50; round += 1) {
      decided(asking);
      decided(losing);
    }
    expect(kinds().filter((kind) => kind === "decision").length).toBe(2);
    const steady = open();
    for (let round = 0; round < 50; round += 1) steady.decided(leading());
    expect(steady.kinds().filter((kind) => kind === "decision").length).toBeLessThanOrEqual(1);
  });

  test("are told again after something has happened", () => {
    const { decided, kinds, recorder } = open();
    decided(losing);
    recorder.taskEnded({ kind: "start", ok: true, message: "", took: ms(120) });
    decided(losing);
    expect(kinds().slice(-3)).toEqual(["decision", "task", "decision"]);
  });
});

describe("events of what changes", () => {
  test("a failover as its winner sees it", () => {
    const { decided, told } = open();
    decided(observation());
    decided(observation({ cluster: unlocked, trace: released }));
    decided(leading({ local: local({ status: primaryStatus(), lastRole: "primary", state: "running" }) }));
    const changes = told().filter(({ kind }) => kind !== "decision");
    expect(changes.map(({ text }) => text)).toEqual([
      "a leads",
      "PostgreSQL: running",
      "PostgreSQL is a replica",
      "a has left",
      "nobody leads any more; it was a",
      "a has joined",
      "b leads",
      "PostgreSQL is a primary",
    ]);
  });

  test("the store, a pause, a request, the sync key", () => {
    const { decided, told } = open();
    const before = observation();
    decided(before);
    const view = cluster({
      failover: { revision: 3 as never, leader: "a", candidate: "b", scheduledAt: null, scheduledAtText: null },
      sync: { ...cluster().sync, leader: "a", standbys: ["b"] },
    });
    decided(observation({ cluster: view, config: { ...before.config, pause: true } }));
    decided(
      observation({
        dcs: { kind: "unreachable", since: ms(1), cluster: view, reason: "no answer" },
        config: { ...before.config, pause: true },
      }),
    );
    const texts = told()
      .filter(({ kind }) => ["dcs", "pause", "request", "sync"].includes(kind))
      .map(({ text }) => text);
    expect(texts).toEqual([
      "the cluster is paused",
      "a switchover from a to b was asked for",
      "synchronous standbys: b",
      "the DCS is out of reach: no answer",
    ]);
  });

  test("fencing and the Raft's standing, looked at after a cycle", () => {
    const { recorder, around, told } = open();
    recorder.cycleEnded();
    around.fencing = "armed";
    around.raft = { role: "leader", term: 4 };
    recorder.cycleEnded();
    recorder.cycleEnded();
    expect(told().map(({ text }) => text)).toEqual(["PostgreSQL is fenced", "the member of the Raft is leader in term 4"]);
  });

  test("what failed, once", () => {
    const { recorder, told } = open();
    for (let round = 0; round < 3; round += 1)
      recorder.performed({ kind: "acquire-lock", ok: false, message: "the condition did not hold", took: ms(3) });
    recorder.performed({ kind: "acquire-lock", ok: true, message: "", took: ms(3) });
    recorder.taskEnded({ kind: "clone", ok: false, message: "x".repeat(5000), took: ms(2500) });
    expect(told().map(({ kind }) => kind)).toEqual(["effect", "task"]);
    expect(told()[1]).toMatchObject({ task: "clone", ok: false, seconds: 2.5 });
    expect(told()[1]?.text.length).toBeLessThan(2100);
  });
});

test("the list of kinds has each kind of the union once", () => {
  expect(new Set(EVENT_KINDS).size).toBe(EVENT_KINDS.length);
  const all: Record<NodeEvent["kind"], true> = {
    supervisor: true,
    decision: true,
    effect: true,
    task: true,
    leader: true,
    role: true,
    state: true,
    failover: true,
    request: true,
    dcs: true,
    pause: true,
    sync: true,
    members: true,
    fencing: true,
    raft: true,
    backup: true,
  };
  expect([...EVENT_KINDS].sort()).toEqual(Object.keys(all).sort() as never);
});
