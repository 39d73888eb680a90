// Owns the listing of a cluster's members: which columns there are, what stands in them, the title and the lines below.
// Pure: made from the cluster's view (lib/core/cluster-view.ts), or from what a node answered to GET /cluster.

import { type Format, formatListing, type Listing, yamlText } from "./formats.ts";

/** Roles as tables show them. */
export const ROLE_WORDS: Readonly<Record<string, string>> = {
  leader: "Leader",
  standby_leader: "Standby Leader",
  sync_standby: "Sync Standby",
  quorum_standby: "Quorum Standby",
  replica: "Replica",
};

/** PostgreSQL's own port is not worth a mention where nobody has another one. */
const DEFAULT_PORT = 5432;
const BYTES_PER_MEGABYTE = 1024n * 1024n;

/** Of a member, what a table shows. Lags are bytes. */
export interface ListedMember {
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly timeline?: number | undefined;
  readonly receive_lsn?: string | undefined;
  readonly receive_lag?: number | bigint | string | undefined;
  readonly replay_lsn?: string | undefined;
  readonly replay_lag?: number | bigint | string | undefined;
  readonly pending_restart?: boolean | undefined;
  readonly pending_restart_reason?: Readonly<Record<string, { readonly old_value: string; readonly new_value: string }>> | undefined;
  readonly scheduled_restart?: Readonly<Record<string, unknown>> | undefined;
  readonly tags?: Readonly<Record<string, unknown>> | undefined;
}

export interface ListedCluster {
  readonly scope: string;
  /** `initialize` as it is in the DCS: null = absent, "" = a bootstrap is running. */
  readonly systemIdentifier: string | null;
  /** MPP group; null outside MPP. */
  readonly group: number | null;
  readonly members: readonly ListedMember[];
  readonly pause?: boolean | undefined;
  readonly scheduled_switchover?: { readonly at: string; readonly from?: string; readonly to?: string } | undefined;
}

export interface ListingOptions {
  readonly format: Format;
  /** Show the columns that are otherwise hidden while they are empty. */
  readonly extended: boolean;
  /** `tree`: names are drawn below the member they replicate from; the rows must be in that order. */
  readonly names: "plain" | "tree";
}

/** The members of one cluster, or of all groups of an MPP cluster, with the title and the lines below (pretty only). */
export function memberListing(parts: readonly ListedCluster[], options: ListingOptions): string {
  const grouped = parts.length > 1 || (options.format !== "pretty" && parts[0]?.group !== null);
  const withPort = needsPort(parts.flatMap(({ members }) => members));
  const rows = parts.flatMap((part) => part.members.map((member) => rowOf(part, member, { ...options, grouped, withPort })));
  const listing: Listing = { title: titleOf(parts), columns: columnsOf(rows, options, grouped), rows };
  const text = formatListing(listing, options.format);
  return options.format === "pretty" ? text + parts.map((part) => footer(part, grouped)).join("") : text;
}

function titleOf(parts: readonly ListedCluster[]): string {
  const [first] = parts;
  if (first === undefined) return "Cluster:";
  if (parts.length > 1) return `Citus cluster: ${first.scope}`;
  const identifier = first.systemIdentifier === null ? "uninitialized" : first.systemIdentifier || "initializing";
  return first.group === null
    ? `Cluster: ${first.scope} (${identifier})`
    : `Citus cluster: ${first.scope} (group: ${first.group}, ${identifier})`;
}

const OPTIONAL_COLUMNS = ["Pending restart", "Pending restart reason", "Scheduled restart", "Tags"] as const;

function columnsOf(rows: Listing["rows"], options: ListingOptions, grouped: boolean): Listing["columns"] {
  const pretty = options.format === "pretty";
  const extended = options.extended && (pretty || options.format === "tsv");
  const shown = OPTIONAL_COLUMNS.filter((title) => extended || rows.some((row) => row[title] !== undefined));
  return [
    ...(pretty ? [] : [{ title: "Cluster", align: "left" as const }]),
    ...(grouped ? [{ title: "Group", align: "right" as const }] : []),
    ...["Member", "Host", "Role", "State"].map((title) => ({ title, align: "left" as const })),
    { title: "TL", align: "right" },
    { title: "Receive LSN", align: "right" },
    { title: "Receive Lag", heading: "Lag", align: "right" },
    { title: "Replay LSN", align: "right" },
    { title: "Replay Lag", heading: "Lag", align: "right" },
    ...shown.map((title) => ({ title, align: "left" as const })),
  ];
}

function rowOf(
  part: ListedCluster,
  member: ListedMember,
  options: ListingOptions & { readonly grouped: boolean; readonly withPort: boolean },
): Readonly<Record<string, unknown>> {
  const reasons = Object.entries(member.pending_restart_reason ?? {}).map(
    ([name, { old_value, new_value }]) => `${name}: ${old_value}->${new_value}`,
  );
  const tags = member.tags ?? {};
  const plainTags = options.format === "pretty" && options.names === "plain";
  const cells: readonly (readonly [string, unknown])[] = [
    ["Cluster", part.scope],
    ["Group", options.grouped ? (part.group ?? undefined) : undefined],
    ["Member", member.name],
    ["Host", hostOf(member, options.withPort)],
    ["Role", ROLE_WORDS[member.role] ?? member.role],
    ["State", member.state],
    ["TL", member.timeline],
    ["Receive LSN", member.receive_lsn],
    ["Receive Lag", megabytes(member.receive_lag)],
    ["Replay LSN", member.replay_lsn],
    ["Replay Lag", megabytes(member.replay_lag)],
    ["Pending restart", member.pending_restart ? "*" : undefined],
    ["Pending restart reason", reasons.length === 0 ? undefined : reasons.join("\n")],
    ["Scheduled restart", member.scheduled_restart?.["schedule"]],
    ["Tags", Object.keys(tags).length === 0 ? undefined : plainTags ? yamlText(tags).trimEnd() : tags],
  ];
  return Object.fromEntries(cells.filter(([, value]) => value !== undefined));
}

/** Whole megabytes, rounded; a lag that is not known is left empty. */
function megabytes(lag: number | bigint | string | undefined): number | undefined {
  if (typeof lag !== "number" && typeof lag !== "bigint") return undefined;
  return Number((BigInt(lag) + BYTES_PER_MEGABYTE / 2n) / BYTES_PER_MEGABYTE);
}

/** Ports are shown for all where one is not the default, or where two members share a host. */
function needsPort(members: readonly ListedMember[]): boolean {
  const hosts = members.map((member) => member.host).filter((host) => host !== undefined);
  return members.some((member) => member.host !== undefined && member.port !== DEFAULT_PORT) || new Set(hosts).size < hosts.length;
}

function hostOf(member: ListedMember, withPort: boolean): string | undefined {
  if (member.host === undefined) return undefined;
  return withPort ? `${member.host}:${member.port ?? DEFAULT_PORT}` : member.host;
}

function footer(part: ListedCluster, grouped: boolean): string {
  const lines: (readonly [string, string])[] = [];
  if (part.pause) lines.push([" Maintenance mode", "on"]);
  const planned = part.scheduled_switchover;
  if (planned !== undefined) {
    lines.push([" Switchover scheduled at", planned.at]);
    if (planned.from !== undefined) lines.push(["                    from", planned.from]);
    if (planned.to !== undefined) lines.push(["                      to", planned.to]);
  }
  const text = lines.map(([label, value]) => `${label}: ${value}\n`).join("");
  return grouped && text !== "" ? `Citus group: ${part.group}\n${text}` : text;
}

/** Leader first, then each member below the one that it replicates from; those whose source is not there follow the leader. */
export function treeOrder(members: readonly ListedMember[]): readonly ListedMember[] {
  const names = new Set(members.map((member) => member.name));
  const leader = members.find(leads);
  const sourceOf = (member: ListedMember): string | null => {
    const source = member.tags?.["replicatefrom"];
    if (typeof source === "string" && names.has(source) && source !== member.name) return source;
    return leader?.name ?? null;
  };
  const placed = new Set<string>();
  const draw = (member: ListedMember, depth: number): readonly ListedMember[] => {
    if (placed.has(member.name)) return [];
    placed.add(member.name);
    const name = depth === 0 ? member.name : `${"  ".repeat(depth - 1)}+ ${member.name}`;
    const below = members.filter((other) => !leads(other) && sourceOf(other) === member.name);
    return [{ ...member, name }, ...below.flatMap((other) => draw(other, depth + 1))];
  };
  const roots = leader === undefined ? members.filter((member) => sourceOf(member) === null) : [leader];
  const drawn = roots.flatMap((root) => draw(root, leads(root) ? 0 : 1));
  // A circle of replicatefrom tags hangs on nobody.
  return [...drawn, ...members.filter((member) => !placed.has(member.name)).flatMap((member) => draw(member, 1))];
}

function leads(member: ListedMember): boolean {
  return member.role === "leader" || member.role === "standby_leader";
}
