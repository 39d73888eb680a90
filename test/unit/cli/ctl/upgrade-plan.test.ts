// What `ctl upgrade` refuses before anything is asked for, what the members have found, and how far back one can go from each phase.

import { describe, expect, test } from "bun:test";
import {
  checkFaults,
  describeUpgrade,
  leftUndone,
  lostWayBack,
  planLines,
  rollbackOf,
  upgradeObstacles,
} from "../../../../lib/cli/ctl/upgrade-plan.ts";
import { unreadableRestore } from "../../../../lib/model/restore.ts";
import { revision } from "../../../../lib/model/units.ts";
import { UPGRADE_PHASES, type UpgradeRequest, unreadableUpgrade } from "../../../../lib/model/upgrade.ts";
import { cluster, member } from "../../core/observations.ts";

const product = { name: "Matriarch", version: "1" };
const streaming = { product, replicationState: "streaming" };
const members = [member("a", { role: "primary", product }), member("b", streaming), member("c", streaming)];
const request: UpgradeRequest = {
  ...unreadableUpgrade(revision(3)),
  ...{ id: "20260131-120000", phase: "check", node: "a", fromMajor: 13, toMajor: 15, binDir: "/15/bin", message: null },
  checked: { a: { major: 15, against: "", notes: "" }, b: { major: 15, against: "", notes: "" }, c: { major: 15, against: "", notes: "" } },
};

describe("an upgrade is refused", () => {
  test("where nothing stands against it: not", () => {
    expect(upgradeObstacles(cluster({ members }), false)).toEqual([]);
    expect(checkFaults({ members }, request)).toEqual([]);
  });

  test("beside a Patroni, in a pause, beside a restore or another upgrade, without a standby that streams", () => {
    const [a, b] = members as [(typeof members)[0], (typeof members)[0]];
    const refused = (over: Parameters<typeof cluster>[0], paused = false): string =>
      upgradeObstacles(cluster({ members, ...over }), paused).join("\n");
    expect(refused({ members: [a, b, member("c", { ...streaming, product: null })] })).toContain(
      "a Patroni would know nothing of the upgrade",
    );
    expect(refused({}, true)).toContain("the cluster is paused");
    expect(refused({ restore: unreadableRestore(revision(2)) })).toContain("restore unreadable is under way");
    expect(refused({ upgrade: { ...request, phase: "drain" } })).toContain("ctl upgrade --status");
    expect(refused({ members: [a, b, member("c", { product })] })).toContain("not every standby streams: c");
    expect(refused({ members: [a, b, member("c", { ...streaming, state: "stopped" })] })).toContain("c is stopped");
    expect(refused({ leader: null })).toContain("nobody leads");
    const config = { revision: revision(1), data: { standby_cluster: { host: "elsewhere" } } };
    expect(refused({ config })).toContain("upgrade its primary site, and then make this one anew from it, by hand (docs/upgrades.md");
  });

  test("where a member has found something, has other programs, or has not looked", () => {
    const found = (checked: UpgradeRequest["checked"]) =>
      checkFaults({ members }, { ...request, checked: { ...request.checked, ...checked } });
    expect(found({ b: { major: null, against: "programs: /15/bin lacks initdb", notes: "" } })).toEqual([
      "b: programs: /15/bin lacks initdb",
    ]);
    expect(found({ c: { major: 16, against: "", notes: "" } })).toEqual(["c: /15/bin is of version 16, and of 15 on a"]);
    const { c: _, ...some } = request.checked;
    expect(checkFaults({ members }, { ...request, checked: some })).toEqual(["c has not looked at itself"]);
  });
});

test("the plan says how far back one can go, and what is deleted", () => {
  expect(planLines({ ...request, mode: "link" }, { members }).join("\n")).toMatch(
    /data is deleted and copied from a[\s\S]*until the new server starts/,
  );
  expect(planLines({ ...request, mode: "copy" }, { members }).at(-1)).toContain("until the old directory is removed");
});

test("what does not survive it, and the way back of an earlier upgrade that it takes away, are shown with the plan", () => {
  const checked = { ...request.checked, a: { major: 15, against: "", notes: "2 logical slots do not survive" } };
  expect(planLines({ ...request, checked }, { members }).at(-1)).toBe("beware: a: 2 logical slots do not survive");
  const former = { ...request, id: "20250131-120000", phase: "done", mode: "copy", identifier: "2" } as const;
  expect(lostWayBack(former)).toEqual([expect.stringContaining("20250131-120000 can no longer be taken back")]);
  expect([null, { ...former, mode: "link" as const }, { ...former, identifier: null }].flatMap(lostWayBack)).toEqual([]);
});

test("what was left undone is not told as made", () => {
  const left = { ...request, phase: "clone", identifier: "2", analyzed: true, message: "the statistics are not made: disk full" } as const;
  expect(describeUpgrade(left)).toContain("not all is done (the statistics are not made: disk full)");
  expect(describeUpgrade({ ...left, message: null })).toEndWith("statistics: made");
  expect([leftUndone(left), leftUndone({ ...left, message: null })]).toEqual(["the statistics are not made: disk full", null]);
  expect(leftUndone({ ...left, analyzed: false, message: "undone" })).toBeNull();
});

test("what was made and does not start is not told as leading; where there is no way back, it is told what mends it", () => {
  const why = "version 15 does not start on a: No space left on device; its data is whole, and it is tried again until that is mended";
  const stuck = { ...request, phase: "clone", mode: "link", identifier: "2", message: why } as const;
  expect(describeUpgrade(stuck)).toBe(`Upgrade 20260131-120000: a is to lead with version 15 (${why})`);
  expect(rollbackOf(stuck)).toContain(`goes on by itself: ${why}`);
  expect(rollbackOf({ ...stuck, message: null })).toContain("Restore a backup of version 13 instead");
});

test("the way back: with links until the new server is about to start, with copies for as long as the old data is there", () => {
  const ways = (mode: "link" | "copy", direction: "forward" | "back" = "forward") =>
    UPGRADE_PHASES.map((phase) => {
      const way = rollbackOf({ ...request, mode, direction, phase, identifier: "2" });
      return typeof way === "string" ? `${phase}: no` : `${phase}: ${way.phase}`;
    });
  const before = ["check: done", "stop: undo", "drain: undo", "upgrade: undo"];
  expect(ways("link")).toEqual([...before, "clone: no", "failed: undo", "undo: no", "done: no"]);
  expect(ways("copy")).toEqual([...before, "clone: stop", "failed: undo", "undo: no", "done: stop"]);
  expect(ways("copy", "back").every((way) => way.endsWith("no"))).toBe(true);
  // Undone, or never begun.
  expect(rollbackOf({ ...request, mode: "copy", phase: "done" })).toContain("nothing to take back");
});
