// Goal: while a cluster is upgraded nobody leads but the node that upgrades, and only with the data that is meant to serve; standbys have the
// last WAL before they stop; the cluster's new identifier ends no supervisor. Method: as for a restore, with which it shares its rules.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { UPGRADE_PHASES, type UpgradeRequest, unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import { CONFIG, cluster, leading, local, member, observation, primaryStatus, status } from "./observations.ts";

const NONE = { kind: "none" } as const;
const stopped = { process: NONE, status: null };
const upgraded = { ...stopped, dataDirectory: { kind: "half-made", by: "upgraded" } as const };
const OURS = { name: "b", session: "s-b", revision: revision(4) };
const THEIRS = { name: "a", session: "s-a", revision: revision(4) };
const OLD = "7300000000000000001";
const NEW = "7300000000000000002";
const WELL = { major: 15, against: "", notes: "" };
const LOOKED = { a: WELL, b: WELL, c: WELL };
const { lock } = leading();
const wrote = [{ kind: "write-restore" as const, ok: false, message: "" }];
const rule = (o: Observation): string => decide(o).rule;

function request(fields: Partial<UpgradeRequest> = {}): UpgradeRequest {
  return {
    ...unreadableUpgrade(revision(20)),
    ...{ id: "20260131-120000", phase: "stop", node: "b", fromMajor: 13, toMajor: 15, binDir: "/15/bin" },
    ...{ fromIdentifier: OLD, identifier: null, message: null, checkpoint: lsn(900), checked: LOOKED },
    ...fields,
  };
}

/** Node b, which upgrades, with the lock and its PostgreSQL down; the others down as well. */
function upgrading(fields: Partial<UpgradeRequest>, over: Parameters<typeof observation>[0] = {}): Observation {
  const members = [member("a", { state: "stopped" }), member("b", { state: "stopped" }), member("c", { state: "stopped" })];
  const view = cluster({ leader: OURS, members, initialize: OLD, upgrade: request(fields) });
  return observation({ cluster: view, lock, local: local(stopped), ...over });
}

/** Node b as a standby beside a, which upgrades. */
function beside(fields: Partial<UpgradeRequest>, over: Parameters<typeof observation>[0] = {}): Observation {
  return observation({ cluster: cluster({ upgrade: request({ node: "a", ...fields }) }), ...over });
}

test("the look before it, and one that is over, change nothing of what is decided", () => {
  for (const phase of ["check", "done"] as const) {
    expect(decide(beside({ phase }))).toEqual(decide(observation({ cluster: cluster() })));
    expect(rule(leading({ cluster: cluster({ leader: OURS, upgrade: request({ phase }) }) }))).toBe(rule(leading()));
  }
});

test("the primary stops first; the standbys go on until they have its last WAL, and the work begins only when all of them have it", () => {
  const running = leading({ cluster: cluster({ leader: OURS, upgrade: request() }) });
  expect(decide(running)).toMatchObject({ rule: "restore-stop", effect: { kind: "stop", mode: "fast" } });
  expect(decide(upgrading({}))).toMatchObject({
    rule: "restore-stopped",
    effect: { kind: "write-restore", of: "upgrade", phase: "drain" },
  });
  expect(rule(beside({}))).toBe("restore-drain");
  expect(rule(beside({ phase: "drain" }))).toBe("restore-drain");
  expect(rule(beside({ phase: "drain", received: ["b"] }))).toBe("restore-stop");
  // Nothing more comes to who has lost its connection.
  const cutOff = (since: number) => beside({ phase: "drain" }, { local: local({ notStreamingSince: ms(since) }) });
  expect([rule(cutOff(99_000)), rule(cutOff(90_000))]).toEqual(["restore-drain", "restore-stop"]);
  const begin = (received: readonly string[]) => decide(upgrading({ phase: "drain", received })).effect;
  expect(begin(["a", "c"])).toEqual({ kind: "write-restore", of: "upgrade", phase: "upgrade" });
  expect(begin(["a"])).toEqual({ kind: "write-restore", of: "upgrade", phase: "failed" });
  // Whoever came when it had begun has nothing to lose; whoever had data and is gone meanwhile may come back with less than it should have.
  const later = (checked: UpgradeRequest["checked"]) => decide(upgrading({ phase: "drain", received: ["a"], checked })).effect;
  expect(later({ a: WELL, b: WELL })).toMatchObject({ phase: "upgrade" });
  expect(later({ a: WELL, b: WELL, gone: WELL })).toMatchObject({ phase: "failed" });
  expect(rule({ ...upgrading({ phase: "drain", received: ["a", "c"] }), done: wrote })).toBe("restore-wait");
  // A primary that was killed while it stopped has made no shutdown checkpoint that anybody could wait for.
  expect(rule(beside({ phase: "drain", checkpoint: null }))).toBe("restore-stop");
  expect(decide(upgrading({ phase: "drain", checkpoint: null })).effect).toMatchObject({ phase: "upgrade" });
  // On the way back nobody needs what the new version has written.
  expect(rule(beside({ direction: "back" }))).toBe("restore-stop");
  expect(decide(upgrading({ phase: "drain", direction: "back" })).effect).toMatchObject({ phase: "upgrade" });
});

test("the node works, takes into use what was made known, and puts back what is undone", () => {
  expect(decide(upgrading({ phase: "upgrade" })).effect).toEqual({ kind: "restore", step: "forward" });
  expect(rule(upgrading({ phase: "clone", identifier: NEW }, { local: local(upgraded) }))).toBe("restore-finish");
  expect(decide(upgrading({ phase: "undo" })).effect).toEqual({ kind: "restore", step: "back" });
  const failed = decide(upgrading({ phase: "failed", message: "no disk" }));
  expect(failed.why).toContain("ctl upgrade --run or --rollback): no disk");
  // However often it is looked at, an operator is told once, and again once a minute.
  expect(failed.effect).toMatchObject({ kind: "wait", toldEvery: 60_000 });
  const task = { kind: "restore", startedAt: ms(90_000), aborting: false } as const;
  expect(rule(upgrading({ phase: "upgrade" }, { task }))).toBe("task-wait");
  expect(rule(upgrading({ phase: "undo" }, { task }))).toBe("task-restore-over");
});

test("others copy only who serves under the new identifier, and whom it is for: the old cluster is never copied over anything", () => {
  const at = (initialize: string, leader: string, fields: Partial<UpgradeRequest> = {}, over: Parameters<typeof local>[0] = {}) => {
    const members = ["a", "b", "c"].map((name) => member(name, name === leader ? { role: "primary", timeline: timeline(1) } : {}));
    const upgrade = request({ node: "a", phase: "clone", identifier: NEW, ...fields });
    const view = cluster({ leader: { ...THEIRS, name: leader }, members, initialize, upgrade });
    return observation({ cluster: view, local: local({ ...stopped, systemIdentifier: OLD, ...over }) });
  };
  expect(decide(at(NEW, "a"))).toMatchObject({ rule: "restore-clone", effect: { kind: "clone", clear: true, restore: "20260131-120000" } });
  expect(rule(at(OLD, "a"))).toBe("restore-wait");
  expect(rule(at(NEW, "c"))).toBe("restore-wait");
  expect(rule(at(NEW, "c", { cloned: ["c"] }))).toBe("restore-clone");
  // Taken back: the old identifier is the one that serves again.
  expect(rule(at(NEW, "a", { direction: "back" }))).toBe("restore-wait");
  expect(rule(at(OLD, "a", { direction: "back" }, { systemIdentifier: NEW }))).toBe("restore-clone");
});

test("a member of the old identifier is not ended while it waits for its copy; one that comes back when all is over is, and is told why", () => {
  const view = (phase: "clone" | "done") =>
    cluster({ leader: THEIRS, initialize: NEW, upgrade: request({ node: "a", phase, identifier: NEW }) });
  const at = (phase: "clone" | "done") => observation({ cluster: view(phase), local: local({ ...stopped, systemIdentifier: OLD }) });
  expect(decide(at("clone")).effect.kind).not.toBe("exit");
  expect(decide(at("done"))).toMatchObject({ rule: "system-identifier-mismatch", why: expect.stringContaining("/15/bin") });
});

test("it is done when everybody here has copied, and the statistics are there", () => {
  const at = (fields: Partial<UpgradeRequest>, systemIdentifier = NEW) =>
    leading({
      cluster: cluster({ leader: OURS, initialize: NEW, upgrade: request({ phase: "clone", identifier: NEW, ...fields }) }),
      local: local({ status: primaryStatus(), lastRole: "primary", upstream: "", systemIdentifier }),
    });
  expect(decide(at({ cloned: ["a", "c"], analyzed: true }))).toMatchObject({
    rule: "restore-done",
    effect: { kind: "write-restore", of: "upgrade", phase: "done" },
  });
  for (const o of [at({ cloned: ["a", "c"] }), at({ cloned: ["a"], analyzed: true }), at({ cloned: ["a", "c"], analyzed: true }, OLD)])
    expect(rule(o)).not.toBe("restore-done");
});

test("while the DCS is away nobody is started who stays down: a server that was stopped as a standby cannot be upgraded", () => {
  const away = (o: Observation): Observation => ({
    ...o,
    dcs: { kind: "unreachable", since: ms(99_000), cluster: o.dcs.cluster, reason: "silence" },
  });
  for (const phase of ["stop", "drain", "upgrade", "failed", "undo"] as const) {
    expect(rule(away(upgrading({ phase })))).toBe("outage-wait");
    expect(rule(away(beside({ phase }, { local: local(stopped) })))).toBe("outage-wait");
  }
  // Its copy is there: it is a standby like any other.
  expect(rule(away(beside({ phase: "clone" }, { local: local(stopped) })))).toBe("outage-wait");
  expect(rule(away(beside({ phase: "clone", cloned: ["b"] }, { local: local(stopped) })))).toBe("outage-start-standby");
  expect(rule(away(beside({ phase: "done" }, { local: local(stopped) })))).toBe("outage-start-standby");
});

test("garbage has nobody start or race who is down, and stops nobody who runs", () => {
  const upgrade = unreadableUpgrade(revision(20));
  for (const leader of [null, THEIRS])
    expect(decide(observation({ cluster: cluster({ leader, upgrade }), local: local(stopped) })).why).toContain("ctl upgrade --abandon");
  expect(decide(observation({ cluster: cluster({ upgrade }) })).effect).toEqual(decide(observation({ cluster: cluster() })).effect);
});

test("no random moment of an upgrade has a node race, promote or found anything, or start or copy over what it may not", () => {
  const directory = fc.constantFrom<Observation["local"]["dataDirectory"]>(
    { kind: "absent" },
    { kind: "valid", majorVersion: 13 },
    { kind: "half-made", by: "upgrade" },
    { kind: "half-made", by: "upgraded" },
  );
  const moments = fc.record({
    runs: fc.boolean(),
    directory,
    phase: fc.constantFrom(...UPGRADE_PHASES.filter((phase) => phase !== "check" && phase !== "done")),
    direction: fc.constantFrom("forward" as const, "back" as const),
    node: fc.constantFrom("a", "b"),
    leader: fc.constantFrom(null, "a", "b"),
    initialize: fc.constantFrom(OLD, NEW),
    primary: fc.boolean(),
    received: fc.constantFrom<readonly string[]>([], ["b"], ["a", "b", "c"]),
    cloned: fc.constantFrom<readonly string[]>([], ["b"]),
    away: fc.boolean(),
    pause: fc.boolean(),
  });
  fc.assert(
    fc.property(moments, (r) => {
      const owner = r.leader === null ? null : { ...THEIRS, name: r.leader, session: `s-${r.leader}` };
      const facts = r.runs ? (r.primary ? primaryStatus() : status()) : null;
      const { phase, direction, node, received, cloned, initialize } = r;
      const view = cluster({ leader: owner, initialize, upgrade: request({ phase, direction, node, received, cloned, identifier: NEW }) });
      const o = observation({
        cluster: view,
        ...(r.away ? { dcs: { kind: "unreachable", since: ms(99_000), cluster: view, reason: "silence" } as const } : {}),
        config: { ...CONFIG, pause: r.pause },
        lock: r.leader === "b" ? lock : { held: null },
        local: local({
          process: r.runs ? { kind: "running", pid: 1, startTicks: 1, stopped: false } : NONE,
          ...{ dataDirectory: r.directory, status: facts, lastRole: r.primary ? "primary" : "replica", systemIdentifier: OLD },
        }),
      });
      const { effect } = decide(o);
      const isFinishing = r.directory.kind === "half-made" && r.directory.by === "upgraded";
      const onNewData = phase === "clone" && (node === "b" ? !isFinishing : cloned.includes("b"));
      if (onNewData) return;
      expect(["promote", "pre-promote", "claim-initialize", "bootstrap", "rewind", "start", "follow", "exit"]).not.toContain(effect.kind);
      if (effect.kind === "restore") expect([node, r.leader, r.runs, r.away]).toEqual(["b", "b", false, false]);
      if (effect.kind === "clone") expect([phase, initialize, r.leader]).toEqual(["clone", direction === "back" ? OLD : NEW, "a"]);
    }),
    { numRuns: 3000 },
  );
});
