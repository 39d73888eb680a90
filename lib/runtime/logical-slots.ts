// Owns the copies of the primary's logical slots on a standby while it runs: which of them may not be used after a failover yet. What
// decides that is lib/core/slots-safety.ts; what is copied, and when, are rules.

import { targetOf } from "../core/facts.ts";
import { slotOnPrimary } from "../core/slots-desired.ts";
import { slotSafety, type UnsafeSlots } from "../core/slots-safety.ts";
import { leaderMember } from "../model/cluster.ts";
import type { Ms } from "../model/units.ts";
import { ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";

/** How long the primary may take to say how its slots stand; the loop does not wait for it. */
const QUESTION_DEADLINE_MS = 5000;

export class LogicalSlots {
  readonly #context: NodeContext;
  /** Seen before, safe or not. */
  #known: ReadonlySet<string> = new Set();
  #unsafe: UnsafeSlots = new Map();
  #askedAt: Ms | null = null;
  #asking: Promise<void> | null = null;
  #told = "";

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Not yet safe to use after a failover, sorted. */
  get unsafe(): readonly string[] {
    return [...this.#unsafe.keys()].sort();
  }

  /** These were copied just now. */
  copied(names: readonly string[]): void {
    this.#known = new Set([...this.#known, ...names]);
    this.#unsafe = new Map([...this.#unsafe, ...names.map((name) => [name, null] as const)]);
  }

  /** After each cycle. Asks the primary once a loop_wait while there is something to learn. */
  note(): void {
    const { clock, state } = this.#context;
    // As it is nearly everywhere: none is wanted, and none was known.
    if (state.settings.dynamic.slots.length === 0 && this.#known.size === 0 && this.#unsafe.size === 0) return;
    const own = this.#own();
    if (own === null) return;
    const added = [...own.keys()].filter((name) => !this.#known.has(name));
    this.#known = new Set(own.keys());
    // What a supervisor finds may have been copied by the one before it, a moment ago.
    if (added.length > 0) this.#unsafe = new Map([...this.#unsafe, ...added.map((name) => [name, null] as const)]);
    const asked = this.#askedAt !== null && clock.now() - this.#askedAt < state.settings.dynamic.loopWaitMs * 0.9;
    if (this.#unsafe.size === 0 || this.#asking !== null || asked) return;
    this.#askedAt = clock.now();
    this.#asking = this.#ask().finally(() => {
      this.#asking = null;
    });
  }

  /** Catalog_xmin of the standby's logical slots; null while this is no standby that can be seen. */
  #own(): ReadonlyMap<string, number> | null {
    const { state } = this.#context;
    const { status } = state.local;
    if (status === null || !status.inRecovery) return null;
    const wanted = new Set(state.settings.dynamic.slots.filter(({ kind }) => kind === "logical").map(({ name }) => name));
    const found = status.slots.filter(({ name, type, failover }) => type === "logical" && !failover && wanted.has(name));
    return new Map(found.flatMap(({ name, catalogXmin }) => (catalogXmin === null ? [] : [[name, catalogXmin] as const])));
  }

  async #ask(): Promise<void> {
    const { clock, log, postgres, state } = this.#context;
    const { cluster } = state;
    const { name, tags } = state.settings.node;
    const leader = cluster === null ? null : leaderMember(cluster);
    const source = leader === null || leader.name === name ? null : targetOf(leader, null);
    const physical = cluster === null ? null : slotOnPrimary(cluster, { name, tags });
    if (source === null || physical === null) return;
    const asked = [...this.#unsafe.keys()];
    const answer = await postgres.primarySlots({ source, physical, logical: asked, deadline: ms(clock.now() + QUESTION_DEADLINE_MS) });
    const own = this.#own();
    if (own === null) return;
    if (!answer.ok) return this.#tell(`Failed to check ${physical} physical slot on the primary: ${answer.error.message}`);
    if (!answer.value.physicalFound) return this.#tell(`Physical slot ${physical} does not exist on the primary`);
    const { safe, unsafe } = slotSafety(new Map(asked.map((slot) => [slot, this.#unsafe.get(slot) ?? null])), answer.value, own);
    const since = [...this.#unsafe].filter(([slot]) => !asked.includes(slot));
    this.#unsafe = new Map([...unsafe, ...since]);
    this.#told = "";
    for (const slot of safe) log.info(`Logical slot ${slot} is safe to be used after a failover`);
  }

  /** Once for each reason. */
  #tell(text: string): void {
    if (text !== this.#told) this.#context.log.warning(text);
    this.#told = text;
  }
}
