// Owns a member's way into a cluster that it knows and whose configuration is without it: it asks until the leader has taken it
// in. Asks as well, after a long silence, whether it still belongs: a member that was removed while it was down hears nobody.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { RaftClusterId, RaftMember } from "../../../model/raft.ts";
import { ms } from "../../../model/units.ts";
import { readJoinAnswer } from "./peer-protocol.ts";
import type { Questions } from "./questions.ts";

export interface JoinerOptions {
  readonly self: RaftMember;
  readonly clusterId: () => RaftClusterId;
  /** Of all that may know the leader; self is left out. */
  readonly addresses: () => readonly string[];
  /** `silent`: in the configuration, and no leader for too long. */
  readonly need: () => "none" | "join" | "silent";
  readonly wasVoter: () => boolean;
  readonly questions: Questions;
  readonly clock: Clock;
  readonly log: Log;
  readonly retryMs: number;
  readonly answerWithinMs: number;
  readonly onRemoved: () => void;
}

export class Joiner {
  readonly #options: JoinerOptions;
  readonly #stop = new AbortController();
  #detail = "";

  constructor(options: JoinerOptions) {
    this.#options = options;
  }

  /** What it waits for, in words; empty before the first answer. */
  get detail(): string {
    return this.#detail;
  }

  async run(): Promise<void> {
    const { clock, retryMs, need } = this.#options;
    while (!this.#stop.signal.aborted) {
      if (need() !== "none") await this.#round();
      await clock.sleepUntil(ms(clock.now() + retryMs), this.#stop.signal);
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #round(): Promise<void> {
    const asked = new Set<string>([this.#options.self.address]);
    const open = [...this.#options.addresses()];
    for (let address = open.shift(); address !== undefined && !this.#stop.signal.aborted; address = open.shift()) {
      if (asked.has(address)) continue;
      asked.add(address);
      const hint = await this.#ask(address);
      if (hint === "settled") return;
      if (hint !== null) open.unshift(hint);
    }
  }

  /** The leader's address, where the answer names one. */
  async #ask(address: string): Promise<string | "settled" | null> {
    const { questions, clock, self, clusterId, wasVoter, answerWithinMs, onRemoved } = this.#options;
    const request = { kind: "join", from: self, clusterId: clusterId(), was: wasVoter() ? "voter" : "newcomer" } as const;
    const text = await questions.ask(address, request, ms(clock.now() + answerWithinMs));
    const answer = text.ok ? readJoinAnswer(text.value) : null;
    if (answer === null) {
      this.#tell(`waiting for ${address} (${text.ok ? "its answer makes no sense" : text.error})`);
      return null;
    }
    switch (answer.kind) {
      case "member":
        this.#tell("waiting for the leader to be heard");
        return "settled";
      case "removed":
        if (!this.#stop.signal.aborted) onRemoved();
        return "settled";
      case "ask-leader":
        if (answer.address === null) this.#tell(`waiting for a leader (${address} knows none)`);
        return answer.address;
      case "wait":
        this.#tell(`waiting: ${answer.reason}`);
        return "settled";
      case "refused":
        this.#tell(`refused by ${address}: ${answer.reason}`);
        return "settled";
    }
  }

  #tell(text: string): void {
    if (text === this.#detail) return;
    this.#detail = text;
    this.#options.log.info(`raft: ${text}`);
  }
}
