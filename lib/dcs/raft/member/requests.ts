// Owns the answers to commands, queries and watches: here where this member leads, by the leader where it does not, and held
// for a moment where there is none. It repeats no command that may have been applied: whoever asked does, under the same
// (client, sequence).

import type { Clock } from "../../../model/clock.ts";
import type { RaftMember } from "../../../model/raft.ts";
import { type Ms, ms } from "../../../model/units.ts";
import type { Refusal } from "../core/types.ts";
import type { Deadlines } from "../deadlines.ts";
import type { ClientAnswer, ClientRequest } from "../kv/client-protocol.ts";
import type { Envelope, Query } from "../kv/command.ts";
import { encodeEnvelope, refuseSize } from "../kv/command-codec.ts";
import type { KeyValueMachine } from "../kv/machine.ts";
import type { Engine, ProposalOutcome } from "./engine.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Leadership } from "./leadership.ts";
import type { Reads } from "./reads.ts";

/** Without a leader a request is held for so many of the longest election timeouts. */
const LEADER_WAIT_ELECTIONS = 2;

export interface RequestsOptions {
  readonly engine: Engine;
  readonly machine: KeyValueMachine;
  readonly forwarder: Forwarder;
  readonly leadership: Leadership;
  readonly reads: Reads;
  readonly deadlines: Deadlines;
  readonly clock: Clock;
  readonly electionMaxMs: number;
  /** The leader as the configuration knows it; null where there is none. */
  readonly leader: () => RaftMember | null;
}

type Replicated = Extract<ClientRequest, { readonly kind: "command" | "add" | "remove" }>;

export class Requests {
  readonly #options: RequestsOptions;

  constructor(options: RequestsOptions) {
    this.#options = options;
  }

  command(envelope: Envelope, deadline: Ms): Promise<ClientAnswer> {
    // An expiry is the leader's own: nothing from outside may look like one.
    if (envelope.command.kind === "expire-session") return Promise.resolve({ kind: "refused", reason: "sessions expire by themselves" });
    const payload = encodeEnvelope(envelope);
    const refused = refuseSize(payload);
    if (refused !== null) return Promise.resolve({ kind: "command", answer: refused });
    return this.byLeader({ kind: "command", envelope }, deadline, () => this.#proposed(payload, deadline));
  }

  /** What only a leader can do: `here` where this member leads, else over the link, else after a moment. */
  async byLeader(request: Replicated, deadline: Ms, here: () => Promise<ClientAnswer>): Promise<ClientAnswer> {
    const { leadership, clock, electionMaxMs, leader } = this.#options;
    // Longer than an election takes, it is better to ask another member.
    const holdUntil = ms(Math.min(deadline, clock.now() + LEADER_WAIT_ELECTIONS * electionMaxMs));
    for (;;) {
      const current = leadership.current;
      if (current.kind !== "none") {
        const answer = current.kind === "self" ? await here() : await this.#forwarded(current.id, request, deadline);
        if (answer.kind !== "not-leader") return answer;
      }
      if (!(await leadership.change(holdUntil))) return { kind: "not-leader", leader: leader() };
    }
  }

  /** On the leader alone; `not-leader` where it is not, or no longer. */
  async proposed(envelope: Envelope, deadline: Ms): Promise<ClientAnswer> {
    const payload = encodeEnvelope(envelope);
    const refused = refuseSize(payload);
    return refused === null ? this.#proposed(payload, deadline) : { kind: "command", answer: refused };
  }

  #proposed(payload: Uint8Array, deadline: Ms): Promise<ClientAnswer> {
    return new Promise((resolve) => {
      const cancel = this.#options.deadlines.add(deadline, () => resolve(this.#answered(TOO_LATE)));
      this.#options.engine.propose(payload, (outcome) => {
        cancel();
        resolve(this.#answered(outcome));
      });
    });
  }

  #answered(outcome: ProposalOutcome): ClientAnswer {
    switch (outcome.kind) {
      case "applied":
        if (outcome.answer === null) throw new Error("a command was applied without an answer");
        return { kind: "command", answer: outcome.answer };
      case "refused":
        return refusalAnswer(outcome.refusal, this.#options.leader());
      case "lost":
        return { kind: "unavailable", reason: "another leader's entries took its place" };
      case "unknown":
        return { kind: "unknown-outcome", reason: outcome.reason };
    }
  }

  settled(deadline: Ms, start: (settle: (outcome: ProposalOutcome) => void) => void): Promise<ProposalOutcome> {
    return new Promise((resolve) => {
      const cancel = this.#options.deadlines.add(deadline, () => resolve(TOO_LATE));
      start((outcome) => {
        cancel();
        resolve(outcome);
      });
    });
  }

  async query(query: Query, deadline: Ms): Promise<ClientAnswer> {
    const { reads, machine } = this.#options;
    if (query.kind !== "snapshot" || query.consistency !== "stale") {
      const ready = await reads.linearize(deadline);
      if (!ready.ok) return { kind: "unavailable", reason: ready.error };
    }
    const value = machine.query(query);
    if (value.ok) return { kind: "query", value: value.value };
    return value.error.kind === "rejected"
      ? { kind: "refused", reason: value.error.reason }
      : { kind: "unavailable", reason: value.error.kind };
  }

  /** Waits here, whoever leads; what it answers is read as every other read. */
  async watch(request: Extract<ClientRequest, { readonly kind: "watch" }>, deadline: Ms, gone: AbortSignal | null): Promise<ClientAnswer> {
    const { machine, clock } = this.#options;
    const { prefix, after, waitMs } = request;
    const state = machine.changedSince(prefix, after);
    if (state === "compacted") return { kind: "compacted" };
    if (state === "unchanged") {
      const woken = await this.#changed(request, ms(Math.min(deadline, clock.now() + waitMs)), gone);
      if (woken === "too-many") return { kind: "unavailable", reason: "too many watches wait on this member" };
      if (woken === "gone") return { kind: "unavailable", reason: "the watch was ended" };
    }
    const answer = await this.query({ kind: "snapshot", prefix, consistency: "linearizable" }, deadline);
    return answer.kind === "query" && answer.value.kind === "snapshot" ? { kind: "watch", snapshot: answer.value.snapshot } : answer;
  }

  #changed(
    { prefix, after }: { readonly prefix: string; readonly after: Parameters<KeyValueMachine["subscribe"]>[1] },
    until: Ms,
    gone: AbortSignal | null,
  ): Promise<"changed" | "over" | "gone" | "too-many"> {
    if (gone?.aborted === true) return Promise.resolve("gone");
    return new Promise((resolve) => {
      const finish = (how: "changed" | "over" | "gone"): void => {
        cancel();
        unsubscribe?.();
        gone?.removeEventListener("abort", onGone);
        resolve(how);
      };
      const onGone = (): void => finish("gone");
      const unsubscribe = this.#options.machine.subscribe(prefix, after, () => finish("changed"));
      const cancel = this.#options.deadlines.add(until, () => finish("over"));
      gone?.addEventListener("abort", onGone, { once: true });
      if (unsubscribe !== null) return;
      cancel();
      gone?.removeEventListener("abort", onGone);
      resolve("too-many");
    });
  }

  async #forwarded(to: RaftMember["id"], request: Replicated, deadline: Ms): Promise<ClientAnswer> {
    const { forwarder, clock, leader } = this.#options;
    const withinMs = Math.max(0, deadline - clock.now());
    const answer = await forwarder.ask(to, { kind: "request", request, withinMs }, deadline);
    if (!answer.ok) {
      return answer.error.kind === "not-sent"
        ? { kind: "not-leader", leader: leader() }
        : { kind: "unknown-outcome", reason: answer.error.reason };
    }
    if (answer.value.kind === "request") return answer.value.answer;
    return answer.value.kind === "not-leader" ? { kind: "not-leader", leader: leader() } : NONSENSE;
  }
}

const TOO_LATE: ProposalOutcome = { kind: "unknown", reason: "not committed in time" };
const NONSENSE: ClientAnswer = { kind: "unknown-outcome", reason: "the leader's answer makes no sense" };

export function refusalAnswer(refusal: Refusal, leader: RaftMember | null): ClientAnswer {
  switch (refusal.kind) {
    case "not-leader":
      return { kind: "not-leader", leader: refusal.leader ?? leader };
    case "busy":
      return { kind: "unavailable", reason: refusal.reason };
    case "invalid":
      return { kind: "refused", reason: refusal.reason };
  }
}
