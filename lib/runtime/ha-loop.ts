// Owns the cycle: observe → decide → perform ONE effect → observe … until the decision is `wait`. It performs what the core
// decides and decides nothing itself. Long effects run as tasks beside it; the lock is renewed meanwhile.

import { decide } from "../core/decide.ts";
import type { Decision, Effect } from "../core/decision.ts";
import { needsMark } from "../core/leader-trace.ts";
import { leaseMiddle } from "../core/lease.ts";
import { notices } from "../core/notices.ts";
import type { Observation } from "../core/observation.ts";
import { nearStandbys } from "../core/sync-standbys.ts";
import { describeStoreError } from "../model/errors.ts";
import { type Ms, ms } from "../model/units.ts";
import { adoptLock } from "./adoption.ts";
import { dcsDeadline, stopBudget } from "./lease-bounds.ts";
import { LogicalSlots } from "./logical-slots.ts";
import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres, lookStands, observe } from "./observe.ts";
import { Performer } from "./perform.ts";
import { refreshCluster, refreshMark } from "./perform-dcs.ts";
import { recallScheduledRestart, takeScheduledRestart } from "./scheduled-restart.ts";
import { tellAdopted } from "./tell-role.ts";
import { endRelease, touchMember } from "./touch-member.ts";

/** A cycle is a handful of steps; more means that rules chase each other. */
const MAX_STEPS = 20;

export type LoopEnd = { readonly code: number; readonly message: string };

export class HaLoop {
  readonly #context: NodeContext;
  readonly #afterCycle: () => Promise<void>;
  readonly #performer: Performer;
  readonly #logicalSlots: LogicalSlots;
  #lastRule = "";
  #lastWhy = "";
  /** Who held the lock when it was last told; null before the first look. */
  #toldOwner: string | null = null;
  #toldAt: Ms = ms(0);
  #decidedOn: Observation | null = null;

  /** `afterCycle` runs when a cycle is over, before the loop sleeps: services, configuration, metrics. */
  constructor(context: NodeContext, afterCycle: () => Promise<void> = async () => {}) {
    this.#context = context;
    this.#performer = new Performer(context);
    this.#logicalSlots = new LogicalSlots(context);
    context.state.logicalSlots = this.#logicalSlots;
    this.#afterCycle = afterCycle;
  }

  /** Runs until a decision ends it. Throws where an invariant is broken. */
  async run(): Promise<LoopEnd> {
    for (;;) {
      const { clock, state } = this.#context;
      const begun = clock.now();
      const result = await this.cycle();
      state.observer.cycleEnded(ms(clock.now() - begun));
      if (result.kind === "exit") return { code: result.code, message: result.message };
      const endWatch = result.watch === "standbys" ? this.#watchStandbys() : null;
      await this.#context.waker.sleepUntil(this.#nextLook(result.until));
      endWatch?.();
    }
  }

  /** Beginning with the status that was decided on: a request over REST may have brought another one since. */
  #watchStandbys(): (() => void) | null {
    const { postgres, waker } = this.#context;
    const decidedOn = this.#decidedOn;
    const seen = decidedOn?.local.status ?? null;
    return decidedOn === null || seen === null ? null : postgres.watchStandbys(seen, nearStandbys(decidedOn), () => waker.wake());
  }

  /** Appointments that operators made bring the next look forward, and so do the middle of a lease and the end of one that is not renewed. */
  #nextLook(until: Ms): Ms {
    const { clock, state } = this.#context;
    const held = state.local.lastRole === "primary" && !state.settings.dynamic.pause ? state.heldFacts() : null;
    const now = clock.now();
    let next = until;
    const lookAt = (at: number): void => {
      if (at > now && at < next) next = ms(at);
    };
    if (held !== null) {
      lookAt(leaseMiddle(held));
      lookAt(held.leaseEndsAt - stopBudget(this.#context, held));
    }
    const restart = state.scheduledRestart?.at ?? null;
    if (restart !== null) lookAt(now + (restart - clock.wallNow()));
    const handover = state.cluster?.failover?.scheduledAt ?? null;
    if (handover !== null) lookAt(now + (handover - clock.wallNow()));
    return next;
  }

  /** One cycle. Value: when to look again at the latest, or how the loop ends. */
  async cycle(): Promise<Extract<Effect, { kind: "wait" | "exit" }>> {
    const { clock, state, log } = this.#context;
    state.done = [];
    state.peerAnswers = [];
    takeScheduledRestart(this.#context);
    endRelease(this.#context);
    await this.#refreshDcs();
    this.#tellOwner();
    recallScheduledRestart(this.#context);
    for (let step = 0; step < MAX_STEPS; step += 1) {
      if (step === 0 || !lookStands(this.#context)) await lookAtPostgres(this.#context);
      const observation = observe(this.#context);
      const decision = decide(observation);
      this.#decidedOn = observation;
      this.#note(decision, observation);
      if (decision.effect.kind === "wait" || decision.effect.kind === "exit") {
        if (decision.effect.kind === "wait") await this.#finish();
        return decision.effect;
      }
      const outcome = await this.#performer.perform(decision.effect);
      state.observer.performed({ ...outcome, took: ms(clock.now() - observation.now) });
      if (!outcome.ok) log.info(`${decision.effect.kind}: ${outcome.message}`);
      state.done.push(outcome);
    }
    log.warning(`the cycle did not settle within ${MAX_STEPS} steps; last rule ${this.#lastRule}`);
    await this.#finish();
    return { kind: "wait", until: ms(clock.now() + 1000) };
  }

  /** In Patroni's words, which monitoring looks for. */
  #tellOwner(): void {
    const { state, log } = this.#context;
    const owner = state.cluster?.leader?.name ?? "None";
    if (state.cluster === null || owner === this.#toldOwner) return;
    this.#toldOwner = owner;
    log.info(`Lock owner: ${owner}; I am ${state.settings.node.name}`);
  }

  async #finish(): Promise<void> {
    await touchMember(this.#context);
    tellAdopted(this.#context);
    this.#logicalSlots.note();
    this.#context.state.lastCycleAt = this.#context.clock.now();
    await this.#afterCycle();
  }

  /** Keeps session and view: a node without the lock renews its session here, the holder with its lock. */
  async #refreshDcs(): Promise<void> {
    const context = this.#context;
    const { clock, state, store } = context;
    if (state.cluster === null || state.dcsFailure !== null) {
      if (!(await refreshCluster(context))) return;
      if (state.trace.name === null) await refreshMark(context);
    }
    if (needsMark(state.trace)) await refreshMark(context);
    if (state.leads() && store.session()?.id === state.held?.session) return;
    const adopted = store.session() === null && (await adoptLock(context));
    // The adoption could not be tried: another session now would give the former lock away.
    if (adopted === true || adopted === "later" || state.dcsFailure !== null) return;
    const session = store.session();
    if (session !== null && clock.now() - session.confirmedAt < state.settings.dynamic.loopWaitMs * 0.9) return;
    const options = { deadline: dcsDeadline(context) };
    const renewed = session === null ? await store.ensureSession(options) : await store.renewSession(options);
    const result = !renewed.ok && renewed.error.kind === "session-gone" ? await store.ensureSession(options) : renewed;
    if (result.ok) state.dcsSeen();
    else state.dcsFailed(describeStoreError(result.error));
  }

  /** What is done is told each time; what is waited for, when it changes; the heartbeat, once a loop_wait or as often as the decision says. */
  #note(decision: Decision, observation: Observation): void {
    const { clock, state, log } = this.#context;
    state.lastDecision = { rule: decision.rule, why: decision.why };
    const event = state.observer.decided(decision, observation);
    const now = clock.now();
    const every = ("toldEvery" in decision.effect ? decision.effect.toldEvery : undefined) ?? state.settings.dynamic.loopWaitMs * 0.9;
    const untold = decision.why !== this.#lastWhy || now - this.#toldAt >= every;
    this.#lastRule = decision.rule;
    // Done again and again, and what comes of it is told by itself.
    const routine = decision.effect.kind === "renew-lock" || decision.effect.kind === "sync-slots";
    if (!routine) this.#lastWhy = decision.why;
    if (routine || (decision.effect.kind === "wait" && !untold)) {
      log.debug(decision.why);
      return;
    }
    if (decision.effect.kind === "wait") {
      this.#toldAt = now;
      for (const { level, text } of notices(observation, state.scheduledRestart)) log[level](text);
    }
    const text = observation.config.pause ? `PAUSE: ${decision.why}` : decision.why;
    if (decision.effect.kind === "exit" && decision.effect.code !== 0) log.critical(text, event);
    else if (decision.why.startsWith("no action.")) log.heartbeat(text, event);
    else log.info(text, event);
  }
}
