// Owns the plan of `ctl upgrade`: whether it can be asked for, what it will do, in words, and how far back one can go. Changes nothing.

import type { Cluster } from "../../model/cluster.ts";
import { leaderMember } from "../../model/cluster.ts";
import { type FormerUpgrade, isUnreadableUpgrade, type UpgradePhase, type UpgradeRequest } from "../../model/upgrade.ts";
import { overhaulObstacles } from "./restore-plan.ts";

/** Why no upgrade can be begun now, one line each; before the members look at themselves. */
export function upgradeObstacles(cluster: Cluster, paused: boolean): readonly string[] {
  const leader = leaderMember(cluster);
  const idle = cluster.members.filter(({ name, state }) => name !== leader?.name && state !== "streaming" && state !== "running");
  const silent = cluster.members.filter(
    ({ name, replicationState, tags }) => name !== leader?.name && replicationState !== "streaming" && tags["nostream"] !== true,
  );
  return [
    ...overhaulObstacles(cluster, { work: "upgrade", paused }),
    ...(cluster.initialize === null || cluster.initialize === "" ? ["the cluster has no system identifier"] : []),
    ...(cluster.failover === null ? [] : ["a switchover or a failover is asked for: let it come to its end, or flush it"]),
    ...(idle.length === 0 ? [] : [`not every member runs: ${idle.map(({ name, state }) => `${name} is ${state}`).join(", ")}`]),
    ...(idle.length > 0 || silent.length === 0 ? [] : [`not every standby streams: ${silent.map(({ name }) => name).join(", ")}`]),
    ...cluster.members
      .filter(({ tags }) => tags["nostream"] === true)
      .map(({ name }) => `${name} is tagged nostream: it could not get the last WAL`),
  ];
}

/** What the members have found, one line each; empty where nothing stands against it. */
export function checkFaults({ members }: Pick<Cluster, "members">, request: UpgradeRequest): readonly string[] {
  const names = [...new Set([...members.map(({ name }) => name), ...Object.keys(request.checked)])].sort();
  return names.flatMap((name) => {
    const found = request.checked[name];
    if (found === undefined) return [`${name} has not looked at itself`];
    if (found.against !== "") return [`${name}: ${found.against}`];
    if (found.major !== request.toMajor)
      return [`${name}: ${request.binDir} is of version ${found.major}, and of ${request.toMajor} on ${request.node}`];
    return [];
  });
}

export function planLines(request: UpgradeRequest, { members }: Pick<Cluster, "members">): readonly string[] {
  const { node, mode, fromMajor, toMajor, binDir, initdb } = request;
  const others = members.map(({ name }) => name).filter((name) => name !== node);
  const back =
    mode === "link"
      ? "back: ctl upgrade --rollback, until the new server starts in step 5; links share their files with the old data"
      : "back: ctl upgrade --rollback, until the old directory is removed; what was written since is lost then";
  const warnings = Object.entries(request.checked)
    .filter(([, { notes }]) => notes !== "")
    .sort()
    .map(([name, { notes }]) => `beware: ${name}: ${notes}`);
  return [
    `PostgreSQL ${fromMajor} is stopped on ${node}, and then on ${others.join(", ") || "nobody else"} when they have its last WAL; nobody can write until step 5`,
    `on ${node} the data directory is put aside, and kept until you remove it`,
    `on ${node} initdb of version ${toMajor} (${(initdb ?? []).join(" ")})`,
    `on ${node} pg_upgrade${mode === "link" ? " --link" : ""}, whose --check was rehearsed just now; the cluster gets its new system identifier, and loses its history`,
    `${node} leads with version ${toMajor}; postgresql.bin_dir is ${binDir} in its file, which is kept as it was beside it`,
    ...(others.length === 0 ? [] : [`on ${others.join(", ")} the same in the file; the data is deleted and copied from ${node}`]),
    `on ${node} the stanza of pgBackRest is upgraded where there is one, and vacuumdb --analyze-in-stages`,
  ]
    .map((line, index) => `${index + 1}. ${line}`)
    .concat(back, warnings);
}

/** The record of an upgrade that could still be taken back gives way to this one's. */
export function lostWayBack(former: FormerUpgrade | null): readonly string[] {
  if (former === null || typeof rollbackOf(former) === "string") return [];
  return [`beware: upgrade ${former.id} can no longer be taken back once this one is begun`];
}

/** What an operator has to do after it; null where nothing was left. */
export function leftUndone({ direction, analyzed, message }: UpgradeRequest): string | null {
  return direction === "forward" && analyzed ? message : null;
}

/** The way back from here: the phase to write, and what it costs. A text says why there is none. */
export function rollbackOf(request: FormerUpgrade): { readonly phase: UpgradePhase; readonly question: string } | string {
  const { phase, direction, mode, fromMajor, toMajor, id } = request;
  if (isUnreadableUpgrade(request)) return "the request of the upgrade cannot be read: ctl upgrade --abandon ends it";
  if (direction === "back") return phase === "done" ? "it was taken back already" : "it is being taken back already";
  if (phase === "check") return { phase: "done", question: "Nothing was changed yet. Forget the upgrade?" };
  if (phase === "undo") return "it is being undone already";
  if (phase !== "clone" && phase !== "done") return { phase: "undo", question: "Put the old data back?" };
  if (phase === "done" && request.identifier === null) return "there is nothing to take back: the last upgrade changed nothing";
  if (mode === "link")
    return `the server of version ${toMajor} has been started, or is about to: with --link it shares its files with the old data, which may not be started any more. ${isStuck(request) ? `What keeps it from starting can be mended, and then it goes on by itself: ${request.message}` : `Restore a backup of version ${fromMajor} instead`}`;
  return {
    phase: "stop",
    question: `Stop version ${toMajor} everywhere, and go back to the data of version ${fromMajor} as it was at upgrade ${id}? What was written since is lost to the cluster.`,
  };
}

export function describeUpgrade(request: FormerUpgrade): string {
  const { id, phase, direction, node, mode, fromMajor, toMajor, received, cloned, analyzed, checked, message } = request;
  const names = (list: readonly string[]): string => (list.length === 0 ? "nobody" : list.join(", "));
  const version = direction === "back" ? fromMajor : toMajor;
  const words: Readonly<Record<UpgradePhase, string>> = {
    check: `every member looks at itself; done: ${names(Object.keys(checked).sort())}`,
    stop: `${node} is being stopped`,
    drain: `${node} is stopped; its last WAL is on ${names(received)}`,
    upgrade:
      direction === "back"
        ? `${node} puts its data of version ${fromMajor} back`
        : `${node} upgrades its data to version ${toMajor} (${mode})`,
    clone: isStuck(request)
      ? `${node} is to lead with version ${version}`
      : `${node} leads with version ${version}; copied so far: ${names(cloned)}; statistics: ${analyzed ? (message === null ? "made" : "not all is done") : "being made"}`,
    failed: node === "" ? "unknown" : `failed on ${node}`,
    undo: `${node} puts the old data back`,
    done: "done",
  };
  const ways = phase === "failed" && node !== "" ? `: ${WAYS_ON}` : "";
  return `Upgrade ${id}: ${words[phase]}${message === null ? "" : ` (${message})`}${ways}`;
}

/** What was made is in force, and says in its message why it does not start. */
function isStuck({ phase, analyzed, message }: FormerUpgrade): boolean {
  return phase === "clone" && !analyzed && message !== null;
}

/** Of an upgrade that failed. */
export const WAYS_ON = "ctl upgrade --run tries again, --rollback goes back";
