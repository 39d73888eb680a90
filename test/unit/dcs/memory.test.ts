// Goal: the memory store ends sessions at the exact instant, and its gate makes the faults that it says it makes.
// Method: a clock moved by hand.

import { describe, expect, test } from "bun:test";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { type GateVerdict, MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { Change } from "../../../lib/dcs/store.ts";
import type { StoreError } from "../../../lib/model/errors.ts";
import type { Result } from "../../../lib/model/result.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { ManualClock } from "./manual-clock.ts";

function open(options: Partial<ConstructorParameters<typeof MemoryCluster>[0]> = {}) {
  const clock = new ManualClock();
  const cluster = new MemoryCluster({ clock, ...options });
  const store = new MemoryStore({ cluster, clock });
  const within = (budgetMs = 1000) => ({ deadline: ms(clock.now() + budgetMs) });
  return { clock, cluster, store, within };
}

function kindOf(result: Result<unknown, StoreError>): string {
  return result.ok ? "ok" : result.error.kind;
}

describe("sessions", () => {
  test("a session ends exactly its ttl after the last renewal, by the timer, and wakes who watches its keys", async () => {
    const { clock, cluster, store, within } = open();
    const session = cluster.openSession("s", ms(10_000));
    await store.put("a/leader", "x", { ...within(), session: session.id });
    await clock.advance(4_000);
    expect(cluster.renewSession(session.id)).not.toBeNull();
    let wokenAt = -1;
    const watching = store.watch("a/", cluster.revision, { deadline: ms(60_000) }).then((result) => {
      wokenAt = clock.now();
      return result;
    });
    await clock.advance(9_999);
    expect(cluster.get("a/leader")?.session).toBe(session.id);
    expect(wokenAt).toBe(-1);
    await clock.advance(1);
    expect(wokenAt).toBe(14_000);
    expect(await watching).toMatchObject({ ok: true, value: { entries: [] } });
    expect(cluster.renewSession(session.id)).toBeNull();
  });

  test("a store may promise less than it keeps, never more", async () => {
    const { clock, cluster } = open({ promisedMs: (ttl) => ms(ttl / 2), lifetimeMs: (ttl) => ms(ttl + 300), minTtl: ms(5_000) });
    const session = cluster.openSession("s", ms(1_000));
    expect(session.promisedMs).toBe(ms(2_500));
    await clock.advance(5_299);
    expect(cluster.sessionInfo(session.id)).not.toBeNull();
    await clock.advance(1);
    expect(cluster.sessionInfo(session.id)).toBeNull();
    const other = open({ lifetimeMs: () => ms(1) });
    const kept = other.cluster.openSession("s", ms(1_000));
    await other.clock.advance(999);
    expect(other.cluster.sessionInfo(kept.id)).not.toBeNull();
  });

  test("closing the cluster leaves no timer behind", async () => {
    const { clock, cluster } = open();
    cluster.openSession("s", ms(1_000));
    cluster.close();
    await clock.advance(10_000);
    expect(cluster.revision).toBe(revision(0));
  });
});

describe("gate", () => {
  const verdicts: readonly [GateVerdict, string, string, number, boolean][] = [
    [{ kind: "pass" }, "ok", "ok", 0, true],
    [{ kind: "refuse" }, "unavailable", "unavailable", 0, false],
    [{ kind: "silence" }, "unknown-outcome", "unavailable", 1000, false],
    [{ kind: "lose-answer" }, "unknown-outcome", "unavailable", 1000, true],
    [{ kind: "delay", requestMs: 100, answerMs: 50 }, "ok", "ok", 150, true],
    [{ kind: "delay", requestMs: 1500, answerMs: 0 }, "unknown-outcome", "unavailable", 1000, true],
  ];
  test.each(verdicts)("%o: a write ends as %s, a read as %s, after %d ms; applied: %p", async (verdict, write, read, takes, applied) => {
    const { clock, cluster, store, within } = open();
    store.gate = () => verdict;
    const ends: [string, number][] = [];
    void store.put("k", "v", within()).then((result) => ends.push([kindOf(result), clock.now()]));
    void store.snapshot("k", within()).then((result) => ends.push([kindOf(result), clock.now()]));
    await clock.advance(3_000);
    expect(ends.sort()).toEqual([[write, takes] as [string, number], [read, takes] as [string, number]].sort());
    expect(cluster.get("k") !== null).toBe(applied);
  });

  test("the gate sees the operation and its key", async () => {
    const { store, within } = open();
    const seen: string[] = [];
    store.gate = (operation, key) => {
      seen.push(`${operation} ${key}`);
      return { kind: "refuse" };
    };
    await store.put("k", "v", within());
    await store.delete("d", within());
    await store.transaction([{ kind: "put", key: "t", value: "v" }], within());
    await store.renewSession("session-1", within());
    await store.watch("w/", revision(0), within());
    expect(seen).toEqual(["put k", "delete d", "transaction t", "renewSession session-1", "watch w/"]);
  });

  test("a client that is cut off hears nothing, not even in a watch; reconnected, it learns what it missed", async () => {
    const { clock, cluster, store } = open();
    cluster.apply([{ kind: "put", key: "a/k", value: "1" }]);
    const kinds: string[] = [];
    const long = store.watch("a/", cluster.revision, { deadline: ms(10_000) });
    void store.watch("a/", cluster.revision, { deadline: ms(500) }).then((result) => kinds.push(kindOf(result)));
    await clock.advance(1);
    store.cutOff();
    cluster.apply([{ kind: "put", key: "a/k", value: "2" }]);
    void store.put("a/k", "3", { deadline: ms(900) }).then((result) => kinds.push(kindOf(result)));
    await clock.advance(1_000);
    expect(kinds).toEqual(["unavailable", "unknown-outcome"]);
    store.reconnect();
    expect(await long).toMatchObject({ ok: true, value: { entries: [{ value: "2" }] } });
  });

  test("dropped watches end as unavailable", async () => {
    const { clock, cluster, store } = open();
    const watching = store.watch("a/", cluster.revision, { deadline: ms(10_000) });
    await clock.advance(1);
    store.dropWatches();
    expect(kindOf(await watching)).toBe("unavailable");
  });
});

describe("keys", () => {
  test("an unchanged prefix answers with the same snapshot, and unchanged entries are shared", async () => {
    const { cluster, store, within } = open();
    cluster.apply([
      { kind: "put", key: "a/1", value: "1" },
      { kind: "put", key: "a/2", value: "2" },
    ]);
    const first = await store.snapshot("a/", within());
    cluster.apply([{ kind: "put", key: "b", value: "elsewhere" }]);
    const second = await store.snapshot("a/", within());
    expect(second.ok && first.ok && second.value === first.value).toBe(true);
    cluster.apply([{ kind: "put", key: "a/2", value: "3" }]);
    const third = await store.snapshot("a/", within());
    expect(third.ok && first.ok && third.value.entries[0] === first.value.entries[0]).toBe(true);
    expect(third.ok && third.value.entries[1]?.value).toBe("3");
  });

  test("a put of the same text under the same owner is no change", () => {
    const { cluster } = open();
    const first = cluster.apply([{ kind: "put", key: "k", value: "v" }]);
    expect(cluster.apply([{ kind: "put", key: "k", value: "v" }])).toEqual(first);
    expect(cluster.revision).toBe(revision(1));
  });

  test("whatever transactions are applied, the keys are those of a slow and obvious store", () => {
    const key = fc.constantFrom("a", "a/1", "a/2", "a/10", "b", "ab", "");
    const change = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), key, value: fc.constantFrom("x", "y", "z") }),
      fc.record({
        kind: fc.constant("put" as const),
        key,
        value: fc.constantFrom("x", "y"),
        condition: fc.constant({ kind: "absent" as const }),
      }),
      fc.record({ kind: fc.constant("delete" as const), key }),
    );
    fc.assert(
      fc.property(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 30 }), (transactions) => {
        const { cluster } = open();
        let model = new Map<string, string>();
        let last = 0;
        for (const changes of transactions) {
          const next = new Map(model);
          const fails = changes.some((one: Change) => {
            if (one.kind === "delete") next.delete(one.key);
            if (one.kind === "put" && one.condition !== undefined && next.has(one.key)) return true;
            if (one.kind === "put") next.set(one.key, one.value);
            return false;
          });
          const result = cluster.apply(changes);
          expect(result.ok).toBe(!fails);
          if (!fails) model = next;
          for (const prefix of ["", "a", "a/"]) {
            const snapshot = cluster.snapshot(prefix);
            const expected = [...model].filter(([name]) => name.startsWith(prefix)).sort(([a], [b]) => (a < b ? -1 : 1));
            expect(snapshot.ok && snapshot.value.entries.map((entry) => [entry.key, entry.value])).toEqual(expected);
          }
          expect(cluster.revision).toBeGreaterThanOrEqual(last);
          last = cluster.revision;
        }
      }),
      { numRuns: 200 },
    );
  });
});
