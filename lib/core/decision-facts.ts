// Owns the extract of an observation that an event carries: on what facts a rule decided. Pure.

import type { DecisionFacts, PeerSaid } from "../model/event.ts";
import { formatLsn } from "../model/lsn.ts";
import { type Lsn, lsn } from "../model/units.ts";
import { isPaused, leaseRemaining, lockIsOurs, ownLsn } from "./facts.ts";
import type { Observation, PeerAnswer } from "./observation.ts";

export function decisionFacts(o: Observation): DecisionFacts {
  const cluster = o.dcs.cluster;
  const position = ownLsn(o);
  const request = cluster?.failover ?? null;
  const { sync } = cluster ?? { sync: null };
  return {
    dcs: o.dcs.kind,
    leader: cluster?.leader?.name ?? null,
    lock: cluster === null ? "unknown" : cluster.leader === null ? "free" : lockIsOurs(o) ? "ours" : "foreign",
    lease_remaining_ms: o.lock.held === null ? null : Math.round(leaseRemaining(o)),
    paused: isPaused(o),
    state: o.local.state,
    role: o.local.lastRole,
    timeline: o.local.status?.timeline ?? null,
    wal: position === null ? null : formatLsn(lsn(position)),
    published_wal: written(cluster?.status.optime ?? null),
    task: o.task?.kind ?? null,
    request: request === null ? null : { leader: request.leader, candidate: request.candidate, scheduled_at: request.scheduledAtText },
    sync:
      sync === null || o.config.synchronousMode === "off"
        ? null
        : { leader: sync.leader, standbys: [...sync.standbys], quorum: sync.quorum },
    answers: Object.fromEntries(o.peers.answers.map((answer) => [answer.name, said(answer)])),
  };
}

function said({ status }: PeerAnswer): PeerSaid | null {
  if (status === null) return null;
  return { state: status.state, role: status.role, timeline: status.timeline, wal: written(status.lsn) };
}

function written(position: Lsn | null): string | null {
  return position === null ? null : formatLsn(position);
}
