// Owns what a person would say has happened between two looks at a cluster. Pure; positions and lags are not news.

import type { ClusterView, MemberView } from "./cluster-view.ts";

/** One line for each change, the leader's first; empty where nothing happened. */
export function clusterChanges(before: ClusterView, after: ClusterView): readonly string[] {
  return [...leaderChange(before, after), ...maintenanceChange(before, after), ...memberChanges(before, after)];
}

function leaderChange(before: ClusterView, after: ClusterView): readonly string[] {
  const [old, present] = [leaderOf(before), leaderOf(after)];
  if (old?.name !== present?.name) {
    if (present === null) return [`${old?.name} no longer leads: nobody does`];
    return [old === null ? `${present.name} leads` : `the leader is ${present.name} instead of ${old.name}`];
  }
  if (old === null || present === null || old.timeline === present.timeline || present.timeline === undefined) return [];
  return [`${present.name} is on timeline ${present.timeline}`];
}

function maintenanceChange(before: ClusterView, after: ClusterView): readonly string[] {
  const lines: string[] = [];
  if (before.pause !== after.pause) lines.push(after.pause ? "maintenance mode is on" : "maintenance mode is off");
  const planned = after.scheduled_switchover;
  if (before.scheduled_switchover?.at !== planned?.at) {
    lines.push(planned === undefined ? "no switchover is scheduled any more" : `a switchover is scheduled at ${planned.at}`);
  }
  return lines;
}

function memberChanges(before: ClusterView, after: ClusterView): readonly string[] {
  const gone = before.members.filter(({ name }) => find(after, name) === null).map(({ name }) => `${name} is gone`);
  const changed = after.members.flatMap((member) => {
    const old = find(before, member.name);
    if (old === null) return [`${member.name} is new: ${member.state}`];
    const lines: string[] = [];
    if (old.state !== member.state) lines.push(`${member.name}: ${old.state} -> ${member.state}`);
    if (old.role !== member.role && !leads(old) && !leads(member))
      lines.push(`${member.name}: ${words(old.role)} -> ${words(member.role)}`);
    if (old.pending_restart !== member.pending_restart)
      lines.push(`${member.name}: ${member.pending_restart ? "a restart is pending" : "no restart is pending any more"}`);
    return lines;
  });
  return [...gone, ...changed];
}

function leaderOf(view: ClusterView): MemberView | null {
  return view.members.find(leads) ?? null;
}

function leads({ role }: MemberView): boolean {
  return role === "leader" || role === "standby_leader";
}

function find(view: ClusterView, name: string): MemberView | null {
  return view.members.find((member) => member.name === name) ?? null;
}

function words(role: string): string {
  return role.replaceAll("_", " ");
}
