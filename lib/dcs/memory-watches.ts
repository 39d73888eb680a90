// Owns the watches of one client of a MemoryCluster that wait for a change, and the one timer for their deadlines. For tests and the
// simulator: it makes as little garbage as it can, as nothing happens there more often.

import type { Clock } from "../model/clock.ts";
import type { StoreError } from "../model/errors.ts";
import { err, type Result } from "../model/result.ts";
import type { Ms, Revision } from "../model/units.ts";
import type { MemoryCluster } from "./memory.ts";
import type { Waiter, WatchedPrefix } from "./memory-keys.ts";
import type { RequestOptions, Snapshot } from "./store.ts";

/** Who is told what became of a watch: once. */
export interface Watcher {
  answered(result: Result<Snapshot, StoreError>): void;
}

export type WatchOptions = RequestOptions & { readonly signal?: AbortSignal };

export class MemoryWatches {
  readonly cluster: MemoryCluster;
  /** In the order in which they came. */
  readonly waiting: WaitingWatch[] = [];
  link: "connected" | "silent" = "connected";
  readonly #clock: Clock;
  #timer: { readonly at: Ms; readonly stop: AbortController } | null = null;

  constructor(cluster: MemoryCluster, clock: Clock) {
    this.cluster = cluster;
    this.#clock = clock;
  }

  /** Answers at once where the prefix has changed since. */
  add(prefix: string, after: Revision, options: WatchOptions, watcher: Watcher): void {
    if (options.signal?.aborted === true) {
      watcher.answered(WATCH_ENDED);
      return;
    }
    const watched = this.cluster.watched(prefix);
    if (watched.revision > after && this.link === "connected") {
      watcher.answered(this.cluster.snapshot(prefix));
      return;
    }
    const watch = new WaitingWatch(this, watched, { after, deadline: options.deadline, signal: options.signal ?? null }, watcher);
    watched.waiting.push(watch);
    this.waiting.push(watch);
    options.signal?.addEventListener("abort", watch);
    this.#armTimer(options.deadline);
  }

  /** Each sees what it missed. */
  look(): void {
    for (const watch of [...this.waiting]) watch.look();
  }

  /** Ends them all, as a reset connection does. */
  drop(): void {
    for (const watch of [...this.waiting]) watch.handleEvent();
  }

  close(): void {
    this.#timer?.stop.abort();
    this.#timer = null;
    this.drop();
  }

  /** One timer for all watches, at the earliest deadline of any so far; it is set anew when it fires. */
  #armTimer(deadline: Ms): void {
    if (this.#timer !== null && this.#timer.at <= deadline) return;
    this.#timer?.stop.abort();
    const timer = { at: deadline, stop: new AbortController() };
    this.#timer = timer;
    void this.#clock.sleepUntil(deadline, timer.stop.signal).then(() => {
      if (timer.stop.signal.aborted) return;
      this.#timer = null;
      const now = this.#clock.now();
      for (const watch of [...this.waiting]) if (watch.deadline <= now) watch.late();
      for (const watch of this.waiting) this.#armTimer(watch.deadline);
    });
  }
}

class WaitingWatch implements Waiter {
  readonly deadline: Ms;
  readonly #watches: MemoryWatches;
  readonly #watched: WatchedPrefix;
  readonly #after: Revision;
  readonly #signal: AbortSignal | null;
  readonly #watcher: Watcher;

  constructor(
    watches: MemoryWatches,
    watched: WatchedPrefix,
    options: { readonly after: Revision; readonly deadline: Ms; readonly signal: AbortSignal | null },
    watcher: Watcher,
  ) {
    this.deadline = options.deadline;
    this.#watches = watches;
    this.#watched = watched;
    this.#after = options.after;
    this.#signal = options.signal;
    this.#watcher = watcher;
  }

  /** The store has changed, or can be reached again. */
  look(): void {
    const { link, cluster } = this.#watches;
    if (link === "connected" && this.#watched.revision > this.#after) this.#finish(cluster.snapshot(this.#watched.prefix));
  }

  /** The deadline has come. */
  late(): void {
    const { link, cluster } = this.#watches;
    this.#finish(link === "connected" ? cluster.snapshot(this.#watched.prefix) : NO_ANSWER);
  }

  /** Its signal was aborted, or its connection reset. */
  handleEvent(): void {
    this.#finish(WATCH_ENDED);
  }

  #finish(result: Result<Snapshot, StoreError>): void {
    remove(this.#watched.waiting, this);
    remove(this.#watches.waiting, this);
    this.#signal?.removeEventListener("abort", this);
    this.#watcher.answered(result);
  }
}

function remove<T>(list: T[], item: T): void {
  const index = list.indexOf(item);
  if (index >= 0) list.splice(index, 1);
}

/** What the client of a store that says nothing knows of a question, once its deadline has come. */
export const NO_ANSWER = err<StoreError>({ kind: "unavailable", reason: "no answer before the deadline" });
export const WATCH_ENDED = err<StoreError>({ kind: "unavailable", reason: "the watch was ended" });
