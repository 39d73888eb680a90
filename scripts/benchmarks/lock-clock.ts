// Owns the moments at which a cluster's lock changed hands, as its store tells them: each is known within a millisecond or two.

import type { TestCluster } from "../../test/harness/cluster.ts";

export interface LockMoment {
  readonly holder: string | null;
  /** `performance.now()`. */
  readonly at: number;
}

export class LockClock {
  readonly moments: LockMoment[] = [];
  readonly #stop = new AbortController();
  readonly #following: Promise<void>;

  constructor(cluster: TestCluster) {
    const heard = (holder: string | null): void => {
      if (this.moments.length === 0 || this.moments.at(-1)?.holder !== holder) this.moments.push({ holder, at: performance.now() });
    };
    const path = cluster.path("leader");
    this.#following = cluster.sight.follow(path, (key) => heard(key?.session == null ? null : key.value), this.#stop.signal);
  }

  /** When the lock was first seen free or foreign after `since`; null where it was not. */
  goneAfter(since: number, holder: string): number | null {
    return this.moments.find((moment) => moment.at >= since && moment.holder !== holder)?.at ?? null;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#following;
  }
}
