// Owns which callback a start or a change of role is told by: on_start, or on_role_change where this process has told another role before.

import type { NodeContext } from "./node-context.ts";
import type { ToldRole } from "./node-state.ts";
import { postgresRole } from "./postgres-words.ts";

/** For a server that has been started: a standby that was told another role until now has changed it. */
export function tellStarted(context: NodeContext, role: ToldRole): void {
  const told = context.state.toldRole;
  if (role !== "primary" && told !== null && told !== role) tellRole(context, role);
  else {
    context.postgres.callback("on_start", role);
    context.state.toldRole = role;
  }
}

/** For a server that ran before this process did, once it has answered: nobody was told of it yet. */
export function tellAdopted(context: NodeContext): void {
  const { local, task, toldRole } = context.state;
  if (toldRole !== null || task !== null || local.process.kind !== "running" || local.status === null) return;
  const role = postgresRole(context.state);
  if (role === "primary" || role === "standby_leader" || role === "replica") tellStarted(context, role);
}

/** For a standby that follows in another role from now on; one that was found running may have been told of already, or not at all. */
export function tellFollowing(context: NodeContext, role: ToldRole): void {
  const { toldRole } = context.state;
  if (toldRole === null) tellStarted(context, role);
  else if (toldRole !== role) tellRole(context, role);
}

/** For a server that goes on running under another role. */
export function tellRole({ postgres, state }: NodeContext, role: ToldRole): void {
  postgres.callback("on_role_change", role);
  state.toldRole = role;
}
