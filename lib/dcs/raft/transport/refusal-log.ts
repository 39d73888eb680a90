// Owns how often refused connections are logged: each one, until somebody knocks again and again for the same reason (who does not fit
// by password, certificate, version or cluster: once); then
// once in a while with a count, so that a flood fills no disk. Refuses nothing itself.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";

/**
 * Lines for one host and one reason in one window; the rest of the window is counted. Whoever does not fit goes on knocking until somebody
 * changes its configuration, and one line says all of it.
 */
const LINES_PER_WINDOW = { stranger: 10, misfit: 1 } as const;
/** Lines in one window for all hosts together. */
const LINES_MAX = 100;
const WINDOW_MS = 60_000;
/** Hosts and reasons counted at one time; more share the bound for all. */
const COUNTED_MAX = 1000;

export class RefusalLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #counts = new Map<string, number>();
  #windowEnd = 0;
  #lines = 0;
  #suppressed = 0;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** `remote` is `host:port`. */
  refused(remote: string, text: string, who: keyof typeof LINES_PER_WINDOW = "stranger"): void {
    this.#roll();
    const key = `${remote.slice(0, remote.lastIndexOf(":"))} ${text}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    if (count > 1 || this.#counts.size < COUNTED_MAX) this.#counts.set(key, count);
    if (count > LINES_PER_WINDOW[who] || this.#lines >= LINES_MAX) {
      this.#suppressed++;
      return;
    }
    this.#lines++;
    this.#log.warning(`raft: refused a connection from ${remote}: ${text}`);
  }

  /** At the first refusal of a new window: how many of the last one were not logged. */
  #roll(): void {
    const now = this.#clock.now();
    if (now < this.#windowEnd) return;
    if (this.#suppressed > 0) this.#log.warning(`raft: refused ${this.#suppressed} more connections for the same reasons`);
    this.#windowEnd = now + WINDOW_MS;
    this.#counts.clear();
    this.#lines = 0;
    this.#suppressed = 0;
  }
}
