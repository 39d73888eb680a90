// Owns a node for tests of fencing and lease: the real effects and cluster store over a memory store with a gate that makes the
// faults; PostgreSQL and the guard are facts that the test sets.

import { expect } from "bun:test";
import { ClusterStore } from "../../../lib/dcs/cluster-store.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type GateVerdict, MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { LeaseMark } from "../../../lib/model/cluster.ts";
import { err, ok, type Result } from "../../../lib/model/result.ts";
import { type Ms, ms, timeline } from "../../../lib/model/units.ts";
import { LocalPostgresql } from "../../../lib/postgres/local.ts";
import type { ArmOptions, ProcessId, Watchdog, WatchdogError } from "../../../lib/postgres/watchdog/watchdog.ts";
import { rearm } from "../../../lib/runtime/fencing.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { NodeState } from "../../../lib/runtime/node-state.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { acquireLock } from "../../../lib/runtime/perform-lock.ts";
import { Waker } from "../../../lib/runtime/waker.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { loadTemplate } from "../../simulation/node-config.ts";
import { CONFIG, primaryStatus, status } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

export const template = await loadTemplate();
export const RUNNING = { kind: "running", pid: 10, startTicks: 1, stopped: false } as const;

/** The machine's guard: armed or not, whichever process armed it. */
export class Machine {
  guard: "armed" | "disarmed" = "disarmed";
}

/** One process's handle of that guard. */
export class TestWatchdog implements Watchdog {
  readonly fencing = "process";
  armed = false;
  /** The last one that it was told of. */
  leaseEnd = Number.NaN;
  /** Of each order to arm it, in ms. */
  readonly ttls: number[] = [];
  /** A ttl from which on it has no timeout to offer; 0: it is not there. */
  tooLong = Number.POSITIVE_INFINITY;
  readonly #machine: Machine;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  /** How often it was asked whether it is usable. */
  looks = 0;

  async prepare(): Promise<Result<null, WatchdogError>> {
    this.looks += 1;
    return this.tooLong === 0 ? err({ kind: "unusable", message: "no device" }) : ok(null);
  }

  async arm({ ttl }: ArmOptions): Promise<Result<null, WatchdogError>> {
    this.ttls.push(ttl);
    if (ttl >= this.tooLong) return err({ kind: "unusable", message: "no such timeout" });
    this.armed = true;
    this.#machine.guard = "armed";
    return ok(null);
  }

  attach(_guard: ProcessId | null, options: ArmOptions) {
    this.leaseEnd = options.leaseEnd;
    return this.arm(options);
  }

  extend(leaseEnd: number) {
    this.leaseEnd = leaseEnd;
    return ok(null);
  }

  async disarm() {
    this.armed = false;
    this.#machine.guard = "disarmed";
    return ok(null);
  }

  healthy(): boolean {
    return this.armed;
  }

  actsAt(): null {
    return null;
  }

  guardProcess(): null {
    return null;
  }

  onLost() {
    return () => undefined;
  }

  async close(): Promise<void> {}
}

export class Bench {
  readonly clock = new ManualClock();
  readonly data = new MemoryCluster({ clock: this.clock });
  readonly machine = new Machine();
  /** One verdict for each coming request; then everything passes. */
  readonly plan: GateVerdict[] = [];
  /** Of a check that ends the session of each node; null: none. */
  readonly #sessionCheckTtl: Ms | null;

  store(name: string): ClusterStore {
    const store = new MemoryStore({ cluster: this.data, clock: this.clock, gate: () => this.plan.shift() ?? { kind: "pass" } });
    const { namespace, scope } = template;
    return new ClusterStore({
      store,
      clock: this.clock,
      log: recordingLog(),
      namespace,
      scope,
      group: null,
      name,
      ttl: CONFIG.ttlMs,
      sessionCheckTtl: this.#sessionCheckTtl,
    });
  }

  constructor(options: { readonly sessionCheckTtl?: Ms } = {}) {
    this.#sessionCheckTtl = options.sessionCheckTtl ?? null;
    const { namespace, scope } = template;
    const key = clusterKeys({ namespace, scope, group: null }).initialize;
    this.data.apply([{ kind: "put", key, value: primaryStatus().systemIdentifier }]);
  }

  /** A process on the machine whose PostgreSQL runs in that role. */
  async node(role: "primary" | "replica", name = "a"): Promise<NodeContext> {
    const { clock } = this;
    const log = { ...recordingLog(), heartbeat: () => undefined };
    const state = new NodeState(clock, {
      node: { ...template, name },
      dynamic: { ...CONFIG, leaseTtlMs: this.#sessionCheckTtl ?? CONFIG.ttlMs },
    });
    const postgres = new LocalPostgresql({ config: template.postgresql, name, scope: template.scope, clock, log });
    const seen = role === "primary" ? { ...primaryStatus(), timeline: timeline(1) } : status();
    postgres.inspect = async () => ({ dataDirectory: { kind: "valid", majorVersion: 17 }, process: RUNNING });
    postgres.status = async () => ok(seen);
    Object.assign(state.local, { process: RUNNING, status: seen, lastRole: role });
    const context: NodeContext = {
      clock,
      log,
      store: this.store(name),
      postgres,
      peers: { ask: async () => null, failsafe: async () => ({ kind: "silent", reason: "" }) },
      watchdog: new TestWatchdog(this.machine),
      lease: { former: () => null, save: () => undefined, clear: () => undefined },
      promises: { former: () => null, save: () => true },
      state,
      waker: new Waker(clock),
    };
    await refreshCluster(context);
    return context;
  }

  /** A primary that holds the lock, with its guard armed. */
  async leader(): Promise<NodeContext> {
    const a = await this.node("primary");
    await rearm(a);
    expect((await acquireLock(a)).ok).toBe(true);
    expect((await this.mark())?.unfenced).toBeNull();
    return a;
  }

  async mark(): Promise<LeaseMark | null> {
    const read = await this.store("reader").readLease({ deadline: ms(this.clock.now() + 1_000) });
    if (!read.ok) throw new Error("the store is there");
    return read.value;
  }
}
