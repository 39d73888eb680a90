// Owns what a node says of why each member could or could not be promoted: it asks all of them and lets the core judge. It changes
// nothing. Many who ask share one round of questions.

import { explainMembers, type MemberExplained } from "../core/explain.ts";
import { ownLsn } from "../core/facts.ts";
import type { Observation, PeerAnswer, PeerStatus } from "../core/observation.ts";
import { lsn, ms } from "../model/units.ts";
import { publishedTags } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeSight } from "./node-sight.ts";
import { observe } from "./observe.ts";
import { postgresRole } from "./postgres-words.ts";

/** A member that says nothing within this time is silent: as for a switchover. */
const ASK_MS = 2000;

/** The names are those of the JSON of GET /explain. */
export interface Explanation {
  readonly scope: string;
  /** Who says so. */
  readonly name: string;
  readonly time: string;
  readonly dcs: "reachable" | "unreachable";
  readonly leader: string | null;
  readonly paused: boolean;
  readonly synchronous_mode: string;
  readonly members: readonly MemberExplained[];
  /** What this node's loop decided last. */
  readonly decision: { readonly rule: string; readonly why: string } | null;
  /** The last thing that it decided about a free lock, as an event with its facts: why it was, or was not, promoted then. */
  readonly last_race: unknown;
}

export class Explainer {
  readonly #context: NodeContext;
  readonly #sight: NodeSight | null;
  #running: Promise<Explanation> | null = null;

  constructor(context: NodeContext, sight: NodeSight | null) {
    this.#context = context;
    this.#sight = sight;
  }

  explain(): Promise<Explanation> {
    this.#running ??= this.#ask().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #ask(): Promise<Explanation> {
    const { clock, peers, state } = this.#context;
    const { node, dynamic } = state.settings;
    const askedAt = clock.now();
    const deadline = ms(askedAt + ASK_MS);
    const members = state.cluster?.members ?? [];
    const others = await Promise.all(
      members
        .filter(({ name }) => name !== node.name)
        .map(async ({ name, apiUrl }): Promise<PeerAnswer> => {
          return { name, status: apiUrl === null ? null : await peers.ask(apiUrl, deadline), askedAt };
        }),
    );
    const o = observe(this.#context);
    const race = this.#sight?.recorder.lastRace ?? null;
    return {
      scope: node.scope,
      name: node.name,
      time: new Date(clock.wallNow()).toISOString(),
      dcs: o.dcs.kind,
      leader: o.dcs.cluster?.leader?.name ?? null,
      paused: dynamic.pause,
      synchronous_mode: dynamic.synchronousMode,
      members: explainMembers(o, [{ name: node.name, status: this.#own(o), askedAt }, ...others]),
      decision: state.lastDecision,
      last_race: race === null ? null : JSON.parse(race.json),
    };
  }

  /** What this node would answer to another one. */
  #own(o: Observation): PeerStatus {
    const { state } = this.#context;
    const position = ownLsn(o);
    return {
      role: postgresRole(state),
      state: o.local.state,
      timeline: o.local.status?.timeline ?? null,
      lsn: position === null ? null : lsn(position),
      tags: publishedTags(state) as PeerStatus["tags"],
      watchdogFailed: state.fencingMissing,
      paused: o.config.pause,
      leaseHeld: state.leaseValid(),
    };
  }
}
