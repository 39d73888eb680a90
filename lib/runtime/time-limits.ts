// Owns the floors of the dynamic configuration while a node runs: asks the store until it has said what it can keep, watches the
// members for a Patroni, and tells when the floors change. Changes no setting itself.

import { limitsBeside, type PatroniTrace, tracePatroni } from "../core/time-limits.ts";
import type { ClusterStore } from "../dcs/cluster-store.ts";
import type { Clock } from "../model/clock.ts";
import type { Cluster } from "../model/cluster.ts";
import type { DynamicLimits } from "../model/dynamic-config.ts";
import { describeStoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { type Ms, ms } from "../model/units.ts";

/** The question goes to the store's own agent beside us; the cycle does not wait for it for longer. */
const ANSWER_WITHIN_MS = 2_000;

export interface TimeLimitsOptions {
  readonly store: Pick<ClusterStore, "limits">;
  readonly clock: Clock;
  readonly log: Log;
  /** This node's name: its own key may be one that another program left. */
  readonly self: string;
  /** In force until the store has answered. */
  readonly initial: DynamicLimits;
}

export class TimeLimits {
  readonly #options: TimeLimitsOptions;
  #store: DynamicLimits;
  #asked: "not yet" | "answered" | "refused" = "not yet";
  #patroni: PatroniTrace | null = null;

  constructor(options: TimeLimitsOptions) {
    this.#options = options;
    this.#store = options.initial;
  }

  get current(): DynamicLimits {
    return limitsBeside(this.#store, this.#patroni);
  }

  /** Asks the store, where it has not answered yet. One that is away is asked again the next time, one that refuses is not. */
  async ask(): Promise<void> {
    const { store, clock, log } = this.#options;
    if (this.#asked !== "not yet") return;
    const answer = await store.limits({ deadline: ms(clock.now() + ANSWER_WITHIN_MS) });
    if (answer.ok) {
      this.#asked = "answered";
      this.#store = answer.value;
      log.info(`the store keeps a ttl of ${inSeconds(answer.value.ttlFloorMs)} and more`);
    } else if (answer.error.kind === "unavailable")
      log.debug(`the store's shortest ttl is not known yet: ${describeStoreError(answer.error)}`);
    else {
      this.#asked = "refused";
      log.info(
        `the store does not tell its shortest ttl (${describeStoreError(answer.error)}): ${inSeconds(this.#store.ttlFloorMs)} stays the minimum`,
      );
    }
  }

  /** Takes note of who is in the cluster; to be called in each cycle too, as a Patroni that left counts for a while. */
  note({ members }: Pick<Cluster, "members">): void {
    const { clock, log, self } = this.#options;
    const before = this.#patroni;
    const floorBefore = this.current.ttlFloorMs;
    this.#patroni = tracePatroni(before, members, { self, now: clock.now() });
    const floor = this.current.ttlFloorMs;
    if (floor > floorBefore) {
      log.warning(
        `a Patroni is in the cluster (${this.#patroni?.names.join(", ")}): ttl is at least ${inSeconds(floor)}, as it makes of less`,
      );
    } else if (floor < floorBefore) log.info(`no Patroni is in the cluster any more: ttl may be ${inSeconds(floor)} again`);
  }
}

function inSeconds(time: Ms): string {
  return `${time / 1000} s`;
}
