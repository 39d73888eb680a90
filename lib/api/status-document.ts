// Owns the status document (contract §4): GET /patroni and the body of the health paths, its fields in Patroni's order.
// Serialised once per change of the facts, not once per request. Asks nobody anything.

import { formatJson } from "../core/json-text.ts";
import type { CopyProgress } from "../model/postgres.ts";
import { COMPATIBLE_PATRONI_VERSION, PRODUCT_NAME, PRODUCT_VERSION } from "../model/product.ts";
import type { NodeFacts } from "../runtime/node-service.ts";
import { shownRole, synchronousStanding } from "../runtime/role-facts.ts";

/** Nobody is known to lead: nobody holds the lock, or the DCS cannot say who does. */
export function isUnlocked({ cluster, dcsReachable }: NodeFacts): boolean {
  return !dcsReachable || cluster === null || cluster.leader === null;
}

export function statusDocument(facts: NodeFacts): Readonly<Record<string, unknown>> {
  return {
    state: facts.state,
    ...postgresPart(facts),
    pause: facts.paused || undefined,
    cluster_unlocked: isUnlocked(facts) || undefined,
    failsafe_mode_is_active: facts.failsafeActive || undefined,
    dcs_last_seen: Math.trunc(facts.dcsLastSeenEpochSeconds),
    tags: isEmpty(facts.tags) ? undefined : facts.tags,
    database_system_identifier: facts.systemIdentifier ?? undefined,
    pending_restart: !isEmpty(facts.pendingRestart) || undefined,
    pending_restart_reason: isEmpty(facts.pendingRestart) ? undefined : facts.pendingRestart,
    scheduled_restart: facts.scheduledRestart === null || isEmpty(facts.scheduledRestart) ? undefined : facts.scheduledRestart,
    watchdog_failed: facts.watchdogFailed || undefined,
    patroni: { version: COMPATIBLE_PATRONI_VERSION, scope: facts.config.scope, name: facts.config.name },
    product: { name: PRODUCT_NAME, version: PRODUCT_VERSION },
    fencing: facts.fencing,
    raft: facts.raft ?? undefined,
    vip: facts.vip ?? undefined,
    copy: facts.copy === null ? undefined : copyPart(facts.copy),
    lease_held: facts.holdsLock || undefined,
    decision: facts.lastDecision ?? undefined,
  };
}

function copyPart({ doneBytes, totalBytes, percent }: CopyProgress): Readonly<Record<string, number>> {
  return { bytes: doneBytes, total_bytes: totalBytes, percent };
}

function postgresPart(facts: NodeFacts): Readonly<Record<string, unknown>> {
  const postgres = facts.postgres;
  const role = shownRole(facts);
  if (postgres === null) return { role };
  const standing = synchronousStanding(facts);
  const replicationState = postgres.inRecovery ? postgres.replicationState : null;
  const replication = postgres.replication.map((connection) => ({
    usename: connection.usename,
    application_name: connection.applicationName,
    client_addr: connection.clientAddr,
    state: connection.state,
    sync_state: connection.syncState,
    sync_priority: connection.syncPriority,
  }));
  return {
    postmaster_start_time: postgres.postmasterStartTime,
    role,
    server_version: postgres.serverVersion,
    xlog: postgres.inRecovery
      ? {
          received_location: postgres.receivedLsn ?? 0,
          replayed_location: postgres.replayedLsn ?? 0,
          replayed_timestamp: postgres.replayTimestamp,
          paused: postgres.replayPaused,
        }
      : { location: postgres.walLsn ?? 0 },
    sync_standby: standing === "sync" || undefined,
    quorum_standby: standing === "quorum" || undefined,
    timeline: postgres.timeline ?? 0,
    replication_state: replicationState ?? undefined,
    replication: replication.length === 0 ? undefined : replication,
  };
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}

/** The serialised document, made anew only when one of its ingredients is another value than last time. Small ones count by content. */
export class StatusText {
  #ingredients: readonly unknown[] = [];
  #text = "";

  of(facts: NodeFacts): string {
    const ingredients = [
      facts.postgres,
      facts.state,
      facts.role,
      facts.paused,
      facts.cluster,
      facts.dcsReachable,
      facts.failsafeActive,
      Math.trunc(facts.dcsLastSeenEpochSeconds),
      JSON.stringify(facts.tags),
      facts.systemIdentifier,
      JSON.stringify(facts.pendingRestart),
      JSON.stringify(facts.scheduledRestart),
      facts.watchdogFailed,
      facts.config,
      facts.dynamic,
      facts.fencing,
      facts.raft,
      facts.vip,
      facts.copy,
      JSON.stringify(facts.lastDecision),
      facts.holdsLock,
    ];
    if (!same(ingredients, this.#ingredients)) {
      this.#text = formatJson(statusDocument(facts));
      this.#ingredients = ingredients;
    }
    return this.#text;
  }
}

function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) {
    if (a[index] !== b[index]) return false;
  }
  return true;
}
