// Owns one PAUSE of the pool, from its guard to its RESUME: it is never left standing. What it is for, and how long it may last, is the
// pooler's. A file beside the database lines tells the next worker of a PAUSE that this one did not end.

import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import * as v from "valibot";
import type { Clock } from "../../model/clock.ts";
import type { Log } from "../../model/log.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import { reasonOf, removeFile, replaceEntry } from "../../postgres/atomic-file.ts";
import { isStopped, PoolerConsole } from "./console.ts";
import { followers, quotedName } from "./lines.ts";
import { readPoolFile } from "./pool-file.ts";
import { ResumeGuard } from "./resume-guard.ts";

/** For the guard's answer; no client waits meanwhile. */
export const ARMED_WITHIN_MS = 5000;
/** The guard comes after the worker's own end of the PAUSE. */
const GUARD_LATER_MS = 1000;
const RESUME_WITHIN_MS = 1000;
const CONNECT_WITHIN_MS = 1000;

const MARKER_ENDING = ".paused";
/** Of one folder: as many pools as one machine has. */
const MARKERS_MAX = 64;

/** `databases`: as the console takes them; null = all. The next worker may have been told of others. `console`: whose they are. */
const MARKER = v.object({
  databases: v.nullable(v.array(v.pipe(v.string(), v.regex(/^(?:\w+|"(?:[^"]|"")*")$/)))),
  console: v.optional(v.string()),
});

export interface PoolPauseOptions {
  readonly config: PgbouncerConfig;
  readonly clock: Clock;
  readonly log: Log;
}

export class PoolPause {
  readonly #config: PgbouncerConfig;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #console: PoolerConsole;
  readonly #databases: readonly string[] | null;
  readonly #marker: string;
  /** Those to be removed once clients go on. */
  #markers: ReadonlySet<string>;
  #guard: ResumeGuard | null = null;
  #open = false;
  /** Which ones a RESUME is due for. */
  #paused: ReadonlySet<string | null>;

  constructor({ config, clock, log }: PoolPauseOptions) {
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#console = new PoolerConsole({ address: config, clock });
    this.#databases = followers(config);
    this.#paused = new Set(this.#databases ?? [null]);
    this.#marker = `${config.databasesFile}${MARKER_ENDING}`;
    this.#markers = new Set([this.#marker]);
  }

  /** Clients may be paused by us, or have been left so by a former worker: `end` is due. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Takes up what a former worker of this pool left behind, also one that was told of another databases_file beside ours. */
  async recover(): Promise<void> {
    for (const path of await this.#found()) {
      try {
        const text = await readPoolFile(path);
        const left = text === null ? null : pausedIn(text);
        if (left === null || (path !== this.#marker && left.console !== this.#place)) continue;
        this.#open = true;
        this.#markers = new Set([...this.#markers, path]);
        this.#paused = new Set([...this.#paused, ...left.databases]);
      } catch (error) {
        this.#log.error(`whether a former worker left the pool paused cannot be read: ${path}: ${reasonOf(error)}`);
      }
    }
    if (!this.#open) await this.#tellOfOthers();
  }

  /** Every mark of the folder; ours first. */
  async #found(): Promise<readonly string[]> {
    const folder = dirname(this.#marker);
    try {
      const names = (await readdir(folder)).filter((name) => name.endsWith(MARKER_ENDING)).sort();
      return [...new Set([this.#marker, ...names.slice(0, MARKERS_MAX).map((name) => join(folder, name))])];
    } catch (error) {
      this.#log.error(`whether a former worker left the pool paused cannot be read: ${folder}: ${reasonOf(error)}`);
      return [];
    }
  }

  /** An operator may have paused it, or a worker whose files were elsewhere: it is not ours to resume, and not to be overlooked. */
  async #tellOfOthers(): Promise<void> {
    const shown = await this.#console.databases(ms(this.#clock.now() + RESUME_WITHIN_MS));
    // A console that does not answer is told of by who brings it its lines.
    if (!shown.ok) return;
    const own = this.#databases;
    const paused = shown.value.filter((each) => each.paused).map(({ name }) => quotedName(name));
    const held = paused.filter((name) => own === null || own.includes(name));
    if (held.length > 0)
      this.#log.warning(`${held.join(", ")}: paused, and not by this worker: \`RESUME ${held[0]}\` at the console lets its clients go on`);
  }

  /** Has a guard at hand, started where there is none, or the last one ended. Value: whether it is. */
  async prepare(): Promise<boolean> {
    if (this.#guard?.isAlive === true) return true;
    const { pauseTimeoutMs, pauseLimitMs } = this.#config;
    const limitMs = ms(pauseTimeoutMs + pauseLimitMs + GUARD_LATER_MS);
    const started = await ResumeGuard.start({ address: this.#config, databases: this.#databases, limitMs });
    this.#guard = started.ok ? started.value : null;
    if (!started.ok) this.#log.error(started.error);
    return started.ok;
  }

  /**
   * Resolves when no query is under way and new ones wait; at the latest when pause_timeout is up. Where it fails, why; the PAUSE may then
   * stand in part, and `end` is due either way.
   */
  async begin(): Promise<Result<null, string>> {
    const guard = this.#guard;
    if (guard === null || !(await guard.arm(ARMED_WITHIN_MS))) return err("the guard of the PAUSE does not answer");
    try {
      await replaceEntry(this.#marker, `${JSON.stringify({ databases: this.#databases, console: this.#place })}\n`, 0o600, null);
    } catch (error) {
      guard.disarm();
      return err(`${this.#marker}: ${reasonOf(error)}`);
    }
    this.#open = true;
    const { pauseTimeoutMs } = this.#config;
    const deadline = ms(this.#clock.now() + pauseTimeoutMs);
    const paused = await Promise.all((this.#databases ?? [null]).map((database) => this.#console.pause(database, deadline)));
    const failed = paused.find((each) => !each.ok);
    if (failed === undefined || failed.ok) return ok(null);
    if (this.#clock.now() < deadline) return failed;
    return err(
      `its clients have held the PAUSE up for ${pauseTimeoutMs / 1000} s (transactions under way, or sessions of pool_mode session)`,
    );
  }

  /** RESUME. False where PgBouncer did not say that clients go on: to be called again until it does. */
  async end(): Promise<boolean> {
    const answers = await Promise.all(
      [...this.#paused].map((database) => this.#console.resume(database, ms(this.#clock.now() + RESUME_WITHIN_MS))),
    );
    const failed = answers.find((each) => !each.ok);
    if (failed !== undefined) return false;
    this.#open = false;
    this.#paused = new Set(this.#databases ?? [null]);
    this.#guard?.disarm();
    for (const path of this.#markers) {
      try {
        await removeFile(path);
      } catch (error) {
        this.#log.warning(`${path}: ${reasonOf(error)}`);
      }
    }
    this.#markers = new Set([this.#marker]);
    return true;
  }

  get #place(): string {
    return `${this.#config.host}:${this.#config.port}`;
  }

  /** No client of a PgBouncer that is stopped can be held, or has to be. */
  isStopped(): Promise<boolean> {
    return isStopped(this.#config, CONNECT_WITHIN_MS);
  }

  /** The guard ends with us; where clients may still be paused, after it has resumed them. */
  async close(): Promise<void> {
    this.#guard?.release();
    await this.#console.close();
  }
}

/** What a former worker paused, and where; nothing of a text that cannot be read, since what we have ourselves is resumed anyway. */
function pausedIn(text: string): { readonly databases: readonly (string | null)[]; readonly console: string | null } {
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), MARKER), text);
  if (!parsed.success) return { databases: [], console: null };
  return { databases: parsed.output.databases ?? [null], console: parsed.output.console ?? null };
}
