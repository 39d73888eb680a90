// Goal: what keeps a restore from being given up, and other commands from changing a cluster that is being restored.

import { describe, expect, test } from "bun:test";
import { abandonObstacle, restoreObstacle } from "../../../../lib/cli/ctl/restore-plan.ts";
import { RESTORE_PHASES, type RestorePhase, type RestoreRequest } from "../../../../lib/model/restore.ts";
import { revision } from "../../../../lib/model/units.ts";
import { cluster } from "../../core/observations.ts";

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

  test("that is under way, of a group as well, is an obstacle to an import and a move; one that is done is not", () => {
    for (const phase of RESTORE_PHASES) {
      const inner = cluster({ restore: request(phase) });
      const outer = cluster({ restore: null, groups: { "1": inner } });
      const found = [inner, outer].map((it) => restoreObstacle(it) !== null);
      expect([phase, found]).toEqual([phase, [phase !== "done", phase !== "done"]]);
    }
  });
});
