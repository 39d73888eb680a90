// Owns the simulated network: which machine reaches which, how long a message takes, the way of a supervisor to the DCS and to its
// peers. Lost packets are silence; only a living machine without the process refuses.

import { peek } from "bun";
import type { PeerStatus } from "../../lib/core/observation.ts";
import type { Gate, GateVerdict, MemoryStore } from "../../lib/dcs/memory-store.ts";
import type { Change, Condition, OpenSessionOptions, PutOptions, RequestOptions, Session, Snapshot, Store } from "../../lib/dcs/store.ts";
import type { DynamicLimits } from "../../lib/model/dynamic-config.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import type { FailsafeAnswer, FailsafeHeartbeat } from "../../lib/model/failsafe.ts";
import type { Result } from "../../lib/model/result.ts";
import type { Ms, Revision } from "../../lib/model/units.ts";
import type { PeerSource } from "../../lib/runtime/node-context.ts";
import type { Random } from "./random.ts";
import type { Fires, SimEvent, SimProcess } from "./virtual-clock.ts";

export class Network {
  /** `from>to` of cut directions, with how many faults cut each. */
  readonly #cuts = new Map<string, number>();

  reaches(from: string, to: string): boolean {
    return this.#cuts.size === 0 || !this.#cuts.has(`${from}>${to}`);
  }

  cut(from: string, to: string): void {
    const key = `${from}>${to}`;
    this.#cuts.set(key, (this.#cuts.get(key) ?? 0) + 1);
  }

  mend(from: string, to: string): void {
    const key = `${from}>${to}`;
    const count = (this.#cuts.get(key) ?? 0) - 1;
    if (count > 0) this.#cuts.set(key, count);
    else this.#cuts.delete(key);
  }
}

/** What happens to the requests of one machine to the DCS; several faults may be at work. */
export class DcsWay {
  silent = 0;
  refused = 0;
  /** Chance that the answer of a request is lost although it was applied. */
  loseAnswers = 0;
  /** Chance that a request is applied late, and by up to how much. */
  delayChance = 0;
  delayMs = 0;

  get open(): boolean {
    return this.silent === 0 && this.refused === 0;
  }

  verdict(random: Random): GateVerdict {
    if (this.silent > 0) return SILENCE;
    if (this.refused > 0) return REFUSE;
    if (this.loseAnswers > 0 && random.chance(this.loseAnswers)) return LOSE;
    if (this.delayChance > 0 && random.chance(this.delayChance)) {
      return { kind: "delay", requestMs: random.between(0, this.delayMs), answerMs: random.between(0, this.delayMs) };
    }
    return PASS;
  }
}

const PASS: GateVerdict = { kind: "pass" };
const SILENCE: GateVerdict = { kind: "silence" };
const REFUSE: GateVerdict = { kind: "refuse" };
const LOSE: GateVerdict = { kind: "lose-answer" };

export function gateOf(way: DcsWay, random: Random): Gate {
  return () => way.verdict(random);
}

/** One supervisor's client of the DCS: each request takes its time there and back, and outlives the process that sent it. */
export class StoreClient implements Store {
  readonly kind = "memory";
  readonly #store: MemoryStore;
  readonly #process: SimProcess;
  readonly #random: Random;
  readonly #latency: number;

  constructor(store: MemoryStore, process: SimProcess, options: { readonly random: Random; readonly latency: number }) {
    this.#store = store;
    this.#process = process;
    this.#random = options.random;
    this.#latency = options.latency;
  }

  snapshot(prefix: string, options: RequestOptions): Promise<Result<Snapshot, StoreError>> {
    return this.#send(() => this.#store.snapshot(prefix, options));
  }

  put(key: string, value: string, options: PutOptions): Promise<Result<Revision, StoreError>> {
    return this.#send(() => this.#store.put(key, value, options));
  }

  delete(key: string, options: RequestOptions & { readonly condition?: Condition; readonly recursive?: boolean }) {
    return this.#send<Result<null, StoreError>>(() => this.#store.delete(key, options));
  }

  transaction(changes: readonly Change[], options: RequestOptions): Promise<Result<readonly Revision[], StoreError>> {
    return this.#send(() => this.#store.transaction(changes, options));
  }

  openSession(options: OpenSessionOptions): Promise<Result<Session, StoreError>> {
    return this.#send(() => this.#store.openSession(options));
  }

  renewSession(id: string, options: RequestOptions): Promise<Result<Session, StoreError>> {
    return this.#send(() => this.#store.renewSession(id, options));
  }

  sessionInfo(id: string, options: RequestOptions): Promise<Result<Session | null, StoreError>> {
    return this.#send(() => this.#store.sessionInfo(id, options));
  }

  closeSession(id: string, options: RequestOptions): Promise<Result<null, StoreError>> {
    return this.#send(() => this.#store.closeSession(id, options));
  }

  limits(options: RequestOptions): Promise<Result<DynamicLimits, StoreError>> {
    return this.#send(() => this.#store.limits(options));
  }

  /**
   * A question that changes nothing and may wait for its answer: it stands at the store at once, and the answer is late by both
   * ways. Who asks cannot tell the difference, and an event less is to be run.
   */
  watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    return new Promise((resolve) => {
      const exchange = new Exchange(this.#process, resolve, null);
      exchange.leavesAt = this.#process.queue.now + this.#latency * this.#random.next();
      exchange.back = this.#latency * this.#random.next();
      this.#store.watchFor(prefix, after, options, exchange);
    });
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  #send<T>(request: () => Promise<T>): Promise<T> {
    return new Promise((resolve) => {
      const there = this.#latency * this.#random.next();
      const exchange = new Exchange(this.#process, resolve, request);
      exchange.back = this.#latency * this.#random.next();
      this.#process.queue.enter(this.#process.queue.now + there, exchange);
    });
  }
}

/** A request on its way to the store, then its answer on the way back to the process that asked: one object is both events. */
class Exchange<T> implements SimEvent, Fires {
  run: Fires | null = this;
  readonly #process: SimProcess;
  readonly #resolve: (answer: T) => void;
  /** Null once it has arrived, or where the question stands at the store already. */
  #request: (() => Promise<T>) | null;
  /** The answer leaves not before. */
  leavesAt = 0;
  /** How long the answer takes. */
  back = 0;
  #answer: T | undefined;

  constructor(process: SimProcess, resolve: (answer: T) => void, request: (() => Promise<T>) | null) {
    this.#process = process;
    this.#resolve = resolve;
    this.#request = request;
  }

  answered(answer: T): void {
    const { queue } = this.#process;
    this.#answer = answer;
    this.run = this;
    queue.enter(Math.max(queue.now, this.leavesAt) + this.back, this);
  }

  fire(): void {
    const request = this.#request;
    if (request !== null) {
      this.#request = null;
      whenSettled(request(), this);
      return;
    }
    const answer = this.#answer as T;
    if (this.#process.state === "running") this.#resolve(answer);
    else this.#process.deliver(() => this.#resolve(answer));
  }
}

/** At once where the store has answered at once, as it nearly always does. */
function whenSettled<T>(promise: Promise<T>, exchange: Exchange<T>): void {
  const value = peek(promise);
  if (value instanceof Promise) void value.then((answer) => exchange.answered(answer));
  else exchange.answered(value);
}

/** What a machine answers at its REST port. */
export interface ApiPort {
  readonly name: string;
  /** The machine runs, so that a port without a process is refused. */
  readonly powered: boolean;
  /** null: nobody listens. */
  readonly process: SimProcess | null;
  /** Its API accepts and never answers. */
  readonly silent: boolean;
  answer(): Promise<PeerStatus | null>;
  failsafe(beat: FailsafeHeartbeat): Promise<FailsafeAnswer>;
}

export class FakePeers implements PeerSource {
  readonly #name: string;
  readonly #process: SimProcess;
  readonly #network: Network;
  readonly #random: Random;
  readonly #portAt: (apiUrl: string) => ApiPort | undefined;
  readonly #silence: FailsafeAnswer;

  constructor(options: {
    readonly name: string;
    readonly process: SimProcess;
    readonly network: Network;
    readonly random: Random;
    readonly portAt: (apiUrl: string) => ApiPort | undefined;
    readonly silentMember: "silent" | "accepted";
  }) {
    this.#name = options.name;
    this.#process = options.process;
    this.#network = options.network;
    this.#random = options.random;
    this.#portAt = options.portAt;
    this.#silence = options.silentMember === "silent" ? { kind: "silent", reason: "no answer" } : { kind: "accepted", lsn: null };
  }

  ask(apiUrl: string, deadline: Ms): Promise<PeerStatus | null> {
    return this.#exchange<PeerStatus | null>(apiUrl, deadline, (peer) => peer.answer(), null);
  }

  failsafe(apiUrl: string, beat: FailsafeHeartbeat, deadline: Ms): Promise<FailsafeAnswer> {
    return this.#exchange<FailsafeAnswer>(apiUrl, deadline, (peer) => peer.failsafe(beat), this.#silence);
  }

  #exchange<T>(apiUrl: string, deadline: Ms, question: (peer: ApiPort) => Promise<T>, nothing: T): Promise<T> {
    const { queue, machine } = this.#process;
    return new Promise((resolve) => {
      const finish = (answer: T): void => {
        timer.run = null;
        this.#process.deliver(() => resolve(answer));
      };
      const timer = queue.at(machine.trueTime(deadline), () => finish(nothing));
      queue.after(this.#random.between(0.2, 3), () => {
        const peer = this.#portAt(apiUrl);
        if (peer === undefined || !peer.powered || !this.#network.reaches(this.#name, peer.name)) return;
        const back = (answer: T): void => {
          queue.after(this.#random.between(0.2, 3), () => {
            if (this.#network.reaches(peer.name, this.#name) && timer.run !== null) finish(answer);
          });
        };
        if (peer.process === null || peer.process.state === "dead") back(nothing);
        else if (!peer.silent) peer.process.deliver(() => void question(peer).then(back));
      });
    });
  }
}
