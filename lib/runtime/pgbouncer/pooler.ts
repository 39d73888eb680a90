// Owns a PgBouncer that follows the cluster: its lines name the leader, its clients wait through a planned handover, its users are the
// leader's. One step after the other; each is bounded, and what fails is tried again. It decides nothing about the cluster.

import type { ClusterKeys } from "../../dcs/keys.ts";
import type { Snapshot, Store } from "../../dcs/store.ts";
import type { Clock } from "../../model/clock.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { HandoverNotice, PgbouncerConfig, PoolerAnswer } from "../../model/pgbouncer.ts";
import type { Result } from "../../model/result.ts";
import { ms, type Revision } from "../../model/units.ts";
import { Waker } from "../waker.ts";
import { ClusterView } from "./cluster-view.ts";
import { type Target, targetOf } from "./lines.ts";
import { ARMED_WITHIN_MS, PoolPause } from "./pause.ts";
import { Redirection } from "./redirection.ts";
import { PoolerRegistration } from "./registration.ts";
import { UserKeeper } from "./user-keeper.ts";

/** After the first of several changes: the burst of a failover becomes one RELOAD. */
const SETTLE_MS = 30;
/** So often PgBouncer's own tables are looked at: it may have been restarted, or changed by hand. */
const LOOK_MS = 5000;
/** After something that failed. */
const RETRY_MS = 500;
const ANSWER_WITHIN_MS = 3000;
/** Of an answer to a handover, beside the PAUSE itself and its guard: what was under way, and the DCS. */
const ANSWER_SLACK_MS = 5000;

export interface PoolerOptions {
  readonly config: PgbouncerConfig;
  readonly store: Store;
  readonly keys: ClusterKeys;
  readonly clock: Clock;
  readonly log: Log;
  readonly scope: string;
  readonly name: string;
}

export class Pooler {
  readonly #options: PoolerOptions;
  readonly #waker: Waker;
  readonly #view: ClusterView;
  readonly #registration: PoolerRegistration | null;
  readonly #pause: PoolPause;
  readonly #redirection: Redirection;
  readonly #users: UserKeeper;
  /** Stays while there is no leader, and while the DCS is away. */
  #target: Target | null = null;
  #toldNobody = false;
  /** The last handover that was answered, or that nobody here is asked about. */
  #answered = "";
  /** Resolves with the first view of the cluster, or with the end. */
  readonly #sight = Promise.withResolvers<void>();
  #hasSight = false;
  /** The handover through which clients wait. */
  #through: Promise<void> = Promise.resolve();

  constructor(options: PoolerOptions) {
    const { config, store, keys, clock, log, scope, name } = options;
    this.#options = options;
    this.#waker = new Waker(clock);
    this.#view = new ClusterView({ store, keys, clock, log, onChange: (snapshot) => this.#look(snapshot) });
    this.#pause = new PoolPause({ config, clock, log });
    this.#redirection = new Redirection({ config, clock, log });
    this.#users = new UserKeeper({ config, clock, log, target: () => this.#target });
    const patienceMs = ms(config.pauseTimeoutMs + ARMED_WITHIN_MS + ANSWER_SLACK_MS);
    this.#registration = config.pause === "off" ? null : new PoolerRegistration({ store, keys, clock, log, scope, name, patienceMs });
  }

  /** Until the signal; clients that are paused then go on first. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#pause.recover();
    if (this.#pause.isOpen) this.#options.log.warning("a former worker left the pool paused: its clients go on");
    const onAbort = (): void => {
      this.#waker.wake();
      this.#sight.resolve();
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    await Promise.all([this.#view.run(signal), this.#register(signal), this.#users.run(signal), this.#work(signal)]);
    await Promise.all([this.#pause.close(), this.#redirection.close(), this.#users.close()]);
  }

  /** Resolves when no client waits for a handover: whoever ends this pooler then interrupts none. */
  idle(): Promise<void> {
    return this.#through;
  }

  /** No switchover waits for a pool whose PAUSE nobody would guard. */
  async #register(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    if (this.#registration === null) return;
    // A handover that is announced from now on waits for this pool; one from before does not.
    await this.#sight.promise;
    while (!signal.aborted && !(await this.#pause.prepare())) await clock.sleepUntil(ms(clock.now() + LOOK_MS), signal);
    await this.#registration.run(signal, async () => void (await this.#pause.prepare()));
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const resumed = !this.#pause.isOpen || (await this.#pause.end());
      const notice = this.#openNotice();
      if (notice !== null && resumed) {
        this.#through = this.#waitThrough(notice, signal);
        await this.#through;
        continue;
      }
      if (notice !== null) await this.#refuse(notice, "a former PAUSE of it cannot be ended");
      const settled = await this.#redirection.apply(this.#target);
      await this.#waker.sleepUntil(ms(clock.now() + (resumed && settled ? LOOK_MS : RETRY_MS)));
      if (this.#openNotice() === null && this.#redirection.isDue(this.#target)) await clock.sleepUntil(ms(clock.now() + SETTLE_MS), signal);
    }
    if (this.#pause.isOpen) await this.#pause.end();
  }

  /** Takes note of the newest view; wakes the work where something is to be done for it. */
  #look(snapshot: Snapshot): void {
    this.#registration?.observe(snapshot);
    const { seen } = this.#view;
    if (seen === null) return;
    if (!this.#hasSight) this.#firstSight(seen.notice);
    const target = targetOf(seen.cluster);
    if (target === null && this.#target === null && !this.#toldNobody) {
      this.#toldNobody = true;
      this.#options.log.warning(`nobody leads ${this.#options.scope} as far as the DCS says: the pool stays where it is`);
    }
    const moved = target !== null && JSON.stringify(target) !== JSON.stringify(this.#target);
    if (moved) this.#target = target;
    if (moved) this.#users.wake();
    if (moved || this.#openNotice() !== null || this.#pause.isOpen) this.#waker.wake();
  }

  /** Nobody waits for who comes after the announcement: it may be one that was left behind. */
  #firstSight(notice: HandoverNotice | null): void {
    this.#hasSight = true;
    if (notice !== null) {
      this.#answered = notice.id;
      this.#options.log.info(`${notice.leader} announced a handover before this worker was there: its clients are not paused for it`);
    }
    this.#sight.resolve();
  }

  #openNotice(): HandoverNotice | null {
    const notice = this.#registration === null ? null : (this.#view.seen?.notice ?? null);
    return notice === null || notice.id === this.#answered ? null : notice;
  }

  /** From the announcement of a handover until the new leader serves, it is called off, or pause_limit is up. */
  async #waitThrough(notice: HandoverNotice, signal: AbortSignal): Promise<void> {
    const { clock, config, log } = this.#options;
    this.#answered = notice.id;
    log.info(`${notice.leader} is about to hand over: clients are paused`);
    // Nothing is begun that a guard would have to end.
    if (await this.#pause.isStopped()) return await this.#refuse(notice, "nobody listens where PgBouncer should");
    const began = clock.now();
    const paused = await this.#pause.begin();
    if (!paused.ok) {
      // What stands of it in part is undone first: the leader takes "not paused" at its word. A PgBouncer that hangs is asked again later.
      if (this.#pause.isOpen) await this.#pause.end();
      return await this.#refuse(notice, paused.error);
    }
    const told = await this.#answer(notice, { paused: true, why: "", wish: config.pauseFailed });
    if (told?.ok === false) log.warning(`the leader was not told that clients are paused, they go on: ${describeStoreError(told.error)}`);
    else {
      const until = ms(clock.now() + config.pauseLimitMs);
      while (!signal.aborted && clock.now() < until && !this.#isOver(notice)) await this.#waker.sleepUntil(until);
      if (!signal.aborted && !this.#isOver(notice)) log.warning(`nobody took over within ${config.pauseLimitMs / 1000} s: clients go on`);
      // Whoever goes on before PgBouncer has its new lines meets the former leader.
      while (!(await this.#redirection.apply(this.#target)) && !signal.aborted && clock.now() < until) {
        await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
      }
    }
    const resumed = !this.#pause.isOpen || (await this.#pause.end());
    if (resumed) log.info(`clients go on (${Math.round(clock.now() - began)} ms)`);
  }

  /** The answer to a handover through which no client waits here. */
  async #refuse(notice: HandoverNotice, why: string): Promise<void> {
    const { config, log } = this.#options;
    this.#answered = notice.id;
    log.warning(`clients could not be paused, they go on: ${why}`);
    // Nobody is spared by a switchover that does not take place, where there are no clients.
    const wish = (await this.#pause.isStopped()) ? "proceed" : config.pauseFailed;
    const told = await this.#answer(notice, { paused: false, why, wish });
    if (told?.ok === false) log.warning(`the leader was not told that clients are not paused: ${describeStoreError(told.error)}`);
  }

  async #answer(notice: HandoverNotice, answer: Omit<PoolerAnswer, "handover">): Promise<Result<Revision, StoreError> | undefined> {
    return await this.#registration?.answer({ handover: notice.id, ...answer }, ms(this.#options.clock.now() + ANSWER_WITHIN_MS));
  }

  /** Another session's leader serves, or this one has taken its announcement back and leads on. */
  #isOver(notice: HandoverNotice): boolean {
    const { seen } = this.#view;
    const leader = seen?.cluster.leader ?? null;
    if (seen === null || leader === null) return false;
    if (leader.session === notice.session) return seen.notice?.id !== notice.id;
    return targetOf(seen.cluster) !== null;
  }
}
