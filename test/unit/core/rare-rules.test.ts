// Goal: every rule fires. Method: simulated clusters reach most of them; here stands one observation for each that they do not.

import { expect, test } from "bun:test";
import { decide, RULES } from "../../../lib/core/decide.ts";
import type { FinishedTask, Observation } from "../../../lib/core/observation.ts";
import { STRICT_PLACEHOLDER } from "../../../lib/core/sync-names.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { answer, CONFIG, cluster, leading, local, observation, primaryStatus, released, unlocked } from "./observations.ts";

const holding = {
  cluster: cluster({ leader: { name: "b", session: "s-b", revision: revision(4) } }),
  lock: leading().lock,
};
const down = local({ process: { kind: "none" }, status: null });
const empty = local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "empty" } });
const asPrimary = local({ status: primaryStatus(), lastRole: "primary", upstream: "" });
const over = { session: "s-b", revision: revision(4), confirmedAt: ms(70_000), leaseEndsAt: ms(99_000) };
const renewedInVain = [{ kind: "renew-lock" as const, ok: false, message: "" }];
const synchronous = { ...CONFIG, synchronousMode: "on" as const };
const self = observation().self;
const restart = { shutdown: false, restart: true, reinitialize: null };
const reinitialize = { shutdown: false, restart: false, reinitialize: { fromLeader: true } };

function failed(kind: FinishedTask["kind"], failures: number): FinishedTask {
  return { kind, finishedAt: ms(99_999), ok: false, message: "no", failures, plan: null };
}

function planned(kind: "rewind" | "clone"): FinishedTask {
  const plan = kind === "rewind" ? { kind, why: "" } : { kind, allowed: false, why: "" };
  return {
    kind: "plan-rejoin",
    finishedAt: ms(99_999),
    ok: true,
    message: "",
    failures: 0,
    plan: { leader: "a", leaderSession: "s-a", plan },
  };
}

function running(kind: "promote" | "start"): Observation["task"] {
  return { kind, startedAt: ms(90_000), aborting: false };
}

const alivePrimary = answer("c", { role: "primary" });
const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];
const toUs = { revision: revision(9), leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };

const CASES: Readonly<Record<string, Observation>> = {
  "foreign-data-directory": observation({
    local: local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "foreign", sample: "x" } }),
  }),
  "system-identifier-mismatch": observation({ local: local({ systemIdentifier: "8" }) }),
  "task-lost-lock": observation({ task: running("promote") }),
  "task-lease-over": observation({ ...holding, lock: { held: over }, task: running("promote"), done: renewedInVain }),
  "primary-own-name-old-session": observation({
    cluster: cluster({ leader: { name: "b", session: "s-old", revision: revision(4) } }),
    local: asPrimary,
  }),
  "lease-over": leading({ lock: { held: over }, done: renewedInVain }),
  "holder-no-lease": observation({ ...holding, lock: { held: over }, done: renewedInVain }),
  "holder-config": leading({ cluster: { ...holding.cluster, config: null } }),
  "holder-paused-down": observation({
    ...holding,
    config: { ...CONFIG, pause: true },
    local: down,
    done: [{ kind: "release-lock", ok: false, message: "" }],
  }),
  "holder-without-data": observation({ ...holding, local: empty }),
  "holder-fencing-missing": observation({ ...holding, local: down, self: { ...self, fencingMissing: true } }),
  "holder-no-service-ask": observation({
    ...holding,
    config: { ...CONFIG, primaryStartTimeoutMs: ms(1000) },
    local: local({ status: null, lastRole: "primary", crashedAt: ms(90_000) }),
  }),
  "holder-restart-unanswered": observation({
    ...holding,
    local: local({ status: null, lastRole: "primary", statusMissingSince: ms(90_000) }),
    requests: restart,
  }),
  "promote-fencing-missing": observation({ ...holding, self: { ...self, fencingMissing: true } }),
  "promote-not-allowed": observation({
    ...holding,
    config: synchronous,
    cluster: { ...holding.cluster, sync: { revision: revision(3), leader: "a", standbys: ["c"], quorum: 0 } },
  }),
  "promote-sync-key-failed": observation({
    ...holding,
    config: synchronous,
    cluster: { ...holding.cluster, sync: { revision: revision(3), leader: "a", standbys: ["b"], quorum: 0 } },
    done: [{ kind: "write-sync", ok: false, message: "" }],
  }),
  "promote-retry": observation({ ...holding, lastTask: failed("promote", 3) }),
  "promote-wait": observation({ ...holding, lastTask: failed("promote", 1) }),
  "leader-fencing-missing": leading({ self: { ...self, fencingMissing: true } }),
  "leader-restart": leading({ requests: restart }),
  "reinitialize-stop": observation({ requests: reinitialize }),
  "reinitialize-clone": observation({ requests: reinitialize, local: down }),
  "rejoin-start-diverged": observation({ local: down, lastTask: planned("clone") }),
  "standby-restart": observation({ requests: restart }),
  "standby-diverged-stop": observation({ local: local({ notStreamingSince: ms(90_000) }), lastTask: planned("rewind") }),
  "bootstrap-failed": observation({ cluster: { ...unlocked, initialize: "" }, local: empty, lastTask: failed("bootstrap", 1) }),
  "leaderless-restart": observation({ cluster: unlocked, requests: restart }),
  "race-fencing-missing": observation({ cluster: unlocked, self: { ...self, fencingMissing: true } }),
  "race-promotion-failed": observation({ cluster: unlocked, trace: released, lastTask: failed("promote", 1) }),
  "race-failed-candidate": observation({
    cluster: { ...unlocked, failover: toUs },
    trace: released,
    lastTask: failed("promote", 1),
  }),
  "race-primary-alive": observation({
    cluster: { ...unlocked, failover: toUs },
    trace: released,
    done: asked,
    peers: { answers: [alivePrimary] },
  }),
};

test("a required watchdog that is gone stops also a primary that gives no status, and none in a pause", () => {
  const unasked = local({ status: null, lastRole: "primary" });
  const unfenced = { self: { ...self, fencingMissing: true }, local: unasked };
  expect(decide(leading(unfenced))).toMatchObject({ rule: "leader-fencing-missing", effect: { kind: "stop", mode: "immediate" } });
  expect(decide(leading({ ...unfenced, local: { ...unasked, crashedAt: ms(-900_000) } })).rule).toBe("leader-fencing-missing");
  expect(decide(leading({ ...unfenced, config: { ...CONFIG, pause: true } })).rule).toBe("holder-starting");
  expect(decide(leading({ local: unasked })).rule).toBe("holder-starting");
});

for (const [id, o] of Object.entries(CASES)) {
  test(`the rule ${id} decides where its case is given`, () => {
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
  const paused = { config: { ...synchronous, pause: true }, requests: restart, local: { ...unseen, lastRole: null } };
  const member = decide(observation({ ...paused, cluster: cluster({ sync: key("a") }) }));
  expect(member).toMatchObject({ rule: "standby-restart", effect: { kind: "restart", syncNames: STRICT_PLACEHOLDER } });
});
