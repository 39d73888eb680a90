// Owns what is to be changed in the coordinator's pg_dist_node so that it says where a group's primary and standbys are. Pure:
// from the rows as they are now, so that a plan that was broken off is simply made again.

import { type Cluster, findMember } from "../model/cluster.ts";
import { tagEnabled } from "../model/member.ts";
import type { DistNode } from "../model/mpp.ts";
import type { HostPort } from "../model/node-config.ts";
import { addressIn } from "./facts.ts";

/** Where a group's members are, as pg_dist_node is to say it. */
export interface GroupTarget {
  readonly group: number;
  readonly primary: HostPort;
  /** The primary is about to stop: its row gets a name that nothing answers to, and the open transaction holds the queries. */
  readonly held: boolean;
  readonly secondaries: readonly HostPort[];
}

export type NodeChange =
  | { readonly kind: "update"; readonly nodeId: number; readonly to: HostPort }
  | { readonly kind: "add"; readonly group: number; readonly at: HostPort; readonly role: "primary" | "secondary" }
  | { readonly kind: "remove"; readonly at: HostPort };

/** Behind the host of a primary whose queries are held: Patroni's word, seen only inside the transaction. */
const HELD_SUFFIX = "-demoted";

/** Null where the member or its address is not known. Standbys that take no reads, or do not run, are left out. */
export function groupTarget(
  cluster: Cluster,
  options: { readonly group: number; readonly leader: string; readonly held: boolean },
): GroupTarget | null {
  const { group, leader, held } = options;
  const primary = addressOf(findMember(cluster, leader)?.connUrl ?? null);
  if (primary === null) return null;
  const readable = cluster.members.filter(
    ({ name, state, tags }) => name !== leader && state === "running" && !tagEnabled(tags, "noloadbalance"),
  );
  const secondaries = readable.flatMap(({ connUrl }) => addressOf(connUrl) ?? []);
  return { group, primary, held, secondaries };
}

/** The leader of a group whose member key says that it runs as primary; null where there is none. */
export function servingLeader(cluster: Cluster): string | null {
  const member = cluster.leader === null ? null : findMember(cluster, cluster.leader.name);
  return member !== null && member.state === "running" && (member.role === "primary" || member.role === "master") ? member.name : null;
}

/** Whether the plan touches the row of a group's primary: then the group's queries wait for the end of the transaction. */
export function movesPrimary(rows: readonly DistNode[], changes: readonly NodeChange[]): boolean {
  return changes.some(
    (change) => change.kind === "update" && rows.some(({ nodeId, role }) => nodeId === change.nodeId && role === "primary"),
  );
}

/**
 * Changes in an order in which no address stands in two rows at one time. The primary's row keeps its id for good. Where it is
 * changed, nothing is added or removed along with it: Citus does these on all primaries at once, and cannot while one has moved.
 * What is left then is for the next plan. `transaction`: whether a primary has been moved before in the one that this is for.
 */
export function nodeChanges(
  rows: readonly DistNode[],
  target: GroupTarget,
  transaction: "fresh" | "moved" = "fresh",
): readonly NodeChange[] {
  const own = rows.filter(({ group }) => group === target.group);
  const primary = own.find(({ role }) => role === "primary");
  const standbys = own.filter(({ role }) => role === "secondary");
  const wanted = distinct(target.secondaries).filter((address) => !isSame(address, target.primary));
  const free = standbys.filter((row) => !has(wanted, row));
  const unplaced = wanted.filter((address) => !has(standbys, address));
  if (primary === undefined)
    return target.held
      ? []
      : [...removals(free), ...additions(target, [target.primary], "primary"), ...additions(target, unplaced, "secondary")];
  const goal = target.held ? heldName(target.primary) : target.primary;
  const moves: Move[] = isSame(primary, goal) ? [] : [{ row: primary, to: goal }];
  const former = withoutSuffix(primary);
  // The promoted standby's row is the first to be given away, and the former primary the first to get one: they change places.
  free.sort((a, b) => Number(isSame(b, target.primary)) - Number(isSame(a, target.primary)));
  unplaced.sort((a, b) => Number(isSame(b, former)) - Number(isSame(a, former)));
  const paired = Math.min(free.length, unplaced.length);
  for (let index = 0; index < paired; index++) moves.push({ row: free[index] as DistNode, to: unplaced[index] as HostPort });
  const [promoted] = free;
  // It cannot be removed now, and its address is needed: the former primary stands in for it until the next plan.
  if (paired === 0 && promoted !== undefined && isSame(promoted, target.primary)) moves.push({ row: promoted, to: former });
  const updates = inOrder(own, primary, moves);
  if (transaction === "moved" || moves.some(({ row }) => row === primary)) return updates;
  return [...updates, ...removals(free.slice(paired)), ...additions(target, unplaced.slice(paired), "secondary")];
}

interface Move {
  readonly row: DistNode;
  readonly to: HostPort;
}

/** Each move waits until its address is free; where two rows change places, the primary's is set aside first. */
function inOrder(rows: readonly DistNode[], primary: DistNode, moves: readonly Move[]): readonly NodeChange[] {
  const places = new Map<number, HostPort>(rows.map((row) => [row.nodeId, row]));
  const changes: NodeChange[] = [];
  const place = (row: DistNode, to: HostPort): void => {
    places.set(row.nodeId, to);
    changes.push({ kind: "update", nodeId: row.nodeId, to });
  };
  let left = moves;
  while (left.length > 0) {
    const next = left.find(({ row, to }) => [...places].every(([nodeId, address]) => nodeId === row.nodeId || !isSame(address, to)));
    if (next !== undefined) {
      place(next.row, next.to);
      left = left.filter((move) => move !== next);
      continue;
    }
    const aside = heldName(withoutSuffix(primary));
    if (isSame(places.get(primary.nodeId) ?? primary, aside)) throw new Error(`no order for ${JSON.stringify(left)}`);
    place(primary, aside);
  }
  return changes;
}

function removals(rows: readonly DistNode[]): readonly NodeChange[] {
  return rows.map(({ host, port }) => ({ kind: "remove", at: { host, port } }));
}

function additions({ group }: GroupTarget, addresses: readonly HostPort[], role: "primary" | "secondary"): readonly NodeChange[] {
  return addresses.map((at) => ({ kind: "add", group, at, role }));
}

function heldName({ host, port }: HostPort): HostPort {
  return { host: `${host}${HELD_SUFFIX}`, port };
}

function withoutSuffix({ host, port }: HostPort): HostPort {
  return { host: host.endsWith(HELD_SUFFIX) ? host.slice(0, -HELD_SUFFIX.length) : host, port };
}

function addressOf(connUrl: string | null): HostPort | null {
  return connUrl === null ? null : addressIn(connUrl);
}

function isSame(a: HostPort, b: HostPort): boolean {
  return a.host === b.host && a.port === b.port;
}

function has(addresses: readonly HostPort[], address: HostPort): boolean {
  return addresses.some((other) => isSame(other, address));
}

function distinct(addresses: readonly HostPort[]): readonly HostPort[] {
  return addresses.filter((address, index) => addresses.findIndex((other) => isSame(other, address)) === index);
}
