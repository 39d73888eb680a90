// Owns what a quickstart tells a person once it runs: the table, how to connect, where everything is, what to try next.
// It only reads and builds text.

import { isAlive } from "../../postgres/processes.ts";
import { memberListing } from "../ctl/member-table.ts";
import { apiUrl, type ClusterView, readCluster, readStatus } from "./cluster-view.ts";
import type { QuickstartPaths } from "./folder.ts";
import { connectionString, consulPaths, host, nodePaths, raftAddress, scope, ttlSeconds } from "./node-file.ts";
import type { QuickstartState } from "./state.ts";

/** How the caller names this program, e.g. `scripts/quickstart`, and how it must be told the folder (empty: the default). */
export interface Invocation {
  readonly program: string;
  readonly folderOption: string;
}

export async function describeRun(paths: QuickstartPaths, state: QuickstartState, invocation: Invocation): Promise<string> {
  const signal = AbortSignal.timeout(5_000);
  const [view, ...statuses] = await Promise.all([readCluster(state, signal), ...state.nodes.map((node) => readStatus(node, signal))]);
  const systemIdentifier = statuses.find((status) => status?.database_system_identifier !== undefined)?.database_system_identifier ?? null;
  const table = view === null ? "No node answers." : drawTable(view, systemIdentifier);
  const down = state.nodes.filter((node) => node.process === null || !isAlive(node.process)).map((node) => node.name);
  const command = (words: string) => `${invocation.program}${invocation.folderOption} ${words}`;
  const leader = state.nodes.find((node) => view?.members.some((member) => member.name === node.name && member.role === "leader"));
  return [
    table,
    ...(down.length > 0 ? [`Not running: ${down.join(", ")} (start again with: ${invocation.program}${invocation.folderOption})`] : []),
    "",
    "Connect (always to the primary):",
    `  PGPASSFILE=${quote(paths.passwordFile)} psql '${connectionString(state)}'`,
    "",
    `Data    ${paths.run}`,
    ...state.nodes.map((node) => `${node.name}   API ${apiUrl(node)}  log ${nodePaths(paths, node.name).log}`),
    storeLine(paths, state),
    "",
    `Stop    ${command("stop")}`,
    "",
    "Try next:",
    `  ${command("psql -c 'create table herd (name text)'")}`,
    leader?.process
      ? `  kill -9 ${leader.process.pid}    # the supervisor of ${leader.name}, the leader: another node takes over within ${ttlSeconds(state)} s`
      : `  ${command("logs node1")}`,
    `  ${command("status")}`,
  ].join("\n");
}

function storeLine(paths: QuickstartPaths, state: QuickstartState): string {
  if (state.consul !== null) return `Consul  API http://${host}:${state.consul.httpPort}  log ${consulPaths(paths).log}`;
  return `Raft    ${state.nodes.map(raftAddress).join(", ")}: a member in each node`;
}

/** The same table as ctl's list; "" where the identifier is not known yet. */
export function drawTable(view: ClusterView, systemIdentifier: string | null): string {
  const members = [...view.members].sort((a, b) => (a.name < b.name ? -1 : 1));
  const listed = { scope, systemIdentifier: systemIdentifier ?? "", group: null, members, pause: view.pause };
  return memberListing([listed], { format: "pretty", extended: false, names: "plain" }).trimEnd();
}

function quote(text: string): string {
  return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
