// Owns the appointment for a restart of PostgreSQL: kept in the member key, so that it outlives the supervisor; looked at anew when its
// time has come. The restart itself is the loop's.

import { isStale, parseAppointment } from "../core/appointment.ts";
import { restartObstacle } from "../core/restart-filters.ts";
import { findMember } from "../model/cluster.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeState, ScheduledRestart } from "./node-state.ts";
import { postgresRole } from "./postgres-words.ts";

/** As the member key and the status document show it; null where there is none. */
export function scheduledRestartFields({ scheduledRestart: due }: NodeState): Readonly<Record<string, unknown>> | null {
  if (due === null) return null;
  const { schedule, filters, postmasterStartTime } = due;
  return { schedule, ...filters, ...(postmasterStartTime === null ? {} : { postmaster_start_time: postmasterStartTime }) };
}

/** Of a former process of this node, where its member key still stands. To be called before this one writes it. */
export function recallScheduledRestart({ state }: NodeContext): void {
  if (state.cluster === null || state.published !== null || state.scheduledRestart !== null) return;
  const fields = findMember(state.cluster, state.settings.node.name)?.scheduledRestart ?? null;
  if (fields === null) return;
  const { schedule, postmaster_start_time: startTime, ...filters } = fields;
  const appointment = typeof schedule === "string" ? parseAppointment(schedule) : null;
  if (appointment?.kind !== "ok") return;
  const postmasterStartTime = typeof startTime === "string" ? startTime : null;
  state.scheduledRestart = { schedule: String(schedule), at: appointment.epochMs, filters, postmasterStartTime };
}

/**
 * A restart whose time has come is asked for; one whose conditions do not hold is dropped, and one that has happened before its time as soon
 * as that is seen. In pause nothing is kept that was scheduled.
 */
export function takeScheduledRestart(context: NodeContext): void {
  const { clock, log, state } = context;
  const due = state.scheduledRestart;
  const started = state.local.status?.postmasterStartTime ?? null;
  if (due !== null && due.postmasterStartTime !== null && started !== null && started !== due.postmasterStartTime) {
    state.scheduledRestart = null;
    log.info(`Cancelling scheduled restart: postgres restart has already happened at ${started}`);
    return;
  }
  if (due === null || clock.wallNow() < due.at || state.settings.dynamic.pause) return;
  state.scheduledRestart = null;
  if (isStale(clock.wallNow() - due.at, state.settings.dynamic.loopWaitMs)) {
    log.warning(`Found a stale restart value, cleaning up: ${due.schedule}`);
    return;
  }
  log.info(`Manual scheduled restart at ${due.schedule}`);
  const obstacle = whyNot(context, due);
  if (obstacle === null) {
    state.requests = { ...state.requests, restart: true };
    return;
  }
  log.info(`not proceeding with the restart: ${obstacle}`);
  log.warning("Scheduled restart: restart conditions are not satisfied");
}

function whyNot({ postgres, state }: NodeContext, due: ScheduledRestart): string | null {
  const { role, postgres_version: version, restart_pending: pending } = due.filters;
  const filters = {
    role: role === undefined ? null : String(role),
    postgresVersion: version === undefined ? null : String(version),
    restartPending: pending === true,
  };
  const facts = {
    role: postgresRole(state),
    serverVersion: state.local.status?.serverVersion ?? null,
    pendingRestart: Object.keys(postgres.pendingRestart()).length > 0,
  };
  return restartObstacle(filters, facts);
}
