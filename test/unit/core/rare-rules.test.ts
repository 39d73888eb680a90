// Goal: every rule fires. Method: the simulated clusters of the default tier reach the everyday ones (test/simulation/simulation.test.ts
// holds them to it); for every other stands one observation (scenarios/) that has to be that rule's to decide.

import { expect, test } from "bun:test";
import { decide, RULES } from "../../../lib/core/decide.ts";
import { STRICT_PLACEHOLDER } from "../../../lib/core/sync-names.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, observation } from "./observations.ts";
import { SCENARIOS } from "./scenarios/scenarios.ts";
import { holding, restart, self, synchronous } from "./scenarios/situations.ts";

test("a required watchdog that is gone stops also a primary that gives no status, and none in a pause", () => {
  const unasked = local({ status: null, lastRole: "primary" });
  const unfenced = { self: { ...self, fencingMissing: true }, local: unasked };
  expect(decide(leading(unfenced))).toMatchObject({ rule: "leader-fencing-missing", effect: { kind: "stop", mode: "immediate" } });
  expect(decide(leading({ ...unfenced, local: { ...unasked, crashedAt: ms(-900_000) } })).rule).toBe("leader-fencing-missing");
  expect(decide(leading({ ...unfenced, config: { ...CONFIG, pause: true } })).rule).toBe("holder-starting");
  expect(decide(leading({ local: unasked })).rule).toBe("holder-starting");
});

for (const [id, o] of Object.entries(SCENARIOS)) {
  test(`the rule ${id} decides in its scenario`, () => {
    expect(RULES.map((rule) => rule.id)).toContain(id);
    expect(decide(o).rule).toBe(id);
    expect(decide(o).why.length).toBeGreaterThan(10);
  });
}

test("a restart of a server that was never seen knows the names of its key, and acknowledges nothing where the key is another's", () => {
  const unseen = local({ status: null, lastRole: "primary", statusMissingSince: ms(90_000) });
  const key = (leader: string) => ({ revision: revision(3), leader, standbys: ["c"], quorum: 0 });
  const holder = { ...holding, config: synchronous, local: unseen, requests: restart };
  const byKey = decide(observation({ ...holder, cluster: { ...holding.cluster, sync: key("b") } }));
  expect(byKey).toMatchObject({ rule: "holder-restart-unanswered", effect: { kind: "restart", syncNames: "c" } });
  const without = decide(observation({ ...holder, config: CONFIG }));
  expect(without.effect).toEqual({ kind: "restart", syncNames: null });
  const left = decide(observation({ ...holder, config: CONFIG, cluster: { ...holding.cluster, sync: key("b") } }));
  expect(left.effect).toEqual({ kind: "restart", syncNames: "c" });
  const paused = { config: { ...synchronous, pause: true }, requests: restart, local: { ...unseen, lastRole: null } };
  const member = decide(observation({ ...paused, cluster: cluster({ sync: key("a") }) }));
  expect(member).toMatchObject({ rule: "standby-restart", effect: { kind: "restart", syncNames: STRICT_PLACEHOLDER } });
});
