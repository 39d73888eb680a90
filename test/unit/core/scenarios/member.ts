// Owns the scenarios of the rules for a node beside somebody else's leader, and for the time in which nobody leads.

import { NO_FAILSAFE } from "../../../../lib/core/failsafe.ts";
import type { Observation } from "../../../../lib/core/observation.ts";
import { desiredSlots } from "../../../../lib/core/slots-desired.ts";
import type { PermanentSlot } from "../../../../lib/model/slots.ts";
import { lsn, ms, revision } from "../../../../lib/model/units.ts";
import { answer, CONFIG, cluster, local, mark, member, observation, released, status, unlocked } from "../observations.ts";
import {
  asked,
  down,
  empty,
  failed,
  paused,
  planned,
  racing,
  reinitialize,
  restart,
  type Scenarios,
  self,
  stopped,
  synchronous,
  toUs,
} from "./situations.ts";

const starting = cluster({ members: [member("a", { role: "primary", state: "starting" }), member("b"), member("c")] });
const elsewhere = local({ upstream: "host-c:5432" });
const silent = local({ notStreamingSince: ms(90_000) });
const failsafe = { ...CONFIG, failsafeMode: true };
const promise = { ...NO_FAILSAFE, promise: { leader: "a", until: ms(103_000) } };
const unclear = { ...released, mark: mark({ released: false }) };
const ledBefore = { ...released, name: "b", session: "s-b" };
const request = { revision: revision(9), leader: null, candidate: "c", scheduledAt: null, scheduledAtText: null };
const LOGICAL: PermanentSlot = { kind: "logical", name: "events", database: "app", plugin: "test_decoding", clusterType: null };
const slot = { type: "physical", plugin: null, database: null, confirmedFlushLsn: null, catalogXmin: null, lost: false } as const;
const physical = (name: string, at: bigint) =>
  ({ ...slot, name, restartLsn: lsn(at), active: false, temporary: false, xmin: null, failover: false }) as never;

/** A standby that lacks a permanent logical slot which the leader has. */
function lacksLogical(): Observation {
  const config = { ...CONFIG, slots: [LOGICAL] };
  const view = cluster({ status: { optime: lsn(1000), slots: { events: lsn(900) }, retainSlots: [] } });
  const base = observation({ config, cluster: view });
  const slots = [...desiredSlots(base).slots.keys()].filter((name) => name !== "events").map((name) => physical(name, 1000n));
  const shown = { ...base, local: { ...base.local, status: status({ slots }) } };
  return { ...shown, local: { ...shown.local, slotsFor: desiredSlots(shown).text, slotsAt: base.now } };
}

export const MEMBER: Scenarios = {
  "paused-as-it-is": observation({ config: paused, local: down }),
  "reinitialize-stop": observation({ requests: reinitialize }),
  "reinitialize-clone": observation({ requests: reinitialize, local: down }),
  "clone-retry": observation({ local: empty, lastTask: failed("clone") }),
  "rejoin-retry": observation({ local: down, lastTask: failed("start") }),
  "rejoin-wait": observation({ cluster: starting, local: down }),
  "rejoin-rewind": observation({ local: down, lastTask: planned("rewind") }),
  "rejoin-clone": observation({
    local: down,
    lastTask: planned("clone"),
    self: { ...self, removeDataDirectoryOnDivergedTimelines: true },
  }),
  "rejoin-start-diverged": observation({ local: down, lastTask: planned("clone") }),
  "standby-starting": observation({ local: local({ status: null }) }),
  "standby-restart": observation({ requests: restart }),
  "standby-follow-retry": observation({ local: elsewhere, lastTask: failed("plan-rejoin") }),
  "standby-follow-diverged-stop": observation({ local: elsewhere, lastTask: planned("rewind") }),
  "standby-diverged-retry": observation({ local: silent, lastTask: failed("plan-rejoin") }),
  "standby-diverged-plan": observation({ local: silent }),
  "standby-diverged-stop": observation({ local: silent, lastTask: planned("rewind") }),
  "standby-resume-replay": observation({ local: local({ status: status({ replayPaused: true }) }) }),
  "standby-copy-slots": lacksLogical(),
  "bootstrap-failed": observation({ cluster: { ...unlocked, initialize: "" }, local: empty, lastTask: failed("bootstrap", 1) }),
  "leaderless-clone": observation({ cluster: unlocked, local: empty, self: { ...self, clonesWithoutLeader: true } }),
  "leaderless-without-data": observation({ cluster: unlocked, local: empty }),
  "leaderless-paused-read-control": observation({ cluster: unlocked, config: paused, local: down, requests: restart }),
  "leaderless-paused-restart": observation({
    cluster: unlocked,
    config: paused,
    local: stopped("in production"),
    requests: restart,
  }),
  "leaderless-paused-down": observation({ cluster: unlocked, config: paused, local: down }),
  "leaderless-start-retry": observation({ cluster: unlocked, local: down, lastTask: failed("start") }),
  "leaderless-start": observation({ cluster: unlocked, local: down }),
  "leaderless-starting": observation({ cluster: unlocked, local: local({ status: null }) }),
  "leaderless-restart": observation({ cluster: unlocked, requests: restart }),
  "race-paused": racing({ config: paused }),
  "race-failsafe-slots": racing({
    config: failsafe,
    cluster: { ...unlocked, status: { optime: lsn(1000), slots: { c: lsn(900) }, retainSlots: [] } },
    failsafe: promise,
    local: local({ status: status({ slots: [physical("c", 500n)] }), slotsAt: null }),
  }),
  "race-failsafe-promised": racing({ config: failsafe, failsafe: promise }),
  "race-failsafe-unknown": racing({ config: failsafe, cluster: { ...unlocked, failsafe: { a: "http://a", c: "http://c" } } }),
  "race-nofailover": racing({ self: { ...self, tags: { nofailover: true } } }),
  "race-fencing-missing": racing({ self: { ...self, fencingMissing: true } }),
  "race-not-synchronous": racing({
    config: synchronous,
    cluster: { ...unlocked, sync: { revision: revision(3), leader: "a", standbys: ["c"], quorum: 0 } },
  }),
  "race-lagging": racing({ cluster: { ...unlocked, status: { optime: lsn(9_000_000), slots: {}, retainSlots: [] } } }),
  "race-handed-over": racing({ cluster: { ...unlocked, failover: { ...request, leader: "b" } }, trace: ledBefore }),
  "race-failed-candidate": racing({ cluster: { ...unlocked, failover: toUs }, lastTask: failed("promote", 1) }),
  "race-promotion-failed": racing({ lastTask: failed("promote", 1) }),
  "race-backoff": racing({ config: { ...CONFIG, primaryRaceBackoffMs: ms(5000) }, trace: ledBefore }),
  "race-ask-old-leader": racing({ trace: unclear }),
  "race-other-candidate": racing({ cluster: { ...unlocked, failover: request }, peers: { answers: [answer("c")] } }),
  "race-not-healthiest": racing({ peers: { answers: [answer("c", { lsn: lsn(1001) })] } }),
  "race-without-quorum": racing({
    config: { ...CONFIG, synchronousMode: "quorum" },
    cluster: { ...unlocked, sync: { revision: revision(3), leader: "a", standbys: ["b", "c"], quorum: 1 } },
  }),
  "race-primary-alive": racing({
    cluster: { ...unlocked, failover: toUs },
    peers: { answers: [answer("c", { role: "primary" })] },
  }),
  "race-lost": racing({ done: [...asked, { kind: "acquire-lock", ok: false, message: "" }] }),
};
