// Checks what a node remembers of its lock when snapshots say otherwise, and the word for its role while its PostgreSQL is down.

import { expect, test } from "bun:test";
import { ms, revision } from "../../../lib/model/units.ts";
import { NodeState } from "../../../lib/runtime/node-state.ts";
import { postgresRole, postgresState } from "../../../lib/runtime/postgres-words.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { CONFIG, cluster } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const held = { session: "s-b", revision: revision(8), confirmedAt: ms(0), promisedMs: ms(30_000) };

async function holder(): Promise<NodeState> {
  const node = { ...(await loadTemplate()), name: "b" };
  const state = new NodeState(new ManualClock(), { node, dynamic: CONFIG });
  state.applyCluster(cluster({ leader: { name: "b", session: "s-b", revision: revision(8) } }));
  state.hold(held);
  return state;
}

test("a lock that somebody else was seen to hold is not held any more: its mark is followed again, its session renewed", async () => {
  const state = await holder();
  expect(state.leads()).toBe(true);
  state.applyCluster(cluster({ leader: { name: "a", session: "s-a", revision: revision(11) }, revision: revision(11) }));
  expect(state.held).toBeNull();
  expect(state.leads()).toBe(false);
});

test("a lock that vanished keeps its lease, and does not count as led", async () => {
  const state = await holder();
  state.applyCluster(cluster({ leader: null, revision: revision(11) }));
  expect(state.leads()).toBe(false);
  expect(state.leaseValid()).toBe(true);
});

test("a lease that a former process left is held from then on: what pre_promote says under it counts (simulation, seed 164)", async () => {
  const node = { ...(await loadTemplate()), name: "b" };
  const clock = new ManualClock();
  const state = new NodeState(clock, { node, dynamic: CONFIG });
  expect(state.heldSince).toBeNull();
  state.recall(held, ms(20_000));
  const since = state.heldSince;
  expect(since).toBe(clock.now());
  state.hold(held);
  expect(state.heldSince).toBe(since);
});

test("a snapshot from before the acquisition takes nothing away", async () => {
  const state = await holder();
  state.hold({ ...held, session: "s-new", revision: revision(20) });
  state.applyCluster(cluster({ leader: { name: "a", session: "s-a", revision: revision(11) }, revision: revision(11) }));
  expect(state.leads()).toBe(true);
});

test("each snapshot that is taken is told, whoever read it; an older one is not", async () => {
  const state = await holder();
  const told: number[] = [];
  state.onCluster = (view) => void told.push(view.revision);
  state.applyCluster(cluster({ revision: revision(12) }));
  state.applyCluster(cluster({ revision: revision(11) }));
  expect(told).toEqual([12]);
});

test("a primary that does not run is called one while its lease runs, or where somebody else stopped it; demoted where the lead is given away", async () => {
  const state = await holder();
  state.local.dataDirectory = { kind: "valid", majorVersion: 15 };
  state.local.lastRole = "primary";
  state.local.process = { kind: "none" };
  state.local.crashedAt = ms(0);
  expect([postgresState(state), postgresRole(state)]).toEqual(["crashed", "primary"]);
  const finished = { finishedAt: ms(0), ok: true, message: "", failures: 0, plan: null } as const;
  state.lastTask = { ...finished, kind: "hand-over" };
  expect(postgresRole(state)).toBe("demoted");
  state.lastTask = null;
  // Nobody may take a crashed one whose lease is over for one that may come back to write.
  state.held = null;
  expect([postgresState(state), postgresRole(state)]).toEqual(["crashed", "replica"]);
  state.local.crashedAt = null;
  expect([postgresState(state), postgresRole(state)]).toEqual(["stopped", "primary"]);
  state.local.lastRole = "replica";
  expect(postgresRole(state)).toBe("replica");
});

test("who makes a copy or a new cluster has no role until that runs, whatever it was before", async () => {
  const state = await holder();
  state.held = null;
  state.local.dataDirectory = { kind: "valid", majorVersion: 15 };
  state.local.lastRole = "replica";
  const task = { startedAt: ms(0), aborting: false, controller: new AbortController(), settled: Promise.resolve() };
  state.task = { ...task, kind: "clone" };
  expect([postgresState(state), postgresRole(state)]).toEqual(["creating replica", "uninitialized"]);
  state.task = { ...task, kind: "bootstrap" };
  state.local.process = { kind: "running", pid: 1, startTicks: 1, stopped: false };
  expect([postgresState(state), postgresRole(state)]).toEqual(["starting", "primary"]);
  const { node } = state.settings;
  const from = (methodOptions: Readonly<Record<string, unknown>>): string => {
    state.settings = { ...state.settings, node: { ...node, bootstrap: { ...node.bootstrap, method: "restore", methodOptions } } };
    return `${postgresRole(state)}, ${postgresState(state)}`;
  };
  expect(from({ command: "/restore" })).toBe("primary, starting after custom bootstrap");
  expect(from({ command: "/restore", recovery_conf: { restore_command: "cp" } })).toBe("replica, starting after custom bootstrap");
  expect(from({ command: "/restore", keep_existing_recovery_conf: true })).toBe("replica, starting after custom bootstrap");
});
