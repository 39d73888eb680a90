// Owns bringing PgBouncer to the leader: the file of its lines, the RELOAD, and the look whether it goes by them. It does not know why
// the leader is another.

import type { Clock } from "../../model/clock.ts";
import type { Log } from "../../model/log.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { ms } from "../../model/units.ts";
import { PoolerConsole, type ShownDatabase } from "./console.ts";
import { ANY_DATABASE, databaseLines, linesIn, type Target } from "./lines.ts";
import { writePoolFile } from "./pool-file.ts";
import { strayLine } from "./settings-check.ts";

/** PgBouncer answers at once, or hangs. */
const CONSOLE_WITHIN_MS = 1000;

export interface RedirectionOptions {
  readonly config: PgbouncerConfig;
  readonly clock: Clock;
  readonly log: Log;
}

export class Redirection {
  readonly #config: PgbouncerConfig;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #console: PoolerConsole;
  /** The text that PgBouncer was last seen to go by, or was told to. */
  #applied: string | null = null;
  /** What it showed although it was told of that text: it is not told again before it shows something else. */
  #strayed: string | null = null;
  #told = "";

  constructor({ config, clock, log }: RedirectionOptions) {
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.#console = new PoolerConsole({ address: config, clock });
  }

  /** PgBouncer does not go by this target yet, as far as is known. */
  isDue(target: Target | null): boolean {
    if (target === null) return false;
    const text = databaseLines(this.#config, target);
    return text.ok && text.value !== this.#applied;
  }

  /** Does what is to be done. Value: whether PgBouncer goes by the target, or nothing more can be done about it now. */
  async apply(target: Target | null): Promise<boolean> {
    if (target === null) return true;
    const text = databaseLines(this.#config, target);
    if (!text.ok) return this.#failed(`the pool stays where it is: ${text.error}`);
    const written = await writePoolFile(this.#config.databasesFile, text.value);
    if (!written.ok) return this.#failed(`the pool stays where it is: ${written.error}`);
    // Clients wait for it: what PgBouncer shows is looked at afterwards.
    if (written.value) return await this.#reload(text.value, target);
    const shown = await this.#console.databases(this.#soon());
    if (!shown.ok) return this.#failed(`PgBouncer's console does not answer: ${shown.error}`);
    if (!this.#needsReload(text.value, shown.value)) return true;
    return await this.#reload(text.value, target);
  }

  async close(): Promise<void> {
    await this.#console.close();
  }

  #needsReload(text: string, shown: readonly ShownDatabase[]): boolean {
    const stray = strayLine(text, shown);
    if (this.#applied !== null && this.#applied !== text) return true;
    // Just started: what the line for every other database leads to cannot be seen from outside.
    const known = this.#applied === text || !linesIn(text).some(({ name }) => name === ANY_DATABASE);
    if (stray === null && known) {
      this.#applied = text;
      this.#told = "";
      return false;
    }
    return stray === null || stray !== this.#strayed;
  }

  async #reload(text: string, target: Target): Promise<boolean> {
    const reloaded = await this.#console.reload(this.#soon());
    if (!reloaded.ok) return this.#failed(`RELOAD: ${reloaded.error}`);
    this.#applied = text;
    const shown = await this.#console.databases(this.#soon());
    if (!shown.ok) return this.#failed(`PgBouncer's console does not answer: ${shown.error}`);
    this.#strayed = strayLine(text, shown.value);
    if (this.#strayed !== null) {
      const { databasesFile } = this.#config;
      return this.#failed(`PgBouncer does not go by ${databasesFile}: ${this.#strayed}; write %include ${databasesFile} below [databases]`);
    }
    this.#told = "";
    this.#log.info(`clients go to ${target.name} at ${target.host}:${target.port}`);
    return true;
  }

  #soon() {
    return ms(this.#clock.now() + CONSOLE_WITHIN_MS);
  }

  /** Said once, as long as it is the same. */
  #failed(text: string): false {
    if (text !== this.#told) this.#log.error(text);
    this.#told = text;
    return false;
  }
}
