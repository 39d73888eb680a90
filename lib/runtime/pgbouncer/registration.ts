// Owns this pooler's key in the DCS: that its worker lives and can pause, and what it answers to a handover. The key stands under a
// session that ends with the worker, so no leader waits for one that is gone.

import type { ClusterKeys } from "../../dcs/keys.ts";
import { MemberKeeper } from "../../dcs/member-keeper.ts";
import { poolerFields, poolerKey } from "../../dcs/poolers.ts";
import { SessionKeeper } from "../../dcs/session-keeper.ts";
import type { Snapshot, Store } from "../../dcs/store.ts";
import type { Clock } from "../../model/clock.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { PoolerAnswer } from "../../model/pgbouncer.ts";
import type { Result } from "../../model/result.ts";
import { type Ms, ms, type Revision } from "../../model/units.ts";
import { Waker } from "../waker.ts";

/** How long the key outlives its worker. Consul's agents allow no less by default. */
const TTL_MS = ms(20_000);
const RENEW_MS = 4_000;
const RENEW_WITHIN_MS = 3_000;
/** A key that is not as we wrote it is put right at once, but no more often: two workers of one name would write by turns for ever. */
const MEND_EVERY_MS = 1_000;

export interface PoolerRegistrationOptions {
  readonly store: Store;
  readonly keys: ClusterKeys;
  readonly clock: Clock;
  readonly log: Log;
  readonly scope: string;
  readonly name: string;
  /** How long at most an answer takes. */
  readonly patienceMs: Ms;
}

export class PoolerRegistration {
  readonly #options: PoolerRegistrationOptions;
  readonly #sessions: SessionKeeper;
  readonly #key: MemberKeeper;
  readonly #waker: Waker;
  #mendedAt: Ms = ms(Number.NEGATIVE_INFINITY);
  #toldOfTwin = false;
  #answer: PoolerAnswer | null = null;
  /** One write after the other: an older text must not come last. */
  #writing: Promise<unknown> = Promise.resolve();
  #told = "";

  constructor(options: PoolerRegistrationOptions) {
    const { store, keys, clock, name, scope } = options;
    this.#options = options;
    this.#waker = new Waker(clock);
    this.#sessions = new SessionKeeper({ store, clock, name: `${scope}-pgbouncer-${name}`, ttl: TTL_MS });
    this.#key = new MemberKeeper({ store, sessions: this.#sessions, key: poolerKey(keys, name), name });
  }

  /** Keeps the key until the signal, then ends the session with it. `before`: what each renewal is preceded by. */
  async run(signal: AbortSignal, before: () => Promise<void>): Promise<void> {
    const { clock } = this.#options;
    signal.addEventListener("abort", () => this.#waker.wake(), { once: true });
    while (!signal.aborted) {
      await before();
      await this.#keep();
      await this.#waker.sleepUntil(ms(clock.now() + RENEW_MS));
      if (signal.aborted) break;
      await clock.sleepUntil(ms(this.#mendedAt + MEND_EVERY_MS), signal);
      this.#mendedAt = clock.now();
    }
    await this.#writing;
    await this.#sessions.close({ deadline: ms(clock.now() + RENEW_WITHIN_MS) });
  }

  /** It stands until the next one: a leader that looks late still finds it. Errors: unavailable, unknown-outcome, rejected, condition-failed; the key is then tried again with the next renewal. */
  answer(answer: PoolerAnswer, deadline: Ms): Promise<Result<Revision, StoreError>> {
    this.#answer = answer;
    return this.#write(deadline);
  }

  /** A newer snapshot: a key that somebody has deleted, or written over, is written again, and no switchover passes this pool by. */
  observe(snapshot: Snapshot): void {
    const { keys, log, name } = this.#options;
    const key = poolerKey(keys, name);
    const found = snapshot.entries.find((entry) => entry.key === key) ?? null;
    if (!this.#key.observeKey(found, snapshot.revision)) return;
    const session = found?.session ?? null;
    if (session !== null && session !== this.#sessions.current?.id && !this.#toldOfTwin) {
      this.#toldOfTwin = true;
      log.warning(`somebody else writes ${key}: another worker of this name? give each its own pgbouncer.name`);
    }
    this.#waker.wake();
  }

  async #keep(): Promise<void> {
    const deadline = ms(this.#options.clock.now() + RENEW_WITHIN_MS);
    // A session that is gone is opened anew by the write.
    if (this.#sessions.current !== null) {
      const renewed = await this.#sessions.renew({ deadline });
      if (!renewed.ok && renewed.error.kind !== "session-gone") return this.#tell(renewed.error);
    }
    const written = await this.#write(deadline);
    if (written.ok) this.#told = "";
    else this.#tell(written.error);
  }

  #write(deadline: Ms): Promise<Result<Revision, StoreError>> {
    const { name, patienceMs } = this.#options;
    const write = this.#writing.then(() => this.#key.touch(poolerFields({ name, patienceMs, answer: this.#answer }), false, { deadline }));
    this.#writing = write;
    return write;
  }

  /** Once, as long as it is the same. */
  #tell(error: StoreError): void {
    const text = describeStoreError(error);
    if (text !== this.#told) this.#options.log.warning(`this pooler is not registered, and no switchover waits for it: ${text}`);
    this.#told = text;
  }
}
