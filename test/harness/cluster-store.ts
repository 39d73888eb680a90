// Owns the store under one test cluster: which it is, the section that makes a node use it, and its end. What a node writes there
// is not known here.

import { join } from "node:path";
import type { NodePlace, Tree } from "./cluster-node.ts";
import { Consul } from "./consul.ts";
import { OutsideConsul, type OutsideStore } from "./outside-store.ts";
import { serverPorts } from "./ports.ts";
import { RaftProcess } from "./raft-processes.ts";
import {
  RAFT_PASSWORD,
  type RaftAddress,
  RaftSight,
  raftStoreClient,
  type StoreClient,
  type StoreKind,
  type StoreSight,
  storeOfTests,
} from "./store-sight.ts";

export interface ClusterStoreOptions {
  /** Default: what MATRIARCH_TEST_STORE says, else Consul. */
  readonly store?: StoreKind;
  /** A store that the caller keeps. Without it a cluster has one of its own: a Consul agent, or a member of a Raft in each node. */
  readonly outside?: OutsideStore;
  /** The same: an agent that the caller keeps. */
  readonly consul?: Consul;
  /** Where node `index` finds Consul, where it is not that agent's own address (an agent of its own, a proxy). */
  readonly consulUrl?: (index: number) => string;
  /** The port of loopback by which node `index` reaches the outside store, where that is not its own. */
  readonly wayPort?: (index: number) => number;
  /**
   * Over a Raft of the nodes: so many members more, without PostgreSQL. For a test that takes nodes away of which a store elsewhere
   * would know nothing.
   */
  readonly witnesses?: number;
}

export interface ClusterStore {
  readonly kind: StoreKind;
  /** Null over a Raft. */
  readonly consul: Consul | null;
  readonly sight: StoreSight;
  /** Members of the Raft without PostgreSQL. */
  readonly witnesses: readonly RaftProcess[];
  readonly client: StoreClient;
  /** What the node at this place writes into its file. */
  sectionOf(index: number): Tree;
  /** What was started for this cluster ends; what the caller keeps stays. */
  stop(): Promise<void>;
}

/** Starts Consul or the witnesses, where they are the cluster's own. */
export async function openClusterStore(options: ClusterStoreOptions, places: readonly NodePlace[], folder: string): Promise<ClusterStore> {
  const outside = options.outside ?? (options.consul === undefined ? null : new OutsideConsul(options.consul));
  if (outside !== null) return overOutside(outside, options);
  if ((options.store ?? storeOfTests()) === "raft") return overRaft(options.witnesses ?? 0, places, folder);
  const consul = new OutsideConsul(await Consul.start());
  const store = overOutside(consul, options);
  return { ...store, stop: async () => Promise.all([store.stop(), consul.stop()]).then(() => undefined) };
}

function overOutside(outside: OutsideStore, { consulUrl, wayPort }: ClusterStoreOptions): ClusterStore {
  const consul = outside instanceof OutsideConsul ? outside.consul : null;
  const sight = outside.sight();
  const sectionOf = (index: number): Tree => {
    if (consulUrl !== undefined) return { consul: { url: consulUrl(index), register_service: false } };
    return (wayPort === undefined ? outside.client : outside.clientBy(wayPort(index))).section;
  };
  return { kind: outside.kind, consul, sight, witnesses: [], client: outside.client, sectionOf, stop: () => sight.close() };
}

async function overRaft(witnessCount: number, places: readonly NodePlace[], folder: string): Promise<ClusterStore> {
  const witnessAddresses = (await serverPorts(witnessCount)).map((port) => `127.0.0.1:${port}`);
  const addresses = [...places.map(addressAmongMembers), ...witnessAddresses];
  const except = (own: string): readonly string[] => addresses.filter((address) => address !== own);
  const witnesses = witnessAddresses.map(
    (address, index) => new RaftProcess({ address, folder: join(folder, `witness${index + 1}`), partners: () => except(address) }),
  );
  for (const witness of witnesses) witness.start();
  const seats: readonly RaftAddress[] = [...places, ...witnesses.map((witness) => witness.place)];
  const sight = new RaftSight(seats);
  return {
    kind: "raft",
    consul: null,
    sight,
    witnesses,
    client: raftStoreClient(seats.map(({ host, raftPort }) => `${host}:${raftPort}`)),
    sectionOf: (index) => ({ raft: memberSection(placeAt(places, index), except) }),
    stop: async () => {
      await sight.close();
      await Promise.all(witnesses.map((witness) => witness.kill()));
    },
  };
}

/** As the other members know it. */
export function addressAmongMembers({ peerHost, raftPort }: NodePlace): string {
  return `${peerHost}:${raftPort}`;
}

/** The `raft` section of the node at `place`. */
function memberSection(place: NodePlace, except: (own: string) => readonly string[]): Tree {
  const address = addressAmongMembers(place);
  return {
    self_addr: address,
    bind_addr: place.host === place.peerHost ? address : `0.0.0.0:${place.raftPort}`,
    partner_addrs: except(address),
    data_dir: join(place.folder, "raft"),
    password: RAFT_PASSWORD,
  };
}

function placeAt(places: readonly NodePlace[], index: number): NodePlace {
  const place = places[index];
  if (place === undefined) throw new Error(`there is no node ${index}`);
  return place;
}
