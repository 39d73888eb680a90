// Owns which of the things that a node does and sees become events. It only looks on (observer.ts): it decides nothing, and what it
// tells of has happened already.

import type { Decision } from "../core/decision.ts";
import { decisionFacts } from "../core/decision-facts.ts";
import type { Observation } from "../core/observation.ts";
import { changesBetween, type Sight, sightOf } from "../core/sight.ts";
import type { Phase, Takeover } from "../core/takeover-phases.ts";
import type { EventBody } from "../model/event.ts";
import { PRODUCT_VERSION } from "../model/product.ts";
import type { Ms } from "../model/units.ts";
import type { EventLog, KeptEvent } from "./event-log.ts";
import type { NodeObserver, Performed } from "./observer.ts";

/** Rules that take turns (a question, what follows from the answer) are told once, not in each turn: so many are remembered. */
const TURNS_MAX = 6;

/** What is not in an observation, looked at after each cycle. */
export interface Surroundings {
  readonly fencing: () => "armed" | "off";
  /** Null where the node has no member of the Raft. */
  readonly raft: () => { readonly role: string; readonly term: number } | null;
}

export class EventRecorder implements NodeObserver {
  readonly #events: EventLog;
  readonly #around: Surroundings;
  #sight: Sight | null = null;
  #rule: string | null = null;
  /** Decisions and failures since something else happened. */
  #turns: string[] = [];
  #fencing: "armed" | "off" = "off";
  #raft = "";
  /** The last decision about the free lock: why this node was, or was not, promoted. */
  lastRace: KeptEvent | null = null;

  constructor(events: EventLog, around: Surroundings) {
    this.#events = events;
    this.#around = around;
  }

  /** Something that the loop does not know of. */
  note(body: EventBody, text: string): KeptEvent {
    this.#turns = [];
    return this.#events.add(body, text, this.#rule);
  }

  supervisor(what: "started" | "stopping"): void {
    this.note({ kind: "supervisor", what, version: PRODUCT_VERSION }, `the supervisor is ${what}`);
  }

  decided(decision: Decision, o: Observation): string | null {
    const now = sightOf(o);
    if (now !== null) {
      const reason = o.dcs.kind === "unreachable" ? o.dcs.reason : "";
      for (const { body, text } of changesBetween(this.#sight, now, reason)) this.note(body, text);
      this.#sight = now;
    }
    this.#rule = decision.rule;
    const { kind } = decision.effect;
    // Done in each cycle, and what comes of it is told by itself.
    if (kind === "renew-lock" || kind === "sync-slots" || this.#isTurn(`${decision.rule}\0${decision.why}`)) return null;
    const event = this.#events.add({ kind: "decision", effect: kind, facts: decisionFacts(o) }, decision.why, decision.rule);
    if (decision.rule.startsWith("race")) this.lastRace = event;
    return event.json;
  }

  performed({ kind, ok, message }: Performed): void {
    if (ok || this.#isTurn(`${kind}\0${message}`)) return;
    this.#events.add({ kind: "effect", effect: kind, ok: false }, `${kind}: ${message}`, this.#rule);
  }

  taskEnded({ kind, ok, message, took }: Performed): void {
    const text = ok ? `${kind}: done` : `${kind}: ${message}`;
    this.note({ kind: "task", task: kind, ok, seconds: secondsOf(took) }, text);
  }

  cycleEnded(): void {
    const fencing = this.#around.fencing();
    if (fencing !== this.#fencing) {
      this.#fencing = fencing;
      const text = fencing === "armed" ? "PostgreSQL is fenced" : "nothing fences PostgreSQL any more";
      this.note({ kind: "fencing", fencing }, text);
    }
    const raft = this.#around.raft();
    const standing = raft === null ? "" : `${raft.role} ${raft.term}`;
    if (raft === null || standing === this.#raft) return;
    this.#raft = standing;
    this.note({ kind: "raft", role: raft.role, term: raft.term }, `the member of the Raft is ${raft.role} in term ${raft.term}`);
  }

  phaseEnded({ cause, former }: Takeover, { phase, took }: Phase): void {
    const after = took === null ? "" : ` after ${secondsOf(took)} s`;
    this.note({ kind: "failover", phase, cause, former, seconds: took === null ? null : secondsOf(took) }, `${PHASE_TEXTS[phase]}${after}`);
  }

  #isTurn(what: string): boolean {
    if (this.#turns.includes(what)) return true;
    this.#turns.push(what);
    if (this.#turns.length > TURNS_MAX) this.#turns.shift();
    return false;
  }
}

const PHASE_TEXTS: Readonly<Record<Phase["phase"], string>> = {
  detected: "takeover: the lock was seen to be free",
  lock: "takeover: this node holds the lock",
  promoted: "takeover: PostgreSQL is promoted",
  writable: "takeover: PostgreSQL takes writes",
};

function secondsOf(took: Ms): number {
  return Math.round(took) / 1000;
}
