// Owns which members a command is about: by role, by name, and the question before something is done to them.

import type { MemberView } from "../../core/cluster-view.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { confirm } from "./prompt.ts";
import { CtlRefusal } from "./refusal.ts";

export const ROLES = ["leader", "primary", "standby-leader", "replica", "standby", "any"] as const;
export type RoleChoice = (typeof ROLES)[number];

export function hasRole(member: MemberView, role: RoleChoice): boolean {
  const leads = member.role === "leader" || member.role === "standby_leader";
  switch (role) {
    case "any":
      return true;
    case "leader":
      return leads;
    case "primary":
      return member.role === "leader";
    case "standby-leader":
      return member.role === "standby_leader";
    case "replica":
    case "standby":
      return !leads;
  }
}

/** The leader first, then the others in the order of their names. */
export function leaderFirst(members: readonly MemberView[]): readonly MemberView[] {
  return [...members.filter((member) => hasRole(member, "leader")), ...members.filter((member) => !hasRole(member, "leader"))];
}

/**
 * The members of that role, of the names given where there are any. Throws CtlRefusal where the cluster has no members,
 * where a name is nobody's, or where nobody is left.
 */
export function chooseMembers(
  read: ReadCluster,
  options: { readonly names: readonly string[]; readonly role: RoleChoice },
): readonly MemberView[] {
  const { members } = read.view;
  if (members.length === 0) throw new CtlRefusal(`${read.scope} cluster doesn't have any members`);
  for (const name of options.names) {
    if (!members.some((member) => member.name === name)) throw new CtlRefusal(`${name} is not a member of cluster ${read.scope}`);
  }
  const chosen = members.filter(
    (member) => hasRole(member, options.role) && (options.names.length === 0 || options.names.includes(member.name)),
  );
  if (chosen.length > 0) return chosen;
  throw new CtlRefusal(`No ${options.role} among provided members`);
}

/**
 * `Are you sure you want to restart members n1, n2?`, with ` at TIME` for an appointment; above it, for each member, what a yes `means`.
 * Throws CtlRefusal on no.
 */
export function confirmFor(
  context: CtlContext,
  members: readonly MemberView[],
  options: {
    readonly action: string;
    readonly force: boolean;
    readonly at?: string | null;
    readonly means?: (member: MemberView) => string | null;
  },
): Promise<void> {
  const at = options.at ?? null;
  const names = members.map((member) => member.name).join(", ");
  const question =
    at === null
      ? `Are you sure you want to ${options.action} members ${names}?`
      : `Are you sure you want to schedule ${options.action} of members ${names} at ${at}?`;
  if (!options.force) {
    for (const member of members) {
      const line = options.means?.(member) ?? null;
      if (line !== null) context.terminal.out(`${member.name}: ${line}\n`);
    }
  }
  const refusal = at === null ? `Aborted ${options.action}` : `Aborted scheduled ${options.action}`;
  return confirm(context.terminal, question, { force: options.force, refusal });
}
