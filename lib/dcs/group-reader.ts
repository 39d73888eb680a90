// Owns the reading of the other groups of an MPP cluster: each is a cluster of its own below the same scope. Writes nothing.

import type { Cluster } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import { MPP_GROUPS_MAX } from "../model/mpp.ts";
import { ok, type Result } from "../model/result.ts";
import { ClusterDecoder } from "./cluster-decoder.ts";
import { clusterKeys, groupKeys } from "./keys.ts";
import type { RequestOptions, Store } from "./store.ts";

export class GroupReader {
  readonly #store: Store;
  readonly #prefix: string;
  readonly #all: ClusterDecoder;
  readonly #one: { readonly prefix: string; readonly decoder: ClusterDecoder };

  /** `one`: the group that readOne is about. */
  constructor(options: { readonly store: Store; readonly namespace: string; readonly scope: string; readonly one: number }) {
    const keys = clusterKeys({ namespace: options.namespace, scope: options.scope, group: null });
    const own = groupKeys(keys, String(options.one));
    this.#store = options.store;
    this.#prefix = keys.prefix;
    this.#all = new ClusterDecoder(keys);
    this.#one = { prefix: own.prefix, decoder: new ClusterDecoder(own) };
  }

  /** Every group, by its number, in a consistent read. Errors: unavailable, rejected. */
  async readAll(options: RequestOptions): Promise<Result<ReadonlyMap<number, Cluster>, StoreError>> {
    const read = await this.#store.snapshot(this.#prefix, { deadline: options.deadline, consistency: "consistent" });
    if (!read.ok) return read;
    const groups = Object.entries(this.#all.cluster(read.value).groups).map(([group, cluster]) => [Number(group), cluster] as const);
    groups.sort(([a], [b]) => a - b);
    return ok(new Map(groups.slice(0, MPP_GROUPS_MAX)));
  }

  /** That one group; nothing in it where it has no keys. Errors as readAll. */
  async readOne(options: RequestOptions): Promise<Result<Cluster, StoreError>> {
    const read = await this.#store.snapshot(this.#one.prefix, { deadline: options.deadline, consistency: "consistent" });
    return read.ok ? ok(this.#one.decoder.cluster(read.value)) : read;
  }
}
