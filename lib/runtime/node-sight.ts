// Owns what looks on while a node works, put together: measures, events, and the events' lines in the log. Decides nothing.

import type { Clock } from "../model/clock.ts";
import type { NodeConfig } from "../model/node-config.ts";
import { ms } from "../model/units.ts";
import { programRunner } from "../postgres/programs.ts";
import type { Watchdog } from "../postgres/watchdog/watchdog.ts";
import { EventLog } from "./event-log.ts";
import { EventRecorder } from "./event-recorder.ts";
import { Hooks } from "./hooks.ts";
import type { NodeLog } from "./log.ts";
import { Measures } from "./measures.ts";
import type { NodeState } from "./node-state.ts";
import { bothOf } from "./observer.ts";

export interface NodeSight {
  readonly measures: Measures;
  readonly events: EventLog;
  readonly recorder: EventRecorder;
  readonly hooks: Hooks;
  /** The end of the supervisor: what waits for hooks has a moment to be delivered. */
  close(): Promise<void>;
}

const HOOKS_END_MS = 1000;

export interface SightOptions {
  readonly node: NodeConfig;
  readonly clock: Clock;
  readonly log: NodeLog;
  readonly state: NodeState;
  readonly watchdog: Watchdog;
}

export function openSight({ node, clock, log, state, watchdog }: SightOptions): NodeSight {
  const measures = new Measures();
  const events = new EventLog({ scope: node.scope, name: node.name, wallNow: () => clock.wallNow() });
  const recorder = new EventRecorder(events, {
    fencing: () => (watchdog.armed ? "armed" : "off"),
    raft: () => state.raftFigures,
  });
  measures.onPhase = (takeover, phase) => recorder.phaseEnded(takeover, phase);
  // A decision's line carries its event already.
  events.listen(({ kind, text, json }) => {
    if (kind !== "decision") log.event(text, json);
  });
  state.observer = bothOf(measures, recorder);
  const hooks = new Hooks(events, {
    clock,
    log,
    run: programRunner(node.postgresql, clock),
    post: async (...request) => (await import("./webhook.ts")).postEvent(...request),
    counted: (hook, outcome) => measures.hook(hook, outcome),
  });
  hooks.configure(node.hooks);
  return { measures, events, recorder, hooks, close: () => hooks.close(ms(clock.now() + HOOKS_END_MS)) };
}
