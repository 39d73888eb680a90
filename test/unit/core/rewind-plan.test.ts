// Goal: a node follows exactly when its WAL is a prefix of the upstream's history.
// Method: random trees of timelines; the slow and obvious judge walks both histories byte range by byte range.

import { expect, test } from "bun:test";
import { type LocalWal, planOfRefused, planWithoutEnd, type RewindQuestion, rewindPlan } from "../../../lib/core/rewind-plan.ts";
import type { TimelineSwitch } from "../../../lib/model/history.ts";
import type { UpstreamHistory } from "../../../lib/model/postgres.ts";
import { lsn, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";

const SEGMENT = 1000;

function history(steps: readonly (readonly [number, number])[]): readonly TimelineSwitch[] {
  return steps.map(([number, position]) => ({ timeline: timeline(number), switchpoint: lsn(position), reason: "" }));
}

function upstream(current: number, walLsn: number, steps: readonly (readonly [number, number])[]): UpstreamHistory {
  return { systemIdentifier: "7", timeline: timeline(current), walLsn: lsn(walLsn), inRecovery: false, switches: history(steps) };
}

function question(local: Partial<LocalWal>, from: UpstreamHistory, changes: Partial<RewindQuestion> = {}): RewindQuestion {
  const whole = { timeline: timeline(1), lsn: lsn(100), state: "shut down", walLogHints: true, dataChecksums: false, ...local };
  return { local: whole, upstream: from, usePgRewind: true, removeOnDivergedTimelines: false, ...changes };
}

test("a node whose WAL ends before the switch follows, one byte beyond it has to be rewound", () => {
  const from = upstream(2, 500, [[1, 100]]);
  expect(rewindPlan(question({ lsn: lsn(99) }, from)).kind).toBe("follow");
  expect(rewindPlan(question({ lsn: lsn(100) }, from)).kind).toBe("follow");
  expect(rewindPlan(question({ lsn: lsn(101) }, from))).toMatchObject({ kind: "rewind" });
});

test("a timeline that the upstream never had is a divergence, also when it is the newer one", () => {
  expect(rewindPlan(question({ timeline: timeline(2), lsn: lsn(60) }, upstream(3, 500, [[1, 50]]))).kind).toBe("rewind");
  expect(rewindPlan(question({ timeline: timeline(3), lsn: lsn(60) }, upstream(2, 500, [[1, 50]]))).kind).toBe("rewind");
});

test("two timelines of one number are told apart by where they began", () => {
  const local = { timeline: timeline(2), lsn: lsn(60), switches: history([[1, 40]]), state: "shut down in recovery" };
  // pg_rewind looks at the number alone and would see no difference.
  expect(rewindPlan(question(local, upstream(2, 500, [[1, 50]]))).kind).toBe("clone");
  expect(rewindPlan(question({ ...local, switches: history([[1, 50]]) }, upstream(2, 500, [[1, 50]]))).kind).toBe("follow");
});

test("two primaries of one timeline have parted, even where it began at the same position", () => {
  const local = { timeline: timeline(2), lsn: lsn(60), switches: history([[1, 50]]) };
  const from = upstream(2, 500, [[1, 50]]);
  for (const state of ["in production", "shut down"]) expect(rewindPlan(question({ ...local, state }, from)).kind).toBe("clone");
  for (const state of ["shut down in recovery", "in archive recovery"])
    expect(rewindPlan(question({ ...local, state }, from)).kind).toBe("follow");
});

test("where pg_rewind cannot or may not work only a clone helps, and the configuration allows it or not", () => {
  const from = upstream(2, 500, [[1, 50]]);
  expect(rewindPlan(question({}, from, { usePgRewind: false }))).toMatchObject({ kind: "clone", allowed: false });
  expect(rewindPlan(question({ walLogHints: false }, from, { removeOnDivergedTimelines: true }))).toMatchObject({
    kind: "clone",
    allowed: true,
  });
  expect(rewindPlan(question({ walLogHints: false, dataChecksums: true }, from)).kind).toBe("rewind");
});

/** A history: at each step a new, higher timeline begins at a later position. */
const lineage = fc.array(fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 0, max: SEGMENT })), { maxLength: 4 }).map((steps) => {
  let current = 1;
  let position = 0;
  const switches: (readonly [number, number])[] = [];
  for (const [step, forward] of steps) {
    position += forward;
    switches.push([current, position]);
    current += step;
  }
  return { current, position, switches };
});

/** Which timeline wrote the byte at `position`: the obvious definition of a history. */
function writerOf(of: { readonly current: number; readonly switches: readonly (readonly [number, number])[] }, position: number): string {
  let begin = 0;
  let identity = "";
  for (const [number, end] of of.switches) {
    identity += `/${number}@${begin}`;
    if (position < end) return identity;
    begin = end;
  }
  return `${identity}/${of.current}@${begin}`;
}

test("the plan says follow exactly when every local byte was written by the same timeline as the upstream's", () => {
  fc.assert(
    fc.property(
      lineage,
      lineage,
      fc.integer({ min: 1, max: SEGMENT }),
      fc.integer({ min: 1, max: SEGMENT }),
      (mine, theirs, more, ahead) => {
        const end = mine.position + more;
        const upstreamEnd = Math.max(end, theirs.position) + ahead;
        const plan = rewindPlan(
          question(
            { timeline: timeline(mine.current), lsn: lsn(end), switches: history(mine.switches), state: "shut down in recovery" },
            upstream(theirs.current, upstreamEnd, theirs.switches),
          ),
        );
        let same = true;
        for (let position = 0; position < end && same; position += 1) same = writerOf(mine, position) === writerOf(theirs, position);
        expect(plan.kind).toBe(same ? "follow" : mine.current === theirs.current ? "clone" : "rewind");
      },
    ),
    { numRuns: 300 },
  );
});

test("WAL without an end is for pg_rewind to look at; where that is off, for the configuration or an operator", () => {
  const nothing = { startFailed: false, rewindFailed: false, refused: null, removeOnRewindFailure: false };
  const crashed = { state: "in production", ...nothing };
  expect(planWithoutEnd({ ...crashed, usePgRewind: true, removeOnDivergedTimelines: false })).toMatchObject({ kind: "rewind" });
  expect(planWithoutEnd({ ...crashed, usePgRewind: false, removeOnDivergedTimelines: true })).toMatchObject({
    kind: "clone",
    allowed: true,
  });
  expect(planWithoutEnd({ ...crashed, usePgRewind: false, removeOnDivergedTimelines: false })).toMatchObject({
    kind: "clone",
    allowed: false,
  });
});

test("a standby whose end of WAL cannot be read is started, where that fails rewound, and copied anew only where that failed too and a copy is allowed", () => {
  const either = [true, false];
  for (const state of ["in archive recovery", "shut down in recovery"])
    for (const usePgRewind of either)
      for (const removeOnDivergedTimelines of either)
        for (const startFailed of either)
          for (const rewindFailed of either)
            for (const refused of ["start it first", null])
              for (const removeOnRewindFailure of either) {
                const failures = { startFailed, rewindFailed, refused, removeOnRewindFailure };
                const plan = planWithoutEnd({ state, usePgRewind, removeOnDivergedTimelines, ...failures });
                const tried = rewindFailed || (startFailed && (!usePgRewind || refused !== null));
                const mayRewind = startFailed && usePgRewind && refused === null;
                const left = mayRewind ? "rewind" : "follow";
                expect(plan.kind).toBe(tried && removeOnRewindFailure ? "clone" : left);
              }
});

test("a standby whose rewind was refused is started, and copied anew only where that failed and a copy is allowed", () => {
  const rewind = { kind: "rewind", why: "it has diverged" } as const;
  const refused = "it has to be started first";
  for (const failed of [true, false])
    for (const removeOnRewindFailure of [true, false]) {
      const plan = planOfRefused(rewind, { refused, failed, removeOnRewindFailure });
      expect(plan.kind).toBe(failed && removeOnRewindFailure ? "clone" : "follow");
      expect(plan.why).toContain(refused);
      expect(plan.why.includes("reinitialize")).toBe(failed && !removeOnRewindFailure);
    }
  const follow = { kind: "follow", why: "nothing diverged" } as const;
  expect(planOfRefused(follow, { refused, failed: true, removeOnRewindFailure: true })).toBe(follow);
});
