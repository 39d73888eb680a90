// Owns the scenarios of the rules about the process, the DCS out of reach, and a failsafe mode that goes on without it.

import { NO_FAILSAFE } from "../../../../lib/core/failsafe.ts";
import { lsn, ms, revision } from "../../../../lib/model/units.ts";
import { answer, CONFIG, cluster, leading, local, observation, unlocked } from "../observations.ts";
import {
  asked,
  asPrimary,
  away,
  down,
  failed,
  holding,
  over,
  paused,
  renewedInVain,
  restart,
  running,
  type Scenarios,
  self,
  shutdown,
  synchronous,
} from "./situations.ts";

const led = holding.cluster;
const leave = [{ kind: "leave" as const, ok: true, message: "" }];
const syncStandby = { ...cluster(), sync: { revision: revision(3), leader: "a", standbys: ["b"], quorum: 0 } };
const overdue = {
  ...holding,
  config: { ...CONFIG, primaryStartTimeoutMs: ms(1000) },
  local: local({ status: null, lastRole: "primary", crashedAt: ms(90_000) }),
  task: running("start"),
};
const failsafeMode = { ...CONFIG, failsafeMode: true };
const late = { session: "s-b", revision: revision(4), confirmedAt: ms(99_000), leaseEndsAt: ms(128_000) };
const voters = { ...NO_FAILSAFE, voters: ["a", "c"], leaseCountsUntil: late.leaseEndsAt };
const agreed = { ...voters, roundAt: ms(99_900) };
/** As the primary, which has just tried the DCS in vain. */
const cutOff = { config: failsafeMode, lock: { held: late }, local: asPrimary, failsafe: voters, done: renewedInVain };
const slot = { ...{ type: "physical", plugin: null, database: null, confirmedFlushLsn: null, catalogXmin: null, lost: false } } as const;
const behind = { ...slot, name: "c", restartLsn: lsn(500), active: false, temporary: false, xmin: null, failover: false };

export const PROCESS: Scenarios = {
  "foreign-data-directory": observation({
    local: local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "foreign", sample: "x" } }),
  }),
  "read-control": observation({ local: { ...down, systemIdentifier: null } }),
  "system-identifier-mismatch": observation({ local: local({ systemIdentifier: "8" }) }),
  "hand-over-lease-over": leading({
    lock: { held: { ...over, leaseEndsAt: ms(100_500) } },
    task: running("hand-over"),
    done: renewedInVain,
  }),
  "task-lost-lock": observation({ task: running("promote") }),
  "task-lease-over": observation({ ...holding, lock: { held: over }, task: running("promote"), done: renewedInVain }),
  "sync-release-ask": observation({ cluster: syncStandby, config: synchronous, requests: restart }),
  "sync-release-wait": observation({
    cluster: syncStandby,
    config: synchronous,
    requests: restart,
    self: { ...self, releaseAskedAt: ms(99_999) },
  }),
  "shutdown-abort-task": observation({ requests: shutdown, task: running("clone"), local: down }),
  "shutdown-wait": observation({ requests: shutdown, task: { ...running("clone"), aborting: true }, local: down }),
  "shutdown-paused-mark": leading({ requests: shutdown, config: paused, self: { ...self, markStale: true } }),
  "shutdown-paused": leading({ requests: shutdown, config: paused }),
  "shutdown-hand-over": leading({ requests: shutdown }),
  "shutdown-stop": observation({ requests: shutdown }),
  "shutdown-release": observation({ ...holding, requests: shutdown, local: down }),
  "shutdown-leave": observation({ requests: shutdown, local: down }),
  "shutdown-exit": observation({ requests: shutdown, local: down, done: leave }),
  "task-renew": observation({ ...holding, lock: { held: over }, task: running("clone"), local: down }),
  "task-lock-vanished": observation({ cluster: unlocked, lock: holding.lock, task: running("promote") }),
  "task-overdue-ask": observation(overdue),
  "task-overdue": observation({ ...overdue, done: asked, peers: { answers: [answer("c")] } }),
  "outage-paused": away(led, { config: paused }),
  "outage-retry": away(led, { lock: holding.lock, local: asPrimary }),
  "outage-failsafe": away(led, cutOff),
  "outage-failsafe-refused": away(led, {
    ...cutOff,
    done: [...renewedInVain, { kind: "ask-failsafe", ok: false, message: "" }],
  }),
  "outage-failsafe-slots": away(cluster({ status: { optime: lsn(1000), slots: { c: lsn(900) }, retainSlots: [] } }), {
    config: failsafeMode,
    failsafe: { ...NO_FAILSAFE, promise: { leader: "a", until: ms(110_000) } },
    local: local({ status: { ...observation().local.status, slots: [behind] } as never, slotsAt: null }),
  }),
  "outage-failsafe-keep": away(led, { ...cutOff, failsafe: agreed }),
  "outage-keep": away(led, { lock: holding.lock, local: asPrimary, done: renewedInVain }),
  "outage-demote": away(led, { lock: { held: over }, local: asPrimary, done: renewedInVain }),
  "outage-start-standby": away(cluster(), { local: down }),
  "outage-wait": away(cluster(), { local: down, lastTask: failed("start") }),
};
