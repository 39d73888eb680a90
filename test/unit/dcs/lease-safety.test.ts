// Goal: whatever is lost, late or destroyed, a lease that still runs is covered. (1) While sessions end by their TTL alone, a
// node whose lease runs owns the leader key. (2) Also where sessions are destroyed and keys deleted by hand, nobody's lease
// runs any more once the latest mark has been known for its ttl (docs/adr/0002).
// Method: random operations of three nodes over the memory store with random faults, every invariant after every step.

import { expect, test } from "bun:test";
import { ClusterStore, type HeldLock } from "../../../lib/dcs/cluster-store.ts";
import { decodeLeaseMark } from "../../../lib/dcs/decode.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type GateVerdict, MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { Entry } from "../../../lib/dcs/store.ts";
import type { Log } from "../../../lib/model/log.ts";
import { type Ms, ms } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { ManualClock } from "./manual-clock.ts";

const TTLS = [ms(1_000), ms(2_000)] as const;
/** Of a check that ends the session; null: none. */
const CHECKS = [null, ms(500), ms(1_300)] as const;
const quiet: Log = { debug: ignore, info: ignore, warning: ignore, error: ignore, critical: ignore };
function ignore(): void {}

type Step = { readonly node: number; readonly verdicts: readonly GateVerdict[]; readonly waitMs: number } & (
  | { readonly act: "acquire" | "update" | "release" | "restart" | "look" | "destroy-session" | "delete-key" }
  | { readonly act: "reload"; readonly ttl: Ms; readonly sessionCheckTtl: Ms | null }
);

const verdict: fc.Arbitrary<GateVerdict> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<GateVerdict>({ kind: "pass" }) },
  { weight: 1, arbitrary: fc.constantFrom<GateVerdict>({ kind: "refuse" }, { kind: "silence" }, { kind: "lose-answer" }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("delay" as const), requestMs: fc.nat({ max: 1_500 }), answerMs: fc.nat({ max: 600 }) }),
  },
);

const reloads = { ttl: fc.constantFrom(...TTLS), sessionCheckTtl: fc.constantFrom(...CHECKS) };

function step(acts: readonly Exclude<Step["act"], "reload">[]): fc.Arbitrary<Step> {
  const common = {
    node: fc.nat({ max: 2 }),
    verdicts: fc.array(verdict, { maxLength: 5 }),
    waitMs: fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 900 })),
  };
  return fc.oneof(
    { weight: 10, arbitrary: fc.record({ ...common, act: fc.constantFrom(...acts) }) },
    { weight: 1, arbitrary: fc.record({ ...common, act: fc.constant("reload" as const), ...reloads }) },
  );
}

interface Node {
  readonly name: string;
  store: ClusterStore;
  lock: HeldLock | null;
  busy: boolean;
  check: Ms | null;
}

class Scene {
  readonly clock = new ManualClock();
  readonly cluster = new MemoryCluster({ clock: this.clock });
  readonly nodes: Node[];
  readonly #plan: GateVerdict[] = [];
  /** The latest mark, and when an observer first saw it. */
  mark: { readonly entry: Entry; readonly seenAt: Ms } | null = null;

  constructor() {
    this.nodes = ["a", "b", "c"].map((name) => ({ name, store: this.#open(name, null), lock: null, busy: false, check: null }));
  }

  #open(name: string, sessionCheckTtl: Ms | null): ClusterStore {
    const store = new MemoryStore({ cluster: this.cluster, clock: this.clock, gate: () => this.#plan.shift() ?? { kind: "pass" } });
    const place = { namespace: "s", scope: "c", group: null, name };
    return new ClusterStore({ store, clock: this.clock, log: quiet, ...place, ttl: TTLS[0], sessionCheckTtl });
  }

  /** Starts the step and lets its time pass; an operation may still be under way afterwards. */
  async run(step: Step): Promise<void> {
    const node = this.nodes[step.node];
    this.#plan.splice(0, this.#plan.length, ...step.verdicts);
    if (node !== undefined && step.act === "destroy-session") this.cluster.closeSession(node.store.session()?.id ?? "");
    else if (step.act === "delete-key") this.cluster.apply([{ kind: "delete", key: "s/c/leader" }]);
    else if (node !== undefined && !node.busy) {
      node.busy = true;
      void this.#act(node, step).finally(() => {
        node.busy = false;
      });
    }
    for (let passed = 0; passed < step.waitMs; passed += 10) {
      await this.clock.advance(Math.min(10, step.waitMs - passed));
      this.observe();
    }
  }

  observe(): void {
    const entry = this.cluster.get("s/c.lease");
    if (entry !== null && entry.revision !== this.mark?.entry.revision) this.mark = { entry, seenAt: this.clock.now() };
  }

  holders(): readonly Node[] {
    return this.nodes.filter(({ lock }) => lock !== null && this.clock.now() < lock.confirmedAt + lock.promisedMs);
  }

  async #act(node: Node, step: Step): Promise<void> {
    const within = { deadline: ms(this.clock.now() + 800) };
    const { store } = node;
    if (step.act === "acquire") {
      const taken = await store.attemptToAcquireLeader(within);
      if (taken.ok) node.lock = taken.value;
    } else if (step.act === "update") {
      const updated = await store.updateLeader(within);
      if (updated.ok) node.lock = updated.value;
      else if (updated.error.kind === "condition-failed" || updated.error.kind === "session-gone") node.lock = null;
    } else if (step.act === "release" && node.lock !== null) {
      // PostgreSQL is stopped before: the lease ends here, whatever comes of the request.
      const { lock } = node;
      node.lock = null;
      await store.deleteLeader({ ...within, lock });
    } else if (step.act === "reload") {
      node.check = step.sessionCheckTtl;
      const moved = await store.reloadConfig({ ...within, ttl: step.ttl, sessionCheckTtl: step.sessionCheckTtl });
      if (moved.ok && moved.value.lock !== null) node.lock = moved.value.lock;
    } else if (step.act === "restart" && store.session() !== null) {
      const id = store.session()?.id ?? "";
      node.store = this.#open(node.name, node.check);
      await node.store.adoptSession(id, within);
    } else if (step.act === "look") await store.getCluster(within);
  }
}

async function play(steps: readonly Step[], check: (scene: Scene) => void): Promise<void> {
  const scene = new Scene();
  for (const step of steps) {
    await scene.run(step);
    scene.observe();
    check(scene);
  }
  scene.cluster.close();
}

const RUNS = { numRuns: 150, interruptAfterTimeLimit: 20_000 };

test("while sessions end by their TTL alone, a node whose lease runs owns the leader key", async () => {
  let held = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(step(["acquire", "update", "update", "release", "restart", "look"]), { minLength: 10, maxLength: 30 }),
      (steps) =>
        play(steps, (scene) => {
          const holders = scene.holders();
          expect(holders.length).toBeLessThanOrEqual(1);
          for (const { name } of holders) expect(scene.cluster.get("s/c/leader")?.value).toBe(name);
          held += holders.length;
        }),
    ),
    RUNS,
  );
  expect(held).toBeGreaterThan(100);
}, 240_000);

test("once the latest mark has been known for its ttl, or says released, nobody's lease runs", async () => {
  let over = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(step(["acquire", "update", "update", "release", "restart", "look", "destroy-session", "delete-key"]), {
        minLength: 10,
        maxLength: 30,
      }),
      (steps) =>
        play(steps, (scene) => {
          if (scene.mark === null) return;
          const mark = decodeLeaseMark(scene.mark.entry);
          if (mark === null) throw new Error("the mark is always readable");
          if (!mark.released && scene.clock.now() < scene.mark.seenAt + mark.ttl) return;
          over++;
          expect(scene.holders().filter(({ lock }) => lock?.session === mark.session)).toEqual([]);
        }),
    ),
    RUNS,
  );
  expect(over).toBeGreaterThan(100);
}, 240_000);
