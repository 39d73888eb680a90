// Goal: every request passes unchanged, and what is told of it is its kind, its time and its error.
// Method: the memory store behind a gate, and a clock moved by hand.

import { describe, expect, test } from "bun:test";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { err } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { measuredStore, type RequestMeasure } from "../../../lib/runtime/measured-store.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

function open() {
  const clock = new ManualClock();
  const inner = new MemoryStore({ cluster: new MemoryCluster({ clock }), clock });
  const told: RequestMeasure[] = [];
  return { clock, inner, told, store: measuredStore(inner, clock, (measure) => told.push(measure)), deadline: ms(60_000) };
}

describe("a measured store", () => {
  test("passes every request on, answers with what came, and tells of each one", async () => {
    const { store, told, deadline } = open();
    const session = await store.openSession({ name: "s", ttl: ms(10_000), deadline });
    if (!session.ok) throw new Error("no session");
    const { id } = session.value;
    expect((await store.renewSession(id, { deadline })).ok).toBe(true);
    expect((await store.sessionInfo(id, { deadline })).ok).toBe(true);
    expect((await store.put("a/k", "v", { deadline, session: id })).ok).toBe(true);
    expect(await store.snapshot("a/", { deadline })).toMatchObject({
      ok: true,
      value: { entries: [{ key: "a/k", value: "v", session: id }] },
    });
    expect((await store.transaction([{ kind: "check-owner", key: "a/k", session: id }], { deadline })).ok).toBe(true);
    expect((await store.delete("a/k", { deadline })).ok).toBe(true);
    expect((await store.limits({ deadline })).ok).toBe(true);
    expect((await store.closeSession(id, { deadline })).ok).toBe(true);
    expect(told.map(({ request }) => request)).toEqual([
      "open_session",
      "renew_session",
      "session_info",
      "put",
      "snapshot",
      "transaction",
      "delete",
      "limits",
      "close_session",
    ]);
    expect(told.every(({ error }) => error === null)).toBe(true);
  });

  test("tells how long an answer took by the given clock, and why it failed", async () => {
    const { clock, inner, told, deadline } = open();
    const slow = Object.create(inner, {
      put: {
        value: async () => {
          await clock.sleepUntil(ms(250));
          return err({ kind: "unknown-outcome", reason: "silence" });
        },
      },
    });
    const asked = measuredStore(slow, clock, (measure) => told.push(measure)).put("k", "v", { deadline });
    await clock.advance(1000);
    expect(await asked).toEqual(err({ kind: "unknown-outcome", reason: "silence" }));
    expect(told).toEqual([{ request: "put", took: ms(250), error: "unknown-outcome" }]);
  });

  test("tells of a watch only where it fails by itself", async () => {
    const { clock, inner, told, store } = open();
    const ended = new AbortController();
    const waiting = store.watch("a/", ms(0) as never, { deadline: ms(60_000), signal: ended.signal });
    ended.abort();
    expect((await waiting).ok).toBe(false);
    expect(told).toEqual([]);
    const broken = Object.create(inner, { watch: { value: async () => err({ kind: "unavailable", reason: "gone" }) } });
    await measuredStore(broken, clock, (measure) => told.push(measure)).watch("a/", ms(0) as never, { deadline: ms(60_000) });
    expect(told).toEqual([{ request: "watch", took: null, error: "unavailable" }]);
  });
});
