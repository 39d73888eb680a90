// Owns the run of a founding: it asks the others, makes records durable, and answers those that ask, until this member belongs
// to a cluster. What follows from what is core/founding.ts alone.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { ms } from "../../../model/units.ts";
import {
  type FoundingEvent,
  type FoundingOutput,
  type FoundingRecord,
  type FoundingState,
  foundingStep,
  foundingWait,
  isSettled,
  type Standing,
} from "../core/founding.ts";
import { type PeerRequest, readStanding } from "./peer-protocol.ts";
import type { Questions } from "./questions.ts";

const TOKEN_BYTES = 16;
/** Everyone is asked again this often: a bootstrap takes about this long once the last member is there. */
const ASK_AGAIN_MS = 100;

export interface FounderOptions {
  readonly state: FoundingState;
  readonly questions: Questions;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: (bytes: number) => Uint8Array;
  readonly answerWithinMs: number;
  /** Durable when resolved. */
  readonly write: (record: FoundingRecord) => Promise<void>;
}

type FoundingRequest = Extract<PeerRequest, { readonly kind: "founding-ask" | "founding-promise" }>;

export class Founder {
  readonly #options: FounderOptions;
  #state: FoundingState;
  readonly #asking = new Set<string>();
  readonly #replies = new Map<number, (standing: Standing) => void>();
  #lastReply = 0;
  #told = "";
  readonly #stop = new AbortController();
  #settle: (outcome: FoundingRecord | null) => void = () => {};
  #fail: (error: unknown) => void = () => {};

  constructor(options: FounderOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  get state(): FoundingState {
    return this.#state;
  }

  /** In words, by name. */
  get waiting(): string {
    return foundingWait(this.#state);
  }

  /** Resolves with the record that settles it, durable; null after `stop`. Rejects with what writing a record threw. */
  async run(): Promise<FoundingRecord | null> {
    const { clock } = this.#options;
    const settled = new Promise<FoundingRecord | null>((resolve, reject) => {
      this.#settle = resolve;
      this.#fail = reject;
    });
    this.#stop.signal.addEventListener("abort", () => this.#settle(null), { once: true });
    void this.#keepAsking(clock);
    return settled;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** What this member is to whoever asks. */
  answer(request: FoundingRequest): Promise<Standing> {
    const reply = ++this.#lastReply;
    return new Promise((resolve) => {
      this.#replies.set(reply, resolve);
      const { kind, from } = request;
      if (kind === "founding-promise") {
        this.#step({ kind: "promise-asked", reply, from, token: request.token, promise: request.promise });
      } else {
        const token = Buffer.from(this.#options.random(TOKEN_BYTES)).toString("hex");
        this.#step({ kind: "asked", reply, from, token });
      }
    });
  }

  async #keepAsking(clock: Clock): Promise<void> {
    while (!this.#stop.signal.aborted && !isSettled(this.#state)) {
      this.#step({ kind: "tick" });
      await clock.sleepUntil(ms(clock.now() + ASK_AGAIN_MS), this.#stop.signal);
    }
  }

  #step(event: FoundingEvent): void {
    const { state, output } = foundingStep(this.#state, event);
    this.#state = state;
    this.#perform(output);
    if (event.kind === "answer") this.#tell();
    if (isSettled(state)) {
      this.#settle(state.record);
      this.#stop.abort();
    }
  }

  #perform(output: FoundingOutput): void {
    const from = this.#state.self;
    for (const { reply, standing } of output.replies) {
      const resolve = this.#replies.get(reply);
      this.#replies.delete(reply);
      resolve?.(standing);
    }
    if (output.write !== null) void this.#write(output.write);
    for (const address of output.ask) void this.#ask(address, { kind: "founding-ask", from });
    for (const { address, token, promise } of output.requests) void this.#ask(address, { kind: "founding-promise", from, token, promise });
  }

  async #write(record: FoundingRecord): Promise<void> {
    try {
      await this.#options.write(record);
    } catch (error) {
      this.#fail(error);
      this.#stop.abort();
      return;
    }
    if (!this.#stop.signal.aborted) this.#step({ kind: "written" });
  }

  /** One question to an address at a time; a promise does not wait for another question's answer. */
  async #ask(address: string, request: FoundingRequest): Promise<void> {
    const key = `${request.kind} ${address}`;
    if (this.#asking.has(key)) return;
    this.#asking.add(key);
    const { questions, clock, answerWithinMs } = this.#options;
    const answer = await questions.ask(address, request, ms(clock.now() + answerWithinMs));
    this.#asking.delete(key);
    if (this.#stop.signal.aborted) return;
    const standing = answer.ok ? readStanding(answer.value) : null;
    const reason = answer.ok ? "its answer makes no sense" : answer.error;
    this.#step({ kind: "answer", address, standing, reason });
  }

  #tell(): void {
    const text = this.waiting;
    if (text === this.#told || isSettled(this.#state)) return;
    this.#told = text;
    this.#options.log.info(`raft: ${text}`);
  }
}
