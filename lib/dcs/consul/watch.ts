// Owns blocking queries: how long to wait, when to ask again, when an answer is news. A watch wakes, it never acts.
// Source: "Blocking queries" of Consul's HTTP API documentation.

import type { Clock } from "../../model/clock.ts";
import type { StoreError } from "../../model/errors.ts";
import { err, type Result } from "../../model/result.ts";
import { type Ms, ms, type Revision } from "../../model/units.ts";
import type { RequestOptions, Snapshot } from "../store.ts";
import { noAnswerError } from "./answers.ts";
import type { ConsulHttp } from "./http.ts";
import { keyPath, prefixQuery, readSnapshot } from "./paths.ts";

/** Consul adds up to wait / 16 to the waiting time. */
const JITTER_PART = 16;
/** Time kept for the way of the answer: this, or a tenth of a short watch. */
const TRANSIT_MS = 100;
/** Below this a blocking query is not worth it. */
const WAIT_MIN_MS = 10;
/** Consul takes no longer one. */
const WAIT_MAX_MS = 600_000;
/** Answers without news come no faster than this, whatever the server does. */
const PACE_MS = 100;
/** Prefixes whose emptiness is remembered. */
const PREFIXES_MAX = 16;

export class ConsulWatch {
  readonly #http: ConsulHttp;
  readonly #clock: Clock;
  /**
   * Prefixes without a key, with the revision they were seen at. For such a prefix X-Consul-Index is that of the whole
   * key space and grows with every change anywhere: only a key that appears is news.
   */
  readonly #emptyAt = new Map<string, Revision>();

  constructor(http: ConsulHttp, clock: Clock) {
    this.#http = http;
    this.#clock = clock;
  }

  /** Remembers what a snapshot said of its prefix, so that a watch after it knows. */
  note(prefix: string, snapshot: Snapshot): void {
    this.#emptyAt.delete(prefix);
    if (snapshot.entries.length > 0) return;
    this.#emptyAt.set(prefix, snapshot.revision);
    if (this.#emptyAt.size <= PREFIXES_MAX) return;
    const [oldest] = this.#emptyAt.keys();
    if (oldest !== undefined) this.#emptyAt.delete(oldest);
  }

  async wait(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    const wasEmpty = after === 0 || this.#emptyAt.get(prefix) === after;
    const patienceMs = options.deadline - this.#clock.now();
    let index: number = after;
    for (;;) {
      const askedAt = this.#clock.now();
      const answer = await this.#ask(prefix, index, options);
      if (!answer.ok) return answer;
      const snapshot = answer.value;
      this.note(prefix, snapshot);
      const stillEmpty = wasEmpty && snapshot.entries.length === 0;
      // An index that went back (a restored server, forgotten deletions) is news as well: waiting for the old one could last for ever.
      if (snapshot.revision !== after && !stillEmpty) return answer;
      const remainingMs = options.deadline - this.#clock.now();
      if (remainingMs <= patienceMs / JITTER_PART + TRANSIT_MS) return answer;
      index = snapshot.revision;
      await this.#clock.sleepUntil(ms(Math.min(askedAt + PACE_MS, options.deadline)), options.signal);
    }
  }

  async #ask(
    prefix: string,
    index: number,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    const waitMs = waitFor(ms(options.deadline - this.#clock.now()));
    const blocking = waitMs < WAIT_MIN_MS ? {} : { index: String(Math.max(1, index)), wait: `${waitMs}ms` };
    const answer = await this.#http.request({
      method: "GET",
      path: keyPath(prefix),
      query: { ...prefixQuery(this.#http.config, undefined), recurse: "", ...blocking },
      deadline: options.deadline,
      lane: "watch",
      signal: options.signal,
    });
    return answer.ok ? readSnapshot(answer.value) : err(noAnswerError(answer.error, "read"));
  }
}

/** The `wait` to ask for, so that the answer is here by the deadline with Consul's jitter added; whole milliseconds. */
export function waitFor(remaining: Ms): Ms {
  const transitMs = Math.min(TRANSIT_MS, remaining / 10);
  const waitMs = ((remaining - transitMs) * JITTER_PART) / (JITTER_PART + 1);
  return ms(Math.max(0, Math.min(WAIT_MAX_MS, Math.floor(waitMs))));
}
