// Goal: a restart that was scheduled happens at its time where its conditions hold then, is dropped otherwise, and outlives the supervisor.
// Method: the node's state over a clock by hand; its member key as another process left it.

import { expect, test } from "bun:test";
import { ms, seconds } from "../../../lib/model/units.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { NodeState } from "../../../lib/runtime/node-state.ts";
import { recallScheduledRestart, scheduledRestartFields, takeScheduledRestart } from "../../../lib/runtime/scheduled-restart.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { CONFIG, cluster, member, status } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const template = await loadTemplate();
const SCHEDULE = "1970-01-01T00:01:00+00:00";
const STARTED = status().postmasterStartTime;

function node(filters: Readonly<Record<string, unknown>> = {}, startTime: string | null = STARTED) {
  const clock = new ManualClock();
  const log = recordingLog();
  const state = new NodeState(clock, { node: { ...template, name: "b" }, dynamic: CONFIG });
  const process = { kind: "running", pid: 10, startTicks: 1, stopped: false };
  Object.assign(state.local, { process, dataDirectory: { kind: "valid", majorVersion: 15 }, status: status(), lastRole: "replica" });
  state.scheduledRestart = { schedule: SCHEDULE, at: 60_000, filters, postmasterStartTime: startTime };
  const context = { clock, log, state, postgres: { pendingRestart: () => ({}) } } as unknown as NodeContext;
  return { clock, log, state, context };
}

test("waits for its time, and for the end of a pause only as long as one and a half loop_wait", async () => {
  const { clock, context, log, state } = node({ role: "replica" });
  await clock.advance(59_999);
  takeScheduledRestart(context);
  expect([state.requests.restart, state.scheduledRestart?.schedule]).toEqual([false, SCHEDULE]);
  await clock.advance(1);
  state.settings = { ...state.settings, dynamic: { ...CONFIG, pause: true } };
  takeScheduledRestart(context);
  expect(state.requests.restart).toBe(false);
  state.settings = { ...state.settings, dynamic: CONFIG };
  takeScheduledRestart(context);
  expect([state.requests.restart, state.scheduledRestart]).toEqual([true, null]);
  expect(log.lines.join()).toContain(`Manual scheduled restart at ${SCHEDULE}`);
  const lastMoment = node({ role: "replica" });
  await lastMoment.clock.advance(60_000 + 1.5 * CONFIG.loopWaitMs);
  takeScheduledRestart(lastMoment.context);
  expect(lastMoment.state.requests.restart).toBe(true);
  const late = node();
  await late.clock.advance(60_001 + 1.5 * CONFIG.loopWaitMs);
  takeScheduledRestart(late.context);
  expect([late.state.requests.restart, late.state.scheduledRestart]).toEqual([false, null]);
  expect(late.log.lines.join()).toContain(`Found a stale restart value, cleaning up: ${SCHEDULE}`);
});

test("with a loop_wait of a second it is kept although the loop was two seconds late for it, and stale after five", async () => {
  for (const [lateMs, kept] of [
    [2_000, true],
    [5_001, false],
  ] as const) {
    const { clock, context, state } = node();
    state.settings = { ...state.settings, dynamic: { ...state.settings.dynamic, loopWaitMs: ms(1000) } };
    await clock.advance(60_000 + lateMs);
    takeScheduledRestart(context);
    expect([state.requests.restart, state.scheduledRestart]).toEqual([kept, null]);
  }
});

test.each([
  ["host role mismatch", { role: "primary" }],
  ["postgres version mismatch", { postgres_version: "15.1" }],
  ["pending restart flag is not set", { restart_pending: true }],
] as const)("is dropped at its time where %s", async (why, filters) => {
  const { clock, context, log, state } = node(filters);
  await clock.advance(60_000);
  takeScheduledRestart(context);
  expect([state.requests.restart, state.scheduledRestart]).toEqual([false, null]);
  expect(log.lines.join()).toContain(`not proceeding with the restart: ${why}`);
  expect(log.lines.join()).toContain("Scheduled restart: restart conditions are not satisfied");
});

test("is dropped as soon as PostgreSQL was restarted by somebody else", () => {
  const { context, log, state } = node({}, "2020-01-01 00:00:00+00:00");
  takeScheduledRestart(context);
  expect([state.requests.restart, state.scheduledRestart]).toEqual([false, null]);
  expect(log.lines).toEqual([`INFO: Cancelling scheduled restart: postgres restart has already happened at ${STARTED}`]);
});

test("goes on in the next process of the node, which finds it in the member key", () => {
  const { context, state } = node({ role: "replica" });
  const fields = scheduledRestartFields(state);
  expect(fields).toEqual({ schedule: SCHEDULE, role: "replica", postmaster_start_time: STARTED });
  const before: unknown = state.scheduledRestart;
  state.scheduledRestart = null;
  state.cluster = cluster({ members: [member("b", { scheduledRestart: fields })] });
  recallScheduledRestart(context);
  expect<unknown>(state.scheduledRestart).toEqual(before);
  // One that was taken back, or carried out, is not found again in what the node itself has written.
  state.scheduledRestart = null;
  state.published = { record: {}, session: "s", at: seconds(1) };
  recallScheduledRestart(context);
  expect(state.scheduledRestart).toBeNull();
});
