// Goal: appointments are kept at their time or dropped, and what a pause hides or the DCS keeps back is said, in Patroni's words. Method: one observation a case.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import { notices } from "../../../lib/core/notices.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { CONFIG, cluster, leading, local, observation, primaryStatus } from "./observations.ts";

const WALL = observation().wallNow;
const paused = { ...CONFIG, pause: true };

function withAppointment(scheduledAt: number, config = CONFIG) {
  const view = leading().dcs.cluster ?? cluster();
  const failover = { revision: revision(8), leader: "b", candidate: "c", scheduledAt, scheduledAtText: "2026-01-01T12:00:00+00:00" };
  return leading({ config, cluster: { ...view, failover } });
}

test("a switchover is awaited by the leader, kept at its time, and dropped where nobody kept it for one and a half loop_wait", () => {
  const text = "Awaiting switchover at 2026-01-01T12:00:00+00:00 (in 90 seconds)";
  expect(notices(withAppointment(WALL + 90_500), null)).toEqual([{ level: "info", text }]);
  expect(decide(withAppointment(WALL + 1)).rule).toBe("leader");
  const latest = 1.5 * CONFIG.loopWaitMs;
  for (const late of [0, latest]) expect(decide(withAppointment(WALL - late)).effect.kind).toBe("ask-peers");
  const missed = decide(withAppointment(WALL - latest - 1));
  expect(missed).toMatchObject({
    why: "Found a stale switchover value, cleaning up: 2026-01-01T12:00:00+00:00",
    effect: { kind: "clear-failover" },
  });
});

test("a DCS that does not answer is an error in every loop_wait, with the reason", () => {
  const away = observation({ dcs: { kind: "unreachable", since: ms(0), cluster: cluster(), reason: "no answer before the deadline" } });
  expect(notices(away, null)).toEqual([{ level: "error", text: "Error communicating with DCS: no answer before the deadline" }]);
  expect(notices(observation(), null)).toEqual([]);
});

test("in pause no appointment is kept or awaited", () => {
  const restart = { schedule: "2026-01-01T12:00:00+00:00", at: WALL + 5_000 };
  expect(notices(withAppointment(WALL + 90_500, paused), restart)).toEqual([]);
  expect(decide(withAppointment(WALL, paused)).effect.kind).toBe("wait");
  expect(notices(observation(), restart)).toEqual([
    { level: "info", text: "Awaiting restart at 2026-01-01T12:00:00+00:00 (in 5 seconds)" },
  ]);
  expect(notices(observation(), { ...restart, at: WALL })).toEqual([]);
});

test("data of another cluster ends the node, but in pause it is only warned of, and a primary with the lock publishes what it is", () => {
  const foreign = local({ systemIdentifier: "8" });
  expect(decide(observation({ local: foreign })).effect).toMatchObject({ kind: "exit", code: 1 });
  const standby = observation({ config: paused, local: foreign });
  expect(decide(standby).effect.kind).toBe("wait");
  expect(notices(standby, null)).toEqual([
    {
      level: "warning",
      text: "system ID has changed while in paused mode. It will exit when resuming unless system ID is reset: 7000000000000000001 != 8",
    },
  ]);
  const primary = local({ systemIdentifier: "8", status: primaryStatus(), lastRole: "primary", upstream: "" });
  const holder = leading({ config: paused, local: primary });
  expect(decide(holder).effect).toEqual({ kind: "write-initialize" });
  expect(notices(holder, null)).toEqual([]);
  expect(decide({ ...holder, done: [{ kind: "write-initialize", ok: true, message: "" }] }).effect.kind).toBe("wait");
  expect(decide({ ...holder, config: CONFIG }).effect.kind).not.toBe("write-initialize");
});

test("what a paused node says is what Patroni says", () => {
  const down = local({ process: { kind: "none" }, status: null });
  const alone = cluster({ leader: null });
  expect(decide(observation({ config: paused, local: down })).why).toBe("postgres is not running");
  expect(decide(observation({ config: paused, local: down, cluster: alone })).why).toBe("postgres is not running");
  expect(decide(observation({ config: paused, cluster: alone })).why).toBe("no action. I am (b)");
  const promoted = local({ status: primaryStatus(), lastRole: "primary", upstream: "" });
  expect(decide(observation({ config: paused, local: promoted })).why).toBe("continue to run as primary without lock");
});
