// Owns the words by which members and the API tell what the local PostgreSQL is and does: Patroni's. Derived from what the node remembers.

import type { PostgresState, Role } from "../model/member.ts";
import type { NodeState } from "./node-state.ts";

/** The word for the state of PostgreSQL, as members and the API show it. */
export function postgresState(state: NodeState): PostgresState {
  const kind = state.task?.kind;
  const custom = state.settings.node.bootstrap.method !== "initdb";
  if (kind === "bootstrap" && state.local.process.kind === "running") return custom ? "starting after custom bootstrap" : "starting";
  if (kind === "restore") return "running custom bootstrap script";
  if (kind === "bootstrap") return custom ? "running custom bootstrap script" : "initializing new cluster";
  if (kind === "clone" || kind === "bootstrap-standby") return "creating replica";
  if (kind === "restart" && state.isGoingDown()) return "restarting";
  if (kind === "copy-slots" && state.isGoingDown()) return state.local.process.kind === "running" ? "stopping" : "starting";
  if (kind === "stop" || (kind === "hand-over" && state.isGoingDown())) return "stopping";
  if (kind === "start") return "starting";
  if (state.local.process.kind === "running")
    return state.local.status === null && state.local.statusError !== null ? "starting" : "running";
  // In pause it may have been stopped by hand as well.
  if (state.local.crashedAt !== null && !state.settings.dynamic.pause) return "crashed";
  if (state.lastTask?.kind === "start" && !state.lastTask.ok) return "start failed";
  if (state.lastTask?.kind === "bootstrap" && !state.lastTask.ok) return custom ? "custom bootstrap failed" : "initdb failed";
  return "stopped";
}

/** Its role, as they show it. Decides nothing: who may be primary is judged by the lease and by PostgreSQL's own word. */
export function postgresRole(state: NodeState): Role {
  const { dataDirectory, lastRole, process } = state.local;
  if (dataDirectory.kind !== "valid" && process.kind === "none") return "uninitialized";
  const kind = state.task?.kind;
  if (kind === "clone" || kind === "bootstrap-standby") return "uninitialized";
  if (kind === "bootstrap" && process.kind === "running" && !recoversFirst(state)) return "primary";
  if (lastRole === "primary") {
    if (process.kind === "running") return "primary";
    const down = downPrimary(state);
    if (down !== null) return down;
  }
  return state.held !== null && state.settings.dynamic.standbyCluster !== null ? "standby_leader" : "replica";
}

/** What a custom bootstrap has restored is a standby until its recovery has ended. */
function recoversFirst({ settings }: NodeState): boolean {
  const { method, methodOptions } = settings.node.bootstrap;
  return method !== "initdb" && ["recovery_conf", "keep_existing_recovery_conf"].some((name) => Boolean(methodOptions?.[name]));
}

/**
 * Of a primary that does not run: it stays one while its own lease runs (a restart, a crash), and where it was stopped by somebody else, in
 * pause. Whoever took the lead away from it has demoted it. Null: nothing says that it will be a primary again; candidates that ask must
 * not take it for one that may come back to write.
 */
function downPrimary(state: NodeState): Role | null {
  const kind = state.task?.kind ?? state.lastTask?.kind;
  if ((kind === "hand-over" || kind === "stop") && !state.requests.shutdown) return "demoted";
  return state.leaseValid() || postgresState(state) === "stopped" ? "primary" : null;
}
