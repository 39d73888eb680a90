// Goal: the recovery of a crashed standby is ended in front of pg_rewind only where pg_rewind takes away what that adds. Method: rows of
// pg_control, the local end and the upstream's history.

import { expect, test } from "bun:test";
import { type CrashedStandby, whyNotEndRecovery } from "../../../lib/core/rewind-plan.ts";
import { lsn, timeline } from "../../../lib/model/units.ts";

/** pg_control on timeline 1 with a checkpoint at 100, consistent from 120 on; the upstream is on timeline 2, which left 1 at `forked`. */
function crashed(changes: {
  forked?: bigint;
  control?: Partial<CrashedStandby["control"]>;
  end?: [number, bigint] | null;
  leads?: number;
}) {
  const { forked = 200n, end = [1, 150n], leads = 2 } = changes;
  return whyNotEndRecovery({
    control: {
      timeline: timeline(1),
      checkpointLsn: lsn(100n),
      minRecoveryTimeline: timeline(1),
      minRecoveryEnd: lsn(120n),
      ...changes.control,
    },
    end: end === null ? null : { timeline: timeline(end[0]), lsn: lsn(end[1]) },
    upstream: { timeline: timeline(leads), switches: leads === 1 ? [] : [{ timeline: timeline(1), switchpoint: lsn(forked), reason: "" }] },
  });
}

test("not on the upstream's own timeline, whatever the directory has beside it", () => {
  const end: [number, bigint] = [2, 900n];
  expect(crashed({ leads: 1, end })).toContain("would end on timeline 1, which the upstream is on");
  const rewound = { minRecoveryTimeline: timeline(2), minRecoveryEnd: lsn(300n) };
  expect(crashed({ control: rewound, end })).toContain("would end on timeline 2, which the upstream is on");
});

test("on an older timeline of the upstream only with WAL behind the point where the upstream left it", () => {
  expect(crashed({ forked: 149n })).toBeNull();
  expect(crashed({ forked: 150n })).toContain("where the upstream left it");
  expect(crashed({ forked: 150n, end: [3, 900n] })).toContain("before 0/96, where the upstream left it");
  expect(crashed({ forked: 110n, end: null })).toBeNull();
  expect(crashed({ forked: 99n, end: null, control: { minRecoveryTimeline: null, minRecoveryEnd: null } })).toBeNull();
  expect(crashed({ forked: 120n, end: null })).toContain("where the upstream left it");
});

test("on a timeline that the upstream never was on", () => {
  const control = { minRecoveryTimeline: timeline(3), minRecoveryEnd: lsn(10n) };
  expect(crashed({ control, end: [3, 10n] })).toBeNull();
});
