// Goal: what keeps a restore from being given up, and other commands from changing a cluster that is being restored.

import { describe, expect, test } from "bun:test";
import { abandonObstacle, restoreObstacle } from "../../../../lib/cli/ctl/restore-plan.ts";
import { RESTORE_PHASES, type RestorePhase, type RestoreRequest } from "../../../../lib/model/restore.ts";
import { revision } from "../../../../lib/model/units.ts";
import { cluster, member } from "../../core/observations.ts";

const request = (phase: RestorePhase, cloned: readonly string[] = []): RestoreRequest => ({
  revision: revision(20),
  id: "20260131-120000",
  phase,
  direction: "forward",
  node: "b",
  label: "20260131-110000F",
  target: null,
  recoveryTimeline: "latest",
  timeline: 2,
  cloned,
  message: null,
});

describe("a restore", () => {
  test("whose node is lost is given up as long as nobody else has, or serves, what was restored", () => {
    const at = (phase: RestorePhase, cloned: readonly string[], held: boolean) =>
      abandonObstacle(cluster({ restore: request(phase, cloned), ...(held ? {} : { leader: null }) }));
    expect(at("clone", [], false)).toBeNull();
    expect(at("clone", ["c"], false)).toContain("c has copied");
    expect(at("clone", [], true)).toContain("holds the lock");
    for (const phase of ["stop", "restore", "failed", "undo"] as const) expect([phase, at(phase, [], true)]).toEqual([phase, null]);
  });

  test("that is being taken back is given up only once its node is gone: the old data would lead from there, unmarked", () => {
    const at = (phase: RestorePhase, alive: { leader?: boolean; member?: boolean }) =>
      abandonObstacle(
        cluster({
          restore: { ...request(phase), direction: "back" },
          leader: alive.leader ? { name: "b", session: "s-b", revision: revision(4) } : null,
          members: [member("a"), ...(alive.member ? [member("b")] : [])],
        }),
      );
    for (const phase of RESTORE_PHASES.filter((it) => it !== "done")) {
      expect([phase, at(phase, {})]).toEqual([phase, null]);
      for (const alive of [{ leader: true }, { member: true }])
        expect([phase, at(phase, alive)]).toEqual([phase, expect.stringContaining("'b' ")]);
    }
    for (const phase of ["stop", "restore", "failed"] as const)
      expect(at(phase, { member: true })).toBe("'b' is alive: ctl restore --undo");
  });

  test("that is under way, of a group as well, is an obstacle to an import and a move; one that is done is not", () => {
    for (const phase of RESTORE_PHASES) {
      const inner = cluster({ restore: request(phase) });
      const outer = cluster({ restore: null, groups: { "1": inner } });
      const found = [inner, outer].map((it) => restoreObstacle(it) !== null);
      expect([phase, found]).toEqual([phase, [phase !== "done", phase !== "done"]]);
    }
  });
});
