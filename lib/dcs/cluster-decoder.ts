// Owns the way from a snapshot to a Cluster, and remembers what it has read: a snapshot in which one member changed
// decodes one value, and an unchanged snapshot answers with the same Cluster. Asks no store.

import { type Cluster, type ClusterStatus, EMPTY_STATUS, type LeaderLock } from "../model/cluster.ts";
import type { Member } from "../model/member.ts";
import { NO_SYNC } from "../model/sync-state.ts";
import { decodeBackup, decodeBackupClaim } from "./backup-runs.ts";
import { type Decoded, decodeConfig, decodeFailover, decodeFailsafe, decodeHistory, decodeOptime, decodeRestore } from "./decode.ts";
import { type ClusterKeys, groupKeys, type KeyPlace, placeOf } from "./keys.ts";
import { MemberReader, readStatus, readSync } from "./quick-read.ts";
import type { Entry, Snapshot } from "./store.ts";
import { decodeUpgrade } from "./upgrade-value.ts";

/** Values and places of keys remembered; beyond it all are forgotten and read anew. */
const REMEMBERED_MAX = 4096;

type MutableCluster = { -readonly [K in keyof Cluster]: Cluster[K] };

/** Group decoders remembered. */
const GROUPS_MAX = 256;

/** May be shared by several clients of one cluster. */
export class ClusterDecoder {
  readonly #keys: ClusterKeys;
  readonly #remembered = new Map<string, { readonly entry: Entry; readonly decoded: Decoded<unknown> }>();
  readonly #places = new Map<string, KeyPlace | null>();
  readonly #groups = new Map<string, ClusterDecoder>();
  readonly #members = new MemberReader();
  #last: { readonly snapshot: Snapshot; readonly cluster: Cluster } | null = null;

  constructor(keys: ClusterKeys) {
    this.#keys = keys;
  }

  /** The snapshot must have been taken of the keys' prefix. */
  cluster(snapshot: Snapshot): Cluster {
    if (this.#last !== null && this.#last.snapshot === snapshot) return this.#last.cluster;
    const cluster = (this.#last === null ? null : this.#changed(this.#last, snapshot)) ?? this.#assemble(snapshot);
    this.#last = { snapshot, cluster };
    return cluster;
  }

  /**
   * The former cluster with what has changed since, where the keys are the same: nearly always it is one member or the status. Null
   * where anything else has happened, or a value cannot be read.
   */
  #changed(last: { readonly snapshot: Snapshot; readonly cluster: Cluster }, snapshot: Snapshot): Cluster | null {
    const { cluster: former } = last;
    const [before, now] = [last.snapshot.entries, snapshot.entries];
    if (before.length !== now.length || former.faults.length > 0) return null;
    let members: Member[] | null = null;
    let { status } = former;
    for (let index = 0; index < now.length; index += 1) {
      const [old, entry] = [before[index] as Entry, now[index] as Entry];
      if (old === entry) continue;
      const place = old.key === entry.key ? this.#placeOf(entry.key) : null;
      if (place?.kind === "member") {
        const at = former.members.findIndex(({ name }) => name === place.name);
        const { value, faults } = this.#member(place.name, entry);
        if (value === null || faults.length > 0 || at < 0) return null;
        members ??= [...former.members];
        members[at] = value;
      } else if (place?.kind === "plain" && place.name === "status") {
        const decoded = this.#read(entry, readStatus);
        if (decoded.faults.length > 0) return null;
        status = decoded.value;
      } else return null;
    }
    return { ...former, revision: snapshot.revision, status, members: members ?? former.members };
  }

  #assemble(snapshot: Snapshot): Cluster {
    const faults: string[] = [];
    const members: Member[] = [];
    let groups: Map<string, Entry[]> | null = null;
    const cluster: MutableCluster = emptyCluster(snapshot);
    let optime: ClusterStatus | null = null;
    let status: ClusterStatus | null = null;
    const read = <T>(entry: Entry, decode: (entry: Entry) => Decoded<T>): T => {
      const decoded = this.#read(entry, decode);
      if (decoded.faults.length > 0) faults.push(...decoded.faults);
      return decoded.value;
    };
    for (const entry of snapshot.entries) {
      const place = this.#placeOf(entry.key);
      if (place === null) continue;
      if (place.kind === "member") {
        const member = this.#member(place.name, entry);
        faults.push(...member.faults);
        if (member.value !== null) members.push(member.value);
      } else if (place.kind === "group") {
        groups ??= new Map();
        groups.set(place.group, [...(groups.get(place.group) ?? []), entry]);
      } else if (place.name === "status") {
        const decoded = this.#read(entry, readStatus);
        faults.push(...decoded.faults);
        if (decoded.faults.length === 0) status = decoded.value;
      } else if (place.name === "optime/leader") optime = read(entry, decodeOptime);
      else this.#plain(cluster, place.name, entry, read);
    }
    if (members.some((member, index) => index > 0 && member.name < (members[index - 1] as Member).name))
      members.sort((a, b) => (a.name < b.name ? -1 : 1));
    cluster.members = members;
    cluster.status = status ?? optime ?? EMPTY_STATUS;
    if (groups !== null) cluster.groups = this.#readGroups(groups, snapshot, faults);
    cluster.faults = faults;
    return cluster;
  }

  #plain(cluster: MutableCluster, name: string, entry: Entry, read: <T>(entry: Entry, decode: (entry: Entry) => Decoded<T>) => T): void {
    switch (name) {
      case "initialize":
        cluster.initialize = entry.value;
        break;
      case "leader":
        cluster.leader = read(entry, leaderLock);
        break;
      case "config":
        cluster.config = read(entry, decodeConfig);
        break;
      case "failover":
        cluster.failover = read(entry, decodeFailover);
        break;
      case "sync":
        cluster.sync = read(entry, readSync);
        break;
      case "history":
        cluster.history = read(entry, decodeHistory);
        break;
      case "failsafe":
        cluster.failsafe = read(entry, decodeFailsafe);
        break;
      case "restore":
        cluster.restore = read(entry, decodeRestore);
        break;
      case "backup":
        cluster.backup = read(entry, decodeBackup);
        break;
      case "backup_run":
        cluster.backupClaim = read(entry, decodeBackupClaim);
        break;
      case "upgrade":
        cluster.upgrade = read(entry, decodeUpgrade);
        break;
      default: // Somebody else's key: none of our business.
    }
  }

  #readGroups(groups: ReadonlyMap<string, readonly Entry[]>, snapshot: Snapshot, faults: string[]): Readonly<Record<string, Cluster>> {
    const clusters: [string, Cluster][] = [];
    for (const [group, entries] of groups) {
      let decoder = this.#groups.get(group);
      if (decoder === undefined) {
        if (this.#groups.size >= GROUPS_MAX) this.#groups.clear();
        decoder = new ClusterDecoder(groupKeys(this.#keys, group));
        this.#groups.set(group, decoder);
      }
      const cluster = decoder.cluster({ entries, revision: snapshot.revision });
      faults.push(...cluster.faults);
      clusters.push([group, cluster]);
    }
    return Object.fromEntries(clusters);
  }

  #placeOf(key: string): KeyPlace | null {
    const known = this.#places.get(key);
    if (known !== undefined) return known;
    if (this.#places.size >= REMEMBERED_MAX) this.#places.clear();
    const place = placeOf(this.#keys, key);
    this.#places.set(key, place);
    return place;
  }

  #member(name: string, entry: Entry): Decoded<Member | null> {
    return this.#read(entry, (it) => this.#members.read(name, it));
  }

  #read<T>(entry: Entry, decode: (entry: Entry) => Decoded<T>): Decoded<T> {
    const known = this.#remembered.get(entry.key);
    if (known !== undefined && sameEntry(known.entry, entry)) return known.decoded as Decoded<T>;
    if (this.#remembered.size >= REMEMBERED_MAX) this.#remembered.clear();
    const decoded = decode(entry);
    this.#remembered.set(entry.key, { entry, decoded });
    return decoded;
  }
}

function leaderLock(entry: Entry): Decoded<LeaderLock> {
  return { value: { name: entry.value, session: entry.session, revision: entry.revision }, faults: [] };
}

/** The text counts too: a store that was restored from a backup gives a revision a second time. */
function sameEntry(a: Entry, b: Entry): boolean {
  return a === b || (a.revision === b.revision && a.session === b.session && a.value === b.value);
}

function emptyCluster(snapshot: Snapshot): MutableCluster {
  return {
    initialize: null,
    leader: null,
    members: [],
    config: null,
    failover: null,
    sync: NO_SYNC,
    history: [],
    status: EMPTY_STATUS,
    restore: null,
    backup: null,
    backupClaim: null,
    upgrade: null,
    failsafe: null,
    revision: snapshot.revision,
    groups: {},
    faults: [],
  };
}
