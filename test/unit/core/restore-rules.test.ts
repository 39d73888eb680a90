// Goal: while a cluster is restored nobody leads but the node that restores, nothing of PostgreSQL runs that should not, and every
// phase goes on from whatever a crash left. Method: each rule at the observation that it is for, and random ones for what must never be.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { RESTORE_PHASES, type RestoreRequest, unreadableRestore } from "../../../lib/model/restore.ts";
import { ms, revision, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { CONFIG, cluster, leading, local, member, observation, primaryStatus, status, unlocked } from "./observations.ts";

const NONE = { kind: "none" } as const;
const stopped = { process: NONE, status: null };
const halfMade = { ...stopped, dataDirectory: { kind: "half-made", by: "restored" } as const };
const OURS = { name: "b", session: "s-b", revision: revision(4) };
const { lock } = leading();

function request(fields: Partial<RestoreRequest> = {}): RestoreRequest {
  return {
    revision: revision(20),
    id: "20260131-120000",
    phase: "stop",
    direction: "forward",
    node: "b",
    label: "20260131-110000F",
    target: null,
    recoveryTimeline: "latest",
    timeline: null,
    cloned: [],
    message: null,
    ...fields,
  };
}

/** Node b, the one that restores, with the lock and its PostgreSQL down; the others down as well. */
function restoring(fields: Partial<RestoreRequest>, over: Parameters<typeof observation>[0] = {}): Observation {
  const members = [member("a", { state: "stopped" }), member("b", { state: "stopped" }), member("c", { state: "stopped" })];
  return observation({ cluster: cluster({ leader: OURS, members, restore: request(fields) }), lock, local: local(stopped), ...over });
}

/** Node b beside a, which restores and holds the lock. */
function beside(fields: Partial<RestoreRequest>, over: Parameters<typeof observation>[0] = {}): Observation {
  return observation({ cluster: cluster({ restore: request({ node: "a", ...fields }) }), ...over });
}

const rule = (o: Observation): string => decide(o).rule;
const wrote = [{ kind: "write-restore" as const, ok: false, message: "" }];

describe("the node that restores", () => {
  test("stops its primary with the lock, and begins when every member says that it is stopped", () => {
    const running = leading();
    const view = { ...cluster({ leader: OURS }), restore: request() };
    expect(decide({ ...running, dcs: { kind: "reachable", cluster: view, readAt: ms(99_990) } })).toMatchObject({
      rule: "restore-stop",
      // No longer than its lease of 28 s, less the time that an immediate stop takes.
      effect: { kind: "stop", mode: "fast", within: 27_000 },
    });
    // Nobody is to lead sooner for a stop by force, and an upgrade needs the shutdown checkpoint.
    const config = { ...CONFIG, synchronousMode: "on" as const, primaryStopTimeoutMs: ms(1_000) };
    const stop = decide({ ...running, config, dcs: { kind: "reachable", cluster: view, readAt: ms(99_990) } }).effect;
    expect(stop).toEqual({ kind: "stop", mode: "fast", within: ms(27_000) });
    const waiting = restoring({}, { cluster: cluster({ leader: OURS, restore: request() }) });
    expect(decide(waiting)).toMatchObject({ rule: "restore-wait", why: expect.stringContaining("waiting until a, c is stopped") });
    expect(decide(restoring({}))).toMatchObject({ rule: "restore-begin", effect: { kind: "write-restore", phase: "restore" } });
    expect(rule({ ...restoring({}), done: wrote })).toBe("restore-wait");
  });

  test("restores, takes into use what was made known, and puts back what is undone", () => {
    expect(decide(restoring({ phase: "restore" })).effect).toEqual({ kind: "restore", step: "forward" });
    const finish = restoring({ phase: "clone", timeline: 2 }, { local: local(halfMade) });
    expect(decide(finish)).toMatchObject({ rule: "restore-finish", effect: { kind: "restore", step: "forward" } });
    expect(decide(restoring({ phase: "undo" })).effect).toEqual({ kind: "restore", step: "back" });
  });

  test("on the way back of what has led goes through the same phases, with the data from before in place of the backup", () => {
    const on = { direction: "back", timeline: 2 } as const;
    expect(decide(restoring({ ...on }))).toMatchObject({ rule: "restore-begin", effect: { kind: "write-restore", phase: "restore" } });
    expect(decide(restoring({ ...on, phase: "restore" }))).toMatchObject({
      effect: { kind: "restore", step: "forward" },
      why: "the cluster is taken back to before restore 20260131-120000",
    });
    expect(decide(restoring({ ...on, phase: "undo" })).effect).toEqual({ kind: "restore", step: "back" });
    expect(rule(beside({ ...on, phase: "restore" }, { local: local(stopped) }))).toBe("restore-wait");
  });

  test("does nothing before its lock is confirmed, takes a free one again, and gives one up that is not for it", () => {
    const over = { held: { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(99_000) } };
    expect(rule(restoring({ phase: "restore" }, { lock: over }))).toBe("restore-renew");
    const inVain = [{ kind: "renew-lock" as const, ok: false, message: "" }];
    expect(rule(restoring({ phase: "restore" }, { lock: over, done: inVain }))).toBe("restore-unconfirmed");
    const free = cluster({ leader: null, restore: request({ phase: "restore" }) });
    expect(decide(restoring({}, { cluster: free, lock: { held: null } })).effect).toEqual({ kind: "acquire-lock" });
    expect(decide(restoring({ node: "a" }))).toMatchObject({ rule: "restore-yield", effect: { kind: "release-lock" } });
  });

  test("gives up what it restores once an operator has taken it back, and waits for it otherwise", () => {
    const task = { kind: "restore", startedAt: ms(90_000), aborting: false } as const;
    expect(decide(restoring({ phase: "undo" }, { task }))).toMatchObject({ rule: "task-restore-over", effect: { kind: "abort-task" } });
    expect(rule(restoring({ phase: "done" }, { task }))).toBe("task-restore-over");
    expect(rule(restoring({ phase: "undo" }, { task: { ...task, aborting: true } }))).toBe("task-wait");
    expect(rule(restoring({ phase: "restore" }, { task }))).toBe("task-wait");
    const back = { ...task, step: "back" } as const;
    expect(rule(restoring({ phase: "undo" }, { task: back }))).toBe("task-wait");
    expect(rule(restoring({ phase: "done" }, { task: back }))).toBe("task-restore-over");
  });

  test("waits for an operator where it failed, and for the resumption of a paused cluster", () => {
    expect(decide(restoring({ phase: "failed", message: "no disk" }))).toMatchObject({
      rule: "restore-wait",
      why: expect.stringContaining("no disk"),
    });
    expect(rule(restoring({ phase: "restore" }, { config: { ...CONFIG, pause: true } }))).toBe("restore-paused");
  });

  test("leads with what was restored by the rules of every day, and is done when every member that is here has copied it", () => {
    expect(rule(restoring({ phase: "clone", timeline: 2 }))).toBe("holder-read-control");
    const members = [member("a"), member("b", { role: "primary" }), member("c")];
    const at = (cloned: readonly string[]) =>
      leading({
        cluster: cluster({ leader: OURS, members, restore: request({ phase: "clone", timeline: 2, cloned }) }),
        local: local({ status: primaryStatus({ timeline: timeline(2) }), lastRole: "primary", upstream: "" }),
      });
    expect(rule(at(["a"]))).not.toBe("restore-done");
    expect(decide(at(["a", "c"]))).toMatchObject({ rule: "restore-done", effect: { kind: "write-restore", phase: "done" } });
    expect(rule({ ...at(["a", "c"]), done: wrote })).not.toBe("restore-done");
  });
});

describe("once what was restored has led", () => {
  const restored = { phase: "clone", timeline: 2, cloned: ["b"] } as const;

  test("whoever leads it ends the restore: the node that restored it may be lost, and nobody's copy is waited for that is not needed", () => {
    const members = [member("a", { state: "stopped" }), member("b", { role: "primary" }), member("c")];
    const at = (cloned: readonly string[], facts = primaryStatus({ timeline: timeline(2) })) =>
      leading({
        cluster: cluster({ leader: OURS, members, restore: request({ ...restored, node: "a", cloned }) }),
        local: local({ status: facts }),
      });
    expect(rule(at(["b"]))).not.toBe("restore-done");
    expect(decide(at(["b", "c"]))).toMatchObject({ rule: "restore-done", effect: { kind: "write-restore", phase: "done" } });
    expect(rule(at(["b", "c"], primaryStatus({ timeline: timeline(1) })))).not.toBe("restore-done");
  });

  test("the node that restored takes no lock with a copy that is half-made, and copies like any other", () => {
    const clone = local({ ...stopped, dataDirectory: { kind: "half-made", by: "clone" } });
    const at = (leader: typeof OURS | null) =>
      restoring({}, { cluster: cluster({ leader, restore: request({ ...restored, cloned: ["a"] }) }), lock: { held: null }, local: clone });
    expect(decide(at(null)).effect.kind).not.toBe("acquire-lock");
    expect(decide(at({ name: "a", session: "s-a", revision: revision(4) })).effect).toMatchObject({ kind: "clone", target: { name: "a" } });
    const own = local(halfMade);
    expect(decide({ ...at(null), local: own }).effect.kind).toBe("acquire-lock");
  });
});

test("a request that cannot be read has nobody start or race who is down, and stops nobody who runs", () => {
  const restore = unreadableRestore(revision(20));
  const down = (leader: typeof OURS | null) => observation({ cluster: cluster({ leader, restore }), local: local(stopped) });
  for (const leader of [null, { name: "a", session: "s-a", revision: revision(4) }])
    expect(decide(down(leader))).toMatchObject({ rule: "restore-wait", why: expect.stringContaining("--abandon") });
  expect(rule(leading({ cluster: cluster({ leader: OURS, restore }) }))).toBe(rule(leading({ cluster: cluster({ leader: OURS }) })));
  expect(decide(observation({ cluster: cluster({ restore }) })).effect).toEqual(decide(observation({ cluster: cluster() })).effect);
});

describe("every other node", () => {
  test("stops its standby and stays down, also without a leader", () => {
    expect(decide(beside({}))).toMatchObject({ rule: "restore-stop", effect: { kind: "stop", mode: "fast" } });
    expect(rule(beside({ phase: "restore" }, { local: local(stopped) }))).toBe("restore-wait");
    const free = { ...unlocked, restore: request({ node: "a", phase: "restore" }) };
    expect(rule(observation({ cluster: free, local: local(stopped) }))).toBe("restore-wait");
  });

  test("copies whoever serves what was restored, and not the old cluster", () => {
    const view = (fields: Parameters<typeof member>[1], restore: Partial<RestoreRequest> = {}) =>
      cluster({
        members: [member("a", { role: "primary", ...fields }), member("b"), member("c")],
        restore: request({ node: "a", phase: "clone", timeline: 2, ...restore }),
      });
    const at = (view: ReturnType<typeof cluster>, over: Parameters<typeof observation>[0] = {}) =>
      observation({ cluster: view, local: local(stopped), ...over });
    expect(decide(at(view({ timeline: timeline(2) })))).toMatchObject({
      rule: "restore-clone",
      effect: { kind: "clone", methods: "basebackup", clear: true, restore: "20260131-120000", target: { name: "a" } },
    });
    expect(rule(at(view({ timeline: timeline(1) })))).toBe("restore-wait");
    expect(rule(at(view({ timeline: timeline(2), state: "starting" })))).toBe("restore-wait");
    const failed = { kind: "clone", finishedAt: ms(99_999), ok: false, message: "no", failures: 1, plan: null } as const;
    expect(rule(at(view({ timeline: timeline(2) }), { lastTask: failed }))).toBe("restore-clone-retry");
    // Once copied it is a standby like any other.
    expect(rule(at(view({ timeline: timeline(2) }, { cloned: ["b"] })))).toBe("rejoin-plan");
  });
});

test("no random moment of a restore has a node race, promote or found anything, or start PostgreSQL before it may", () => {
  const process = fc.constantFrom<Observation["local"]["process"]>(NONE, { kind: "running", pid: 1, startTicks: 1, stopped: false });
  const directory = fc.constantFrom<Observation["local"]["dataDirectory"]>(
    { kind: "absent" },
    { kind: "valid", majorVersion: 15 },
    { kind: "half-made", by: "restore" },
    { kind: "half-made", by: "restored" },
  );
  const phases = fc.constantFrom(...RESTORE_PHASES.filter((phase) => phase !== "done"));
  const moments = fc.record({
    process,
    directory,
    phase: phases,
    node: fc.constantFrom("a", "b"),
    leader: fc.constantFrom(null, "a", "b"),
    held: fc.constantFrom(null, 99_900, 128_000),
    primary: fc.boolean(),
    answers: fc.boolean(),
    cloned: fc.constantFrom<readonly string[]>([], ["b"]),
  });
  fc.assert(
    fc.property(moments, (r) => {
      const owner = r.leader === null ? null : { name: r.leader, session: `s-${r.leader}`, revision: revision(4) };
      const facts = r.process.kind === "none" || !r.answers ? null : r.primary ? primaryStatus() : status();
      const o = observation({
        cluster: cluster({ leader: owner, restore: request({ phase: r.phase, node: r.node, timeline: 2, cloned: r.cloned }) }),
        lock: {
          held: r.held === null ? null : { session: "s-b", revision: revision(4), confirmedAt: ms(99_000), leaseEndsAt: ms(r.held) },
        },
        local: local({ process: r.process, dataDirectory: r.directory, status: facts, lastRole: r.primary ? "primary" : "replica" }),
      });
      const { effect } = decide(o);
      const onNewLine =
        r.phase === "clone" &&
        (r.node === "b" ? r.directory.kind !== "half-made" || r.directory.by !== "restored" : r.cloned.includes("b"));
      if (onNewLine) return;
      expect(["promote", "pre-promote", "claim-initialize", "bootstrap", "rewind", "start", "follow"]).not.toContain(effect.kind);
      if (effect.kind === "acquire-lock") expect(r.node === "b" || r.primary).toBe(true);
      if (effect.kind === "restore") expect([r.node, r.leader, r.process.kind]).toEqual(["b", "b", "none"]);
    }),
    { numRuns: 3000 },
  );
});

describe("the mark of a way back that has begun on this disk", () => {
  const marked = (over: Parameters<typeof local>[0] = {}) => local({ ...stopped, wayBack: request().id, ...over });
  const at = (restore: RestoreRequest | null, over: Parameters<typeof observation>[0] = {}) =>
    observation({ cluster: cluster({ restore }), local: marked(), ...over });
  const back = (fields: Partial<RestoreRequest>) => request({ direction: "back", timeline: 2, ...fields });

  test("is settled before anything is started, raced for or copied where nobody goes on with that way back, or it is in force", () => {
    const over: readonly (RestoreRequest | null)[] = [
      null,
      back({ phase: "done", message: "abandoned" }),
      back({ phase: "clone" }),
      back({ phase: "done" }),
      request({ phase: "done" }),
      request({ phase: "stop" }),
      back({ id: "20260201-120000", phase: "stop" }),
      { ...unreadableRestore(revision(20)), phase: "done" },
    ];
    const absent = marked({ dataDirectory: { kind: "absent" } });
    for (const restore of over)
      for (const leader of [null, OURS, { name: "a", session: "s-a", revision: revision(4) }])
        for (const here of [marked(), absent])
          for (const pause of [false, true]) {
            const o = at(null, { cluster: cluster({ restore, leader }), local: here, config: { ...CONFIG, pause } });
            expect([restore, leader, decide(o).effect]).toEqual([restore, leader, { kind: "restore", step: "settle" }]);
          }
    const task = { kind: "restore", step: "settle", startedAt: ms(90_000), aborting: false } as const;
    expect(rule(at(null, { task }))).toBe("task-wait");
    const failed = { kind: "restore", finishedAt: ms(99_999), ok: false, message: "no", failures: 1, plan: null } as const;
    expect(decide(at(null, { lastTask: failed }))).toMatchObject({ rule: "way-back-retry", why: expect.stringContaining("no") });
  });

  test("says nothing to the phases of the way back itself, nor to a request that cannot be read", () => {
    for (const restore of [
      ...(["stop", "restore", "failed", "undo"] as const).map((phase) => back({ phase, node: "a" })),
      unreadableRestore(revision(20)),
    ])
      expect([restore.phase, rule(at(restore))]).toEqual([restore.phase, "restore-wait"]);
  });

  test("keeps everything from being started while the DCS is out of reach, and stops what runs with data that was given up", () => {
    const away = { kind: "unreachable", since: ms(99_000), cluster: cluster(), reason: "no" } as const;
    for (const pause of [false, true])
      expect(rule(observation({ dcs: away, local: marked(), config: { ...CONFIG, pause } }))).toBe("way-back-unknown");
    const runs = local({ wayBack: request().id });
    expect(decide(observation({ local: runs }))).toMatchObject({ rule: "way-back-stop", effect: { kind: "stop", mode: "fast" } });
    expect(rule(observation({ local: runs, cluster: cluster({ restore: back({ phase: "clone" }) }) }))).not.toContain("way-back");
  });
});
