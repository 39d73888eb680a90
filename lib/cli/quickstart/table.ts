// Owns the cluster's table as the quickstart prints it. Pure: rows in, text out.

import type { ClusterView, MemberView } from "./cluster-view.ts";

const roles: Readonly<Record<string, string>> = {
  leader: "Leader",
  standby_leader: "Standby Leader",
  sync_standby: "Sync Standby",
  quorum_standby: "Quorum Standby",
  replica: "Replica",
};

const columns = ["Member", "Host", "Role", "State", "TL", "Receive LSN", "Lag", "Replay LSN", "Lag"] as const;
/** Columns of numbers stand at the right. */
const rightAligned: ReadonlySet<number> = new Set([4, 5, 6, 7, 8]);

/** Draws members by name; lag in MB, as patronictl does. `systemIdentifier` null: not known yet. */
export function drawTable(view: ClusterView, options: { readonly scope: string; readonly systemIdentifier: string | null }): string {
  const rows = [...view.members].sort((a, b) => (a.name < b.name ? -1 : 1)).map(cellsOf);
  const widths = columns.map((title, index) => Math.max(title.length, ...rows.map((row) => row[index]?.length ?? 0)));
  const line = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const title = `+ Cluster: ${options.scope} (${options.systemIdentifier ?? "initializing"}) `;
  const draw = (cells: readonly string[], fit: (text: string, index: number) => string) => `| ${cells.map(fit).join(" | ")} |`;
  const left = (text: string, index: number) => text.padEnd(widths[index] ?? 0);
  const aligned = (text: string, index: number) => (rightAligned.has(index) ? text.padStart(widths[index] ?? 0) : left(text, index));
  return [title + line.slice(title.length), draw(columns, left), line, ...rows.map((row) => draw(row, aligned)), line].join("\n");
}

function cellsOf(member: MemberView): readonly string[] {
  const address = member.host === undefined ? "" : `${member.host}:${member.port ?? ""}`;
  const text = (value: string | number | undefined) => (value === undefined ? "" : String(value));
  return [
    member.name,
    address,
    roles[member.role] ?? member.role,
    member.state,
    text(member.timeline),
    text(member.receive_lsn),
    megabytes(member.receive_lag),
    text(member.replay_lsn),
    megabytes(member.replay_lag),
  ];
}

function megabytes(lag: number | string | undefined): string {
  return typeof lag === "number" ? String(Math.floor(lag / (1024 * 1024))) : (lag ?? "");
}
