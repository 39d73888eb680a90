// Owns the pooler's slower round beside its work: PgBouncer's settings are judged, and its list of users is refreshed from the leader. A
// leader that does not answer holds nothing else up.

import type { Clock } from "../../model/clock.ts";
import type { Log } from "../../model/log.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { ms } from "../../model/units.ts";
import { Waker } from "../waker.ts";
import { PoolerConsole } from "./console.ts";
import type { Target } from "./lines.ts";
import { ownUsers, settingFindings } from "./settings-check.ts";
import { UserList } from "./user-list.ts";

const CONSOLE_WITHIN_MS = 2000;
/** Where no list is kept, and after something that failed. */
const ROUND_MS = 60_000;
const RETRY_MS = 5000;

export interface UserKeeperOptions {
  readonly config: PgbouncerConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** The leader, as far as it is known. */
  readonly target: () => Target | null;
}

export class UserKeeper {
  readonly #options: UserKeeperOptions;
  readonly #waker: Waker;
  readonly #console: PoolerConsole;
  readonly #list: UserList | null;
  /** The file was written, and PgBouncer has not been told of it. */
  #unread = false;
  #toldSettings = "";
  #told = "";

  constructor(options: UserKeeperOptions) {
    const { config, clock } = options;
    this.#options = options;
    this.#waker = new Waker(clock);
    this.#console = new PoolerConsole({ address: config, clock });
    this.#list = config.users === null ? null : new UserList({ config: config.users, clock });
  }

  /** There is another leader: its users are looked at now. */
  wake(): void {
    this.#waker.wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, config } = this.#options;
    signal.addEventListener("abort", () => this.#waker.wake(), { once: true });
    while (!signal.aborted) {
      const done = await this.#round();
      await this.#waker.sleepUntil(ms(clock.now() + (done ? (config.users?.intervalMs ?? ROUND_MS) : RETRY_MS)));
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.#console.close(), this.#list?.close()]);
  }

  async #round(): Promise<boolean> {
    const { config, log } = this.#options;
    const settings = await this.#console.settings(this.#soon());
    // The redirection says that PgBouncer does not answer.
    if (!settings.ok) return false;
    const databases = await this.#console.databases(this.#soon());
    if (!databases.ok) return false;
    const findings = settingFindings(config, settings.value, databases.value);
    const text = findings.map(({ setting, says, fix }) => `${setting} is ${says}; write ${fix}`).join("\n");
    if (text !== this.#toldSettings) for (const line of text.split("\n").filter((each) => each !== "")) log.warning(`PgBouncer's ${line}`);
    this.#toldSettings = text;
    return this.#list === null || (await this.#refresh(this.#list, ownUsers(config, settings.value)));
  }

  async #refresh(list: UserList, kept: ReadonlySet<string>): Promise<boolean> {
    const { log, target } = this.#options;
    const leader = target();
    if (leader === null) return false;
    const changed = await list.refresh(leader, kept);
    if (!changed.ok) return this.#failed(`the list of users stays as it is: ${changed.error}`);
    this.#told = "";
    this.#unread ||= changed.value;
    if (!this.#unread) return true;
    const reloaded = await this.#console.reload(this.#soon());
    if (!reloaded.ok) return this.#failed(`PgBouncer has not read the new list of users yet: ${reloaded.error}`);
    this.#unread = false;
    log.info("the list of users was refreshed");
    return true;
  }

  #soon() {
    return ms(this.#options.clock.now() + CONSOLE_WITHIN_MS);
  }

  /** Said once, as long as it is the same. */
  #failed(text: string): false {
    if (text !== this.#told) this.#options.log.warning(text);
    this.#told = text;
    return false;
  }
}
