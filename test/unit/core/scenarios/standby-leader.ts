// Owns the scenarios of the rules for the leader of a standby cluster: too few simulated clusters are one to reach all of them.

import type { Observation } from "../../../../lib/core/observation.ts";
import { lsn, ms, revision } from "../../../../lib/model/units.ts";
import { answer, CONFIG, cluster, connection, leading, local, member, observation, STANDBY_CLUSTER, status } from "../observations.ts";
import { asked, asPrimary, down, empty, failed, planned, restart, type Scenarios, self } from "./situations.ts";

const config = { ...CONFIG, standbyCluster: STANDBY_CLUSTER };
const view = cluster({
  leader: { name: "b", session: "s-b", revision: revision(4) },
  members: [member("a"), member("b", { role: "standby_leader" }), member("c")],
});
const SETTLED = { upstream: "remote:5433", standbyRole: "standby_leader" } as const;
const remote = { name: "remote primary remote:5433", session: null };
const request = { revision: revision(9), leader: "b", candidate: null, scheduledAt: null, scheduledAtText: null };
const switchover = { ...view, failover: request };
const streaming = local({ ...SETTLED, status: status({ replication: [connection("a"), connection("c")] }) });
const taken = local({ upstream: "host-a:5432" });
const silent = local({ ...SETTLED, notStreamingSince: ms(90_000) });
const lost = { local: down, lastTask: failed("start", 3) };
const mayRemove = { ...self, removeDataDirectoryOnDivergedTimelines: true };

function leads(fields: Parameters<typeof observation>[0] = {}): Observation {
  return observation({ cluster: view, config, lock: leading().lock, local: local(SETTLED), ...fields });
}

export const STANDBY_LEADER: Scenarios = {
  "standby-leader-paused-primary": leads({ local: asPrimary, config: { ...config, pause: true } }),
  "standby-leader-demote": leads({ local: asPrimary }),
  "standby-leader-without-data": leads({ local: empty }),
  "standby-leader-crashed-ask": leads(lost),
  "standby-leader-crashed-release": leads({ ...lost, done: asked, peers: { answers: [answer("c")] } }),
  "standby-leader-start-retry": leads({ ...lost, done: asked }),
  "standby-leader-plan": leads({ local: down }),
  "standby-leader-rewind": leads({ local: down, lastTask: planned("rewind", remote) }),
  "standby-leader-clone": leads({ local: down, lastTask: planned("clone", remote), self: mayRemove }),
  "standby-leader-start": leads({ local: down, lastTask: planned("follow", remote) }),
  "standby-leader-sync-key": leads({ cluster: { ...view, sync: { revision: revision(3), leader: "a", standbys: ["c"], quorum: 0 } } }),
  "standby-leader-failover-stale": leads({ cluster: { ...view, failover: { ...request, leader: "a" } } }),
  "standby-leader-failover-ask": leads({ cluster: switchover, local: streaming }),
  "standby-leader-hand-over": leads({ cluster: switchover, local: streaming, done: asked, peers: { answers: [answer("a")] } }),
  "standby-leader-failover-impossible": leads({ cluster: switchover, local: streaming, done: asked }),
  "standby-leader-restart": leads({ requests: restart }),
  "standby-leader-follow-plan": leads({ local: taken }),
  "standby-leader-follow": leads({ local: taken, lastTask: planned("follow", remote) }),
  "standby-leader-slots": leads({
    local: local({ ...SETTLED, slotsFor: "" }),
    done: [{ kind: "renew-lock", ok: true, message: "" }],
  }),
  "standby-leader-diverged-plan": leads({ local: silent }),
  "standby-leader-diverged-stop": leads({ local: silent, lastTask: planned("rewind", remote) }),
  "standby-leader": leads({ cluster: { ...view, status: { optime: lsn(1000), slots: {}, retainSlots: [] } } }),
};
