// Checks the rules of a standby beside somebody else's leader that need several facts at once.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import { ms } from "../../../lib/model/units.ts";
import { CONFIG, local, observation, status } from "./observations.ts";

test("a plan to follow that leads to no streaming is made anew", () => {
  const plan = { leader: "a", leaderSession: "s-a", plan: { kind: "follow" as const, why: "" } };
  const task = { kind: "plan-rejoin" as const, finishedAt: ms(80_000), ok: true, message: "", failures: 0, plan };
  const standby = local({ status: status({ replicationState: null }), notStreamingSince: ms(70_000) });
  // Made 20 s ago; the local WAL may have grown from another source since (simulation, seed 431).
  expect(decide(observation({ local: standby, lastTask: task })).rule).toBe("standby-diverged-plan");
  const recent = { ...task, finishedAt: ms(95_000) };
  expect(decide(observation({ local: standby, lastTask: recent })).rule).toBe("standby-not-streaming");
});

test("a standby whose replay was paused goes on with it, unless the cluster is paused", () => {
  const shown = local({ status: status({ replayPaused: true }) });
  const paused = observation({ local: shown });
  expect(decide(paused)).toMatchObject({ rule: "standby-resume-replay", effect: { kind: "resume-replay" } });
  expect(decide({ ...paused, done: [{ kind: "resume-replay", ok: false, message: "" }] }).rule).toBe("standby");
  expect(decide(observation({ config: { ...CONFIG, pause: true }, local: shown })).effect.kind).toBe("wait");
  const old = local({ status: status({ replayPaused: true, serverVersion: 130010 }) });
  expect(decide(observation({ local: old })).rule).toBe("standby");
});
