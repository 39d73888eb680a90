// Owns the moments at which a cluster's lock changed hands, from a blocking query: each is known within a millisecond or two.

export interface LockMoment {
  readonly holder: string | null;
  /** `performance.now()`. */
  readonly at: number;
}

/** One blocking query waits this long. */
const WAIT = "20s";
const PAUSE_MS = 50;

export class LockClock {
  readonly moments: LockMoment[] = [];
  readonly #url: string;
  readonly #stop = new AbortController();
  readonly #loop: Promise<void>;

  constructor(consulUrl: string, scope: string) {
    this.#url = `${consulUrl}/v1/kv/service/${scope}/leader`;
    this.#loop = this.#run();
  }

  /** When the lock was first seen free or foreign after `since`; null where it was not. */
  goneAfter(since: number, holder: string): number | null {
    return this.moments.find((moment) => moment.at >= since && moment.holder !== holder)?.at ?? null;
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    let index = "0";
    while (!signal.aborted) {
      try {
        const answer = await fetch(`${this.#url}?index=${index}&wait=${WAIT}`, { signal });
        index = answer.headers.get("x-consul-index") ?? "0";
        const rows = answer.status === 200 ? ((await answer.json()) as readonly { Value: string; Session?: string }[]) : [];
        const row = rows[0];
        const holder = row?.Session === undefined ? null : Buffer.from(row.Value, "base64").toString();
        if (answer.status !== 200) await answer.text();
        if (this.moments.at(-1)?.holder !== holder || this.moments.length === 0) this.moments.push({ holder, at: performance.now() });
      } catch {
        // Consul is stopped by the benchmark itself, or this clock is.
        if (!signal.aborted) await Bun.sleep(PAUSE_MS);
      }
    }
  }
}
