// Owns what a node counts and times while it works, and under which names. It only looks on (observer.ts); how the figures are written
// is lib/api's.

import type { Decision } from "../core/decision.ts";
import type { Observation } from "../core/observation.ts";
import { foldTakeover, type Phase, type PhaseName, type Takeover, type TakeoverCause } from "../core/takeover-phases.ts";
import type { MetricFamily } from "../model/metric.ts";
import { Counter, Histogram } from "../model/tally.ts";
import type { Ms } from "../model/units.ts";
import type { HookOutcome } from "./hooks.ts";
import type { RequestMeasure } from "./measured-store.ts";
import type { NodeObserver, Performed } from "./observer.ts";

/** Seconds, for what takes milliseconds when all is well. */
const SHORT = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Seconds, for a takeover. */
const TAKEOVER = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Seconds, for starts, copies, rewinds. */
const TASK = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200, 43_200];

const PHASES: readonly PhaseName[] = ["detected", "lock", "promoted", "writable"];
const CAUSES: readonly TakeoverCause[] = ["automatic", "switchover", "manual"];

export class Measures implements NodeObserver {
  readonly #cycle = new Histogram(SHORT);
  readonly #requests = new Histogram(SHORT, "request");
  readonly #requestFailures = new Counter("request", "error");
  readonly #decisions = new Counter("rule");
  readonly #effectFailures = new Counter("effect");
  readonly #tasks = new Histogram(TASK, "task", "outcome");
  readonly #phases = new Histogram(TAKEOVER, "phase");
  readonly #failover = new Histogram(TAKEOVER);
  readonly #failovers = new Counter("cause");
  readonly #hooks = new Counter("hook", "outcome");
  #takeover: Takeover | null = null;
  #revision = 0;
  /** Told of each phase of a takeover as it ends. */
  onPhase: (takeover: Takeover, phase: Phase) => void = () => undefined;

  constructor() {
    this.#cycle.know([]);
    this.#failover.know([]);
    for (const phase of PHASES) this.#phases.know([phase]);
    for (const cause of CAUSES) this.#failovers.add([cause], 0);
  }

  /** Grows with each change. */
  get revision(): number {
    return this.#revision;
  }

  request({ request, took, error }: RequestMeasure): void {
    this.#revision += 1;
    if (took !== null) this.#requests.note([request], took / 1000);
    if (error !== null) this.#requestFailures.add([request, error]);
  }

  hook(name: string, outcome: HookOutcome): void {
    this.#revision += 1;
    this.#hooks.add([name, outcome]);
  }

  decided(decision: Decision, observation: Observation): null {
    this.#revision += 1;
    this.#decisions.add([decision.rule]);
    const before = this.#takeover;
    const { takeover, ended } = foldTakeover(before, observation);
    this.#takeover = takeover;
    const now = takeover ?? before;
    if (now !== null) for (const phase of ended) this.#phaseEnded(now, phase, observation.now);
    return null;
  }

  #phaseEnded(takeover: Takeover, phase: Phase, now: Ms): void {
    if (phase.took !== null) this.#phases.note([phase.phase], phase.took / 1000);
    if (phase.phase === "writable") {
      this.#failovers.add([takeover.cause]);
      this.#failover.note([], (now - takeover.detectedAt) / 1000);
    }
    this.onPhase(takeover, phase);
  }

  performed({ kind, ok }: Performed): void {
    if (ok) return;
    this.#revision += 1;
    this.#effectFailures.add([kind]);
  }

  taskEnded({ kind, ok, took }: Performed): void {
    this.#revision += 1;
    this.#tasks.note([kind, ok ? "done" : "failed"], took / 1000);
    if (!ok) this.#effectFailures.add([kind]);
  }

  cycleEnded(took: Ms): void {
    this.#revision += 1;
    this.#cycle.note([], took / 1000);
  }

  families(): readonly MetricFamily[] {
    return [
      histogram("ha_cycle_seconds", "Time from the waking of the HA loop to its sleep.", this.#cycle),
      histogram(
        "dcs_request_seconds",
        "Time that requests to the DCS took; a watch, which waits on purpose, is none of them.",
        this.#requests,
      ),
      counter("dcs_request_failures_total", "Requests to the DCS that were not answered with success.", this.#requestFailures),
      counter("rule_decisions_total", "Decisions of the HA loop by the rule that they came from.", this.#decisions),
      counter("effect_failures_total", "Effects of decisions that did not succeed.", this.#effectFailures),
      histogram("task_seconds", "Time that long work beside the HA loop took: starts, stops, copies, rewinds, promotions.", this.#tasks),
      histogram(
        "failover_phase_seconds",
        "Phases of the takeovers by this node: from the former leader's last sign to the free lock seen, from there to the lock taken, " +
          "to the end of the promotion, to the first look that shows a server that takes writes.",
        this.#phases,
      ),
      histogram("failover_seconds", "Takeovers by this node, from the free lock seen to a server that takes writes.", this.#failover),
      counter(
        "hook_events_total",
        "Events for hooks: delivered, failed after all attempts, or dropped because too many waited.",
        this.#hooks,
      ),
      counter("failovers_total", "Takeovers by this node, by what caused them.", this.#failovers),
    ];
  }
}

function histogram(name: string, help: string, measured: Histogram): MetricFamily {
  return { kind: "histogram", name, help, samples: measured.samples() };
}

function counter(name: string, help: string, counted: Counter): MetricFamily {
  return { kind: "counter", name, help, samples: counted.samples() };
}
