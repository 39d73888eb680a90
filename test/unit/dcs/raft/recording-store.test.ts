// Owns the claim that what a recording store writes down can be judged: true where the store is true, and found out where it lies.

import { expect, test } from "bun:test";
import { MemoryCluster } from "../../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../../lib/dcs/memory-store.ts";
import { type Ms, ms, type Revision, revision } from "../../../../lib/model/units.ts";
import type { Operation } from "../../../raft/history.ts";
import { checkBySearch } from "../../../raft/linearizability.ts";
import { RecordingStore } from "../../../raft/recording-store.ts";
import { Random } from "../../../simulation/random.ts";
import { ManualClock } from "../manual-clock.ts";

const CLIENTS = 3;
const OPERATIONS_EACH = 10;
const TTL = ms(60);
const PATIENCE_MS = 12;

interface Played {
  readonly history: readonly Operation[];
  readonly errors: ReadonlySet<string>;
}

/** Clients of one memory store whose requests are late, lost or refused. */
async function play(seed: number, truth: "true" | "lying"): Promise<Played> {
  const random = new Random(seed);
  const clock = new ManualClock();
  const cluster = new MemoryCluster({ clock });
  const other = new MemoryCluster({ clock });
  const history: Operation[] = [];
  const errors = new Set<string>();
  const recorders = Array.from({ length: CLIENTS }, (_, each) => {
    // Who lies now and then writes somewhere else and says that it is done.
    const gate = () => {
      if (random.chance(0.5)) return { kind: "pass" } as const;
      if (random.chance(0.7)) return { kind: "delay", requestMs: random.between(0, 8), answerMs: random.between(0, 8) } as const;
      return { kind: random.pick(["refuse", "silence", "lose-answer"] as const) };
    };
    const stores = [cluster, other].map((which) => new MemoryStore({ cluster: which, clock, gate }));
    const [store, elsewhere] = stores as [MemoryStore, MemoryStore];
    if (truth === "lying" && each === 0) store.put = (key, value, options) => elsewhere.put(key, value, options);
    return new RecordingStore({ store, who: `c${each}`, now: () => clock.now(), history });
  });
  let running = recorders.length;
  for (const recorder of recorders) void use(recorder, { random, clock, errors }).then(() => running--);
  while (running > 0) {
    await clock.advance(random.between(0.1, 3));
  }
  for (const recorder of recorders) history.push(...recorder.pending);
  return { history, errors };
}

async function use(
  store: RecordingStore,
  { random, clock, errors }: { readonly random: Random; readonly clock: ManualClock; readonly errors: Set<string> },
): Promise<void> {
  let session: string | null = null;
  let seen: Revision = revision(1);
  for (let each = 0; each < OPERATIONS_EACH; each++) {
    const within = { deadline: ms(clock.now() + PATIENCE_MS) as Ms };
    const key = random.pick(["a", "b"]);
    const value = `${store.kind}-${random.whole(0, 1e9)}`;
    if (session === null && random.chance(0.3)) {
      const opened = await store.openSession({ ...within, name: "n", ttl: TTL });
      if (opened.ok) session = opened.value.id;
    }
    const id: string = session ?? "none";
    const condition = { kind: "revision", revision: seen } as const;
    const act = random.pick<() => Promise<{ readonly ok: boolean; readonly value?: unknown; readonly error?: { readonly kind: string } }>>([
      () => store.snapshot(random.pick(["", key]), within),
      () => store.snapshot(key, within),
      () => store.put(key, value, within),
      () => store.put(key, value, { ...within, condition }),
      () => store.put(`lock-${key}`, value, { ...within, session: id }),
      () =>
        store.transaction(
          [
            { kind: "put", key: "a", value },
            { kind: "put", key: "b", value },
          ],
          within,
        ),
      () => store.delete(key, { ...within, recursive: random.chance(0.2) }),
      () => store.renewSession(id, within),
      () => store.sessionInfo(id, within),
      () => store.closeSession(id, within),
    ]);
    const result = await act();
    if (!result.ok) errors.add(result.error?.kind ?? "");
    if (typeof result.value === "number") seen = revision(result.value);
    if (result.error?.kind === "session-gone") session = null;
    await clock.sleepUntil(ms(clock.now() + random.between(0, 5)));
  }
}

test("what clients of the memory store saw is linearizable, with lost requests, lost answers and sessions that end", async () => {
  const errors = new Set<string>();
  for (let seed = 1; seed <= 40; seed++) {
    const played = await play(seed, "true");
    expect(played.history.length).toBeGreaterThan(20);
    const verdict = checkBySearch(played.history, { snapshotRevision: "prefix" });
    expect([seed, verdict.kind, "report" in verdict ? verdict.report : ""]).toEqual([seed, "linearizable", ""]);
    for (const error of played.errors) errors.add(error);
  }
  expect([...errors].sort()).toEqual(["condition-failed", "session-gone", "unavailable", "unknown-outcome"]);
});

test("a store that says done and writes elsewhere is found out", async () => {
  let found = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const { history } = await play(seed, "lying");
    if (checkBySearch(history, { snapshotRevision: "prefix" }).kind === "violation") found++;
  }
  expect(found).toBeGreaterThan(10);
});
