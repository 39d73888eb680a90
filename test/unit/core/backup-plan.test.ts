// Which node takes a scheduled backup when: a replica that runs, one at a time, what is due once and what failed a few times.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BACKUP_ATTEMPTS_MAX, type BackupFacts, backupStep, dueTime } from "../../../lib/core/backup-plan.ts";
import { scheduledBackups } from "../../../lib/core/scheduled-backups.ts";
import { BACKUP_TYPES, type BackupRecord, type BackupSchedule, type BackupState } from "../../../lib/model/backup-run.ts";
import { revision, seconds } from "../../../lib/model/units.ts";
import { unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import { withEnded, withFounded, withLost, withRun, withSetBack } from "../../../lib/runtime/backup/backup-record.ts";
import { cluster, member } from "./observations.ts";

const DAY = 86_400_000;
/** A Thursday, at 00:30. */
const NOW = Date.parse("2026-01-01T00:30:00Z");
const NIGHTLY: BackupSchedule = {
  times: { full: "0 1 * * 0", incr: "0 1 * * *" },
  timezone: "UTC",
  onLeader: "never",
  retryAfterMs: seconds(60),
};
const KNOWN: BackupState = { covered: NOW, done: null, failed: null };
const RECORD: BackupRecord = { revision: revision(3), types: { full: KNOWN, incr: KNOWN }, run: null };
const DUE = Date.parse("2026-01-01T01:00:00Z");
const RUN = { id: "r1", type: "incr", node: "c", beganAt: DUE, attempt: 1 } as const;

function facts(over: Partial<BackupFacts> = {}): BackupFacts {
  return { self: "b", now: DUE, schedule: NIGHTLY, cluster: cluster({ backup: RECORD }), role: "replica", maySetBack: true, ...over };
}

/** As the leader sees it. */
function leads(over: Partial<BackupFacts> = {}): BackupFacts {
  return facts({ self: "a", role: "primary", ...over });
}

const alone = cluster({ backup: RECORD, members: [member("a", { role: "primary" }), member("b", { state: "stopped" })] });

describe("a backup that is due", () => {
  test("is taken by a replica that runs, not before its time", () => {
    expect(backupStep(facts({ now: DUE - 1 }))).toEqual({ kind: "none" });
    expect(backupStep(facts())).toEqual({ kind: "begin", type: "incr", attempt: 1, from: "standby" });
    expect(backupStep(facts({ role: null }))).toEqual({ kind: "none" });
  });

  test("is never taken by the leader, nor by a server that is a primary without the lock", () => {
    expect(backupStep(leads())).toEqual({ kind: "none" });
    expect(backupStep(facts({ role: "primary" }))).toEqual({ kind: "none" });
  });

  test("stands for those that it holds: of several the greatest is taken", () => {
    const sunday = Date.parse("2026-01-04T01:00:00Z");
    expect(backupStep(facts({ now: sunday }))).toMatchObject({ kind: "begin", type: "full" });
    const run = { ...RUN, type: "full", beganAt: sunday } as const;
    const after = { ...RECORD, ...withRun(RECORD, run), run: null };
    expect(backupStep(facts({ now: sunday + 1, cluster: cluster({ backup: after }) }))).toEqual({ kind: "none" });
  });

  test("was missed for a week: it is made up once", () => {
    const late = DUE + 7 * DAY + 60_000;
    const incrOnly = { ...NIGHTLY, times: { incr: "0 1 * * *" } };
    expect(backupStep(facts({ now: late, schedule: incrOnly }))).toMatchObject({ kind: "begin", type: "incr" });
    const begun = { ...withRun(RECORD, { ...RUN, beganAt: late }), run: null };
    expect(backupStep(facts({ now: late + 1, schedule: incrOnly, cluster: cluster({ backup: begun }) }))).toEqual({ kind: "none" });
  });

  test("is not made up for the time before the cluster knew of it", () => {
    expect(backupStep(facts({ cluster: cluster() }))).toEqual({ kind: "found", types: ["full", "incr"] });
    const founded = { revision: revision(3), ...withFounded(null, ["full", "incr"], DUE) };
    expect(backupStep(facts({ now: DUE, cluster: cluster({ backup: founded }) }))).toEqual({ kind: "none" });
    expect(backupStep(facts({ now: DUE + DAY, cluster: cluster({ backup: founded }) }))).toMatchObject({ kind: "begin" });
  });

  test("waits while nobody leads, while a standby leader does, and while the cluster is restored or upgraded", () => {
    const without = cluster({ backup: RECORD, leader: null });
    const standby = cluster({ backup: RECORD, members: [member("a", { role: "standby_leader" }), member("b")] });
    const restoring = cluster({
      backup: RECORD,
      restore: {
        revision: revision(9),
        id: "x",
        phase: "restore",
        direction: "forward",
        node: "a",
        label: "l",
        target: null,
        recoveryTimeline: "latest",
        timeline: null,
        cloned: [],
        message: null,
      },
    });
    const upgrading = cluster({ backup: RECORD, upgrade: { ...unreadableUpgrade(revision(9)), phase: "upgrade" } });
    for (const seen of [without, standby, restoring, upgrading]) expect(backupStep(facts({ cluster: seen }))).toEqual({ kind: "none" });
  });

  test("and no replica runs: the leader says so, and takes it where an operator wants that", () => {
    expect(backupStep(leads({ cluster: alone }))).toMatchObject({ kind: "overdue", type: "incr", due: DUE });
    const wanted: BackupSchedule = { ...NIGHTLY, onLeader: "without-replica" };
    // A replica that restarts has until then.
    expect(backupStep(leads({ now: DUE + 59_999, cluster: alone, schedule: wanted }))).toEqual({ kind: "none" });
    expect(backupStep(leads({ now: DUE + 60_000, cluster: alone, schedule: wanted }))).toMatchObject({ kind: "begin", from: "primary" });
    expect(backupStep(leads({ schedule: wanted }))).toEqual({ kind: "none" });
  });

  test("and no replica takes it for ten minutes: the leader says so", () => {
    expect(backupStep(leads({ now: DUE + 600_000 - 1 }))).toEqual({ kind: "none" });
    expect(backupStep(leads({ now: DUE + 600_000 }))).toMatchObject({ kind: "overdue", due: DUE });
  });

  test("is due again where a clock far ahead wrote that it is covered, or when it failed: that is set back, by whoever sees it first", () => {
    const MINUTES = 60_000;
    const ahead = (states: BackupRecord["types"]) => ({ ...RECORD, types: { ...RECORD.types, ...states } });
    const seenBy = (record: BackupRecord, over: Partial<BackupFacts> = {}) =>
      backupStep(facts({ now: NOW, cluster: cluster({ backup: record }), ...over }));
    const covered = ahead({ incr: { ...KNOWN, covered: NOW + 30 * DAY } });
    const failed = ahead({ full: { ...KNOWN, failed: { node: "c", at: NOW + 30 * DAY, attempt: 1, message: "x" } } });
    expect(seenBy(covered)).toEqual({ kind: "set-back", types: ["incr"] });
    expect(seenBy(failed, { self: "a", role: "primary" })).toEqual({ kind: "set-back", types: ["full"] });
    expect(seenBy(ahead({ incr: { ...KNOWN, covered: NOW + 10 * MINUTES } }))).toEqual({ kind: "none" });
    // Another type is not held up where it may not be done again.
    expect(seenBy(ahead({ full: { ...KNOWN, covered: NOW + 30 * DAY } }), { now: DUE, maySetBack: false })).toMatchObject({
      kind: "begin",
      type: "incr",
    });
    const back = { revision: revision(4), ...withSetBack(covered, ["incr"], NOW) };
    expect(seenBy(back)).toEqual({ kind: "none" });
    expect(seenBy(back, { now: DUE })).toMatchObject({ kind: "begin", type: "incr" });
    const retried = { revision: revision(4), ...withSetBack(failed, ["full"], NOW) };
    expect(seenBy(retried, { now: NOW + MINUTES })).toMatchObject({ kind: "begin", type: "full", attempt: 2 });
  });

  test("is due by the others' clocks as well, where the clock was ahead that wrote it down", () => {
    const ahead = { ...RECORD, types: { ...RECORD.types, incr: { ...KNOWN, covered: NOW + 30 * DAY } } };
    expect(dueTime(ahead, NIGHTLY, "incr", NOW)).toBe(DUE);
  });
});

describe("a run", () => {
  const running = { ...RECORD, ...withRun(RECORD, RUN) };

  test("is alone: while its claim is there, nobody begins another", () => {
    const seen = cluster({ backup: running, backupClaim: { id: "r1", node: "c" } });
    expect(backupStep(facts({ now: DUE + DAY, cluster: seen }))).toEqual({ kind: "none" });
    expect(backupStep(leads({ now: DUE + DAY, cluster: seen }))).toEqual({ kind: "none" });
  });

  test("whose claim is gone has died; so has one of this node that it knows nothing of", () => {
    expect(backupStep(facts({ cluster: cluster({ backup: running }) }))).toEqual({ kind: "lost" });
    const claimed = cluster({ backup: running, backupClaim: { id: "r1", node: "c" } });
    expect(backupStep(facts({ self: "c", cluster: claimed }))).toEqual({ kind: "lost" });
  });

  test("that the record does not name any more leaves a claim behind: its node ends that, and anybody one that cannot be read", () => {
    const seen = (node: string) => cluster({ backup: RECORD, backupClaim: { id: "r1", node } });
    expect(backupStep(facts({ now: DUE + DAY, cluster: seen("b") }))).toEqual({ kind: "disclaim" });
    expect(backupStep(facts({ now: DUE + DAY, cluster: seen("c") }))).toEqual({ kind: "none" });
    expect(backupStep(facts({ now: DUE + DAY, cluster: seen("") }))).toEqual({ kind: "disclaim" });
  });

  test("that failed is tried again by another replica first, then by whoever failed, three times in all", () => {
    const failed = withLost(running, RUN, DUE + 1000);
    const seen = cluster({ backup: { revision: revision(4), ...failed } });
    const at = (ms: number, self: string) => backupStep(facts({ self, now: DUE + 1000 + ms, cluster: seen }));
    expect(at(59_999, "b")).toEqual({ kind: "none" });
    expect(at(60_000, "b")).toEqual({ kind: "begin", type: "incr", attempt: 2, from: "standby" });
    expect(at(60_000, "c")).toEqual({ kind: "none" });
    expect(at(120_000, "c")).toMatchObject({ kind: "begin", attempt: 2 });
    const last = withLost(running, { ...RUN, attempt: BACKUP_ATTEMPTS_MAX }, DUE + 1000);
    const given = cluster({ backup: { revision: revision(4), ...last } });
    expect(backupStep(facts({ now: DUE + DAY - 1, cluster: given }))).toEqual({ kind: "none" });
    expect(backupStep(facts({ now: DUE + DAY, cluster: given }))).toMatchObject({ kind: "begin", attempt: 1 });
  });

  test("that is done is known by its label, and ends the failures of its type and of those that it stands for", () => {
    const failed = { revision: revision(4), ...withLost(running, RUN, DUE) };
    const full = { ...RUN, id: "r2", type: "full" } as const;
    const done = withEnded(withRun(failed, full) as BackupRecord, { run: full, at: DUE + 5000, label: "L", failure: null });
    expect(done?.run).toBeNull();
    expect(done?.types.full?.done).toEqual({ node: "c", at: DUE + 5000, seconds: 5, label: "L" });
    expect([done?.types.incr?.failed, done?.types.incr?.done]).toEqual([null, null]);
  });

  test("that somebody has told of as lost: that it failed is no news, and that it is done still is", () => {
    const lost = { revision: revision(4), ...withLost(running, RUN, DUE) };
    expect(withEnded(lost, { run: RUN, at: DUE + 5000, label: null, failure: "gone" })).toBeNull();
    expect(withEnded(lost, { run: RUN, at: DUE + 5000, label: "L", failure: null })?.types.incr?.failed).toBeNull();
  });
});

test("whatever happens, a time that is due is begun at most three times, and by nobody while another runs", () => {
  const happening = fc.record({
    after: fc.integer({ min: 1, max: 7200 }),
    self: fc.constantFrom("b", "c"),
    ends: fc.constantFrom("done", "lost"),
  });
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 24 }), (events) => {
      let [record, now] = [RECORD, NOW];
      const begun = new Map<number, number>();
      for (const { after, self, ends } of events) {
        now += after * 1000;
        const step = backupStep(
          facts({ self, now, schedule: { ...NIGHTLY, times: { incr: "0 * * * *" } }, cluster: cluster({ backup: record }) }),
        );
        if (step.kind !== "begin") continue;
        expect(record.run).toBeNull();
        const run = { id: String(now), type: step.type, node: self, beganAt: now, attempt: step.attempt };
        const hour = step.attempt === 1 ? now : Math.max(...begun.keys());
        begun.set(hour, (begun.get(hour) ?? 0) + 1);
        const running = withRun(record, run) as BackupRecord;
        const ended = ends === "lost" ? withLost(running, run, now) : withEnded(running, { run, at: now, label: null, failure: null });
        record = { revision: revision(4), ...(ended ?? running) };
      }
      for (const count of begun.values()) expect(count).toBeLessThanOrEqual(BACKUP_ATTEMPTS_MAX);
      const times = [...begun.keys()].map((time) => Math.floor(time / 3_600_000));
      expect(new Set(times).size).toBe(times.length);
    }),
    { numRuns: 25 },
  );
});

test("what is told: when each is due, in whole seconds, and whether a failure is the last", () => {
  const failed = withLost({ ...RECORD, run: RUN }, { ...RUN, attempt: BACKUP_ATTEMPTS_MAX }, DUE + 1);
  const told = scheduledBackups(NIGHTLY, { revision: revision(4), ...failed }, DUE + 2);
  expect(told.types.map(({ type, due }) => [type, due])).toEqual([
    ["full", Date.parse("2026-01-04T01:00:00Z") / 1000],
    ["incr", DUE / 1000],
  ]);
  expect(told.types[1]?.failed).toMatchObject({ node: "c", final: true });
  expect(scheduledBackups(NIGHTLY, null, DUE).types[0]?.due).toBeNull();
  expect(BACKUP_TYPES[0]).toBe("full");
});
