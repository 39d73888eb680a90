// Owns the scenarios of the rules for the holder of the lock: PostgreSQL down, to be promoted, at work as the leader.

import { NO_FAILSAFE } from "../../../../lib/core/failsafe.ts";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import { ms, revision, timeline } from "../../../../lib/model/units.ts";
import { answer, CONFIG, cluster, connection, leading, local, observation, primaryStatus, unlocked } from "../observations.ts";
import {
  asked,
  asPrimary,
  down,
  empty,
  failed,
  holding,
  over,
  paused,
  renewedInVain,
  restart,
  type Scenarios,
  self,
  stopped,
  synchronous,
} from "./situations.ts";

const taken = [{ kind: "acquire-lock" as const, ok: false, message: "" }];
const impatient = { ...CONFIG, primaryStartTimeoutMs: ms(1000) };
const crashed = stopped("in production", { crashedAt: ms(90_000) });
const failsafe = { ...CONFIG, failsafeMode: true };
const view = leading().dcs.cluster as Cluster;
const toAny = { revision: revision(9), leader: "b", candidate: "c", scheduledAt: null, scheduledAtText: null };
const switchover = { ...view, failover: toAny };
const streaming = local({ status: primaryStatus({ replication: [connection("c")] }), lastRole: "primary", upstream: "" });
const quorum = { ...CONFIG, synchronousMode: "quorum" as const };
const ours = (sync: Partial<Cluster["sync"]>): Cluster => ({
  ...view,
  sync: { revision: revision(3), leader: "b", standbys: [], quorum: 0, ...sync },
});
const key = (leader: string, standbys: readonly string[], votes = 0): Cluster => ({
  ...holding.cluster,
  sync: { revision: revision(3), leader, standbys, quorum: votes },
});
const hung = { ...holding, config: impatient, local: local({ status: null, lastRole: "primary", crashedAt: ms(90_000) }) };

export const LEADER: Scenarios = {
  "primary-foreign-lock": observation({ local: asPrimary }),
  "primary-own-name-old-session": observation({
    cluster: cluster({ leader: { name: "b", session: "s-old", revision: revision(4) } }),
    local: asPrimary,
  }),
  "primary-superseded": observation({
    cluster: { ...unlocked, history: [{ timeline: timeline(1), lsn: 900n as never, reason: "", time: null, newLeader: "a" }] },
    local: asPrimary,
  }),
  "primary-lock-vanished": leading({ cluster: unlocked }),
  "primary-no-lock": leading({ cluster: unlocked, done: taken }),
  "lease-over": leading({ lock: { held: over }, done: renewedInVain }),
  "holder-no-lease": observation({ ...holding, lock: { held: over }, done: renewedInVain }),
  "holder-paused-initialize": leading({ config: paused, local: { ...asPrimary, systemIdentifier: "8" } }),
  "holder-config": leading({ cluster: { ...holding.cluster, config: null } }),
  "holder-paused-release": observation({ ...holding, config: paused, local: down }),
  "holder-paused-down": observation({
    ...holding,
    config: paused,
    local: down,
    done: [{ kind: "release-lock", ok: false, message: "" }],
  }),
  "holder-fencing-missing": observation({ ...holding, local: down, self: { ...self, fencingMissing: true } }),
  "holder-start-retry": observation({ ...holding, local: down, lastTask: failed("start") }),
  "holder-read-control": observation({ ...holding, local: down }),
  "holder-restart-crashed": observation({ ...holding, local: stopped("in production") }),
  "holder-crashed-ask": observation({ ...holding, config: impatient, local: crashed }),
  "holder-crashed-release": observation({
    ...holding,
    config: impatient,
    local: crashed,
    done: asked,
    peers: { answers: [answer("c")] },
  }),
  "holder-crashed-alone": observation({ ...holding, config: impatient, local: crashed, done: asked }),
  "holder-without-data": observation({ ...holding, local: empty }),
  "leader-fencing-missing": leading({ self: { ...self, fencingMissing: true } }),
  "holder-no-service-ask": observation(hung),
  "holder-no-service": observation({ ...hung, done: asked, peers: { answers: [answer("c")] } }),
  "holder-restart-unanswered": observation({
    ...holding,
    local: local({ status: null, lastRole: "primary", statusMissingSince: ms(90_000) }),
    requests: restart,
  }),
  "holder-starting": observation({ ...holding, local: local({ status: null }) }),
  "promote-failsafe-promised": observation({
    ...holding,
    config: failsafe,
    failsafe: { ...NO_FAILSAFE, promise: { leader: "a", until: ms(103_000) } },
  }),
  "promote-failsafe-unknown": observation({
    ...holding,
    config: failsafe,
    cluster: { ...holding.cluster, failsafe: { a: "http://a", c: "http://c" } },
  }),
  "promote-fencing-missing": observation({ ...holding, self: { ...self, fencingMissing: true } }),
  "promote-ask-voters": observation({ ...holding, config: quorum, cluster: key("a", ["b", "c"], 1) }),
  "promote-not-allowed": observation({ ...holding, config: synchronous, cluster: key("a", ["c"]) }),
  "promote-hook": observation({ ...holding, self: { ...self, prePromote: "due" } }),
  "promote-sync-key": observation({ ...holding, config: synchronous, cluster: key("a", ["b"]) }),
  "promote-sync-key-failed": observation({
    ...holding,
    config: synchronous,
    cluster: key("a", ["b"]),
    done: [{ kind: "write-sync", ok: false, message: "" }],
  }),
  "promote-retry": observation({ ...holding, lastTask: failed("promote", 3) }),
  "promote-wait": observation({ ...holding, lastTask: failed("promote", 1) }),
  "failover-stale": leading({ cluster: { ...view, failover: { ...toAny, leader: "a" } } }),
  "failover-ask": leading({ cluster: switchover }),
  "failover-hand-over": leading({ cluster: switchover, local: streaming, done: asked, peers: { answers: [answer("c")] } }),
  "failover-impossible": leading({ cluster: switchover, done: asked }),
  "leader-restart": leading({ requests: restart }),
  "leader-sync-key": leading({ config: synchronous }),
  "leader-sync-names": leading({ config: synchronous, cluster: ours({}), local: streaming }),
  "leader-history": leading({ local: local({ ...asPrimary, status: primaryStatus({ timeline: timeline(2) }) }) }),
  "leader-sync-pending": leading({
    config: synchronous,
    cluster: ours({}),
    local: local({
      lastRole: "primary",
      upstream: "",
      status: primaryStatus({ synchronousStandbyNames: "c", replication: [connection("c")] }),
    }),
  }),
  "failover-pending": leading({ cluster: switchover, local: { ...asPrimary, promotedAt: ms(99_000) }, done: asked }),
  "leader-grace": leading({ config: synchronous, cluster: ours({}), local: { ...asPrimary, promotedAt: ms(99_500) } }),
};
