// Owns a record of who held a cluster's lock when, as Consul itself says it, by consistent reads. Knows the key, no more.

import type { TestCluster } from "./cluster.ts";

export interface LockChange {
  /** Null while nobody holds it. */
  readonly holder: string | null;
  readonly session: string | null;
  /** `performance.now()` before the read that saw it was sent: it may have happened up to `everyMs` before. */
  readonly seenAt: number;
}

const EVERY_MS = 25;

export class LockWatch {
  readonly changes: LockChange[] = [];
  readonly #loop: Promise<void>;
  #stopping = false;

  constructor(cluster: TestCluster) {
    this.#loop = this.#run(cluster);
  }

  /** When the lock was first seen free or foreign after `holder` had it; null where that did not happen. */
  endOf(holder: string): number | null {
    const had = this.changes.findIndex((change) => change.holder === holder);
    return had < 0 ? null : (this.changes.slice(had).find((change) => change.holder !== holder)?.seenAt ?? null);
  }

  async stop(): Promise<readonly LockChange[]> {
    this.#stopping = true;
    await this.#loop;
    return this.changes;
  }

  async #run(cluster: TestCluster): Promise<void> {
    while (!this.#stopping) {
      const seenAt = performance.now();
      // An agent that is away says nothing about the lock.
      const key = await cluster.key("leader").catch(() => undefined);
      const last = this.changes.at(-1);
      if (key !== undefined) {
        const now = { holder: key?.session === null ? null : (key?.value ?? null), session: key?.session ?? null };
        if (last === undefined || last.holder !== now.holder || last.session !== now.session) this.changes.push({ ...now, seenAt });
      }
      await Bun.sleep(EVERY_MS);
    }
  }
}
