// Owns what a pooler knows of the cluster: the newest snapshot of its keys, kept by a watch. While the DCS is away the last one stays.

import { ClusterDecoder } from "../../dcs/cluster-decoder.ts";
import type { ClusterKeys } from "../../dcs/keys.ts";
import { noticeIn } from "../../dcs/poolers.ts";
import type { Snapshot, Store } from "../../dcs/store.ts";
import type { Clock } from "../../model/clock.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { HandoverNotice } from "../../model/pgbouncer.ts";
import { ms, type Revision, revision } from "../../model/units.ts";

/** A blocking query is asked anew at least this often, so that a half-open connection is found. */
const ROUND_MS = 30_000;
/** After a failed one. */
const RETRY_MS = 250;

export interface SeenCluster {
  readonly cluster: Cluster;
  /** Of the present leader; one that a former leader left counts as none. */
  readonly notice: HandoverNotice | null;
}

export interface ClusterViewOptions {
  readonly store: Store;
  readonly keys: ClusterKeys;
  readonly clock: Clock;
  readonly log: Log;
  /** A newer snapshot is there. */
  readonly onChange: (snapshot: Snapshot) => void;
}

export class ClusterView {
  readonly #options: ClusterViewOptions;
  readonly #decoder: ClusterDecoder;
  #reachable = true;
  /** Null until the DCS has answered once. */
  seen: SeenCluster | null = null;

  constructor(options: ClusterViewOptions) {
    this.#options = options;
    this.#decoder = new ClusterDecoder(options.keys);
  }

  /** Until the signal. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, keys, clock, log } = this.#options;
    let after: Revision = revision(0);
    while (!signal.aborted) {
      const answer = await store.watch(keys.prefix, after, { deadline: ms(clock.now() + ROUND_MS), signal });
      if (signal.aborted) return;
      if (answer.ok) {
        if (!this.#reachable) log.info("the DCS answers again");
        this.#reachable = true;
        after = answer.value.revision;
        this.#take(answer.value);
        continue;
      }
      if (answer.error.kind === "compacted") after = revision(0);
      else if (this.#reachable) {
        this.#reachable = false;
        log.warning(`${describeStoreError(answer.error)}; the pool stays with the last leader`);
      }
      await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
    }
  }

  #take(snapshot: Snapshot): void {
    const cluster = this.#decoder.cluster(snapshot);
    const notice = noticeIn(this.#options.keys, snapshot.entries);
    const own = notice !== null && notice.session !== null && notice.session === cluster.leader?.session;
    this.seen = { cluster, notice: own ? notice : null };
    this.#options.onChange(snapshot);
  }
}
