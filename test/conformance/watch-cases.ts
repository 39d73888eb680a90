// Owns the cases on watches: nothing is missed, the deadline and the signal end them.

import { expect, test } from "bun:test";
import { ms, revision } from "../../lib/model/units.ts";
import { ownMs, stalledMs } from "../harness/stall.ts";
import { CASE_TIMEOUT_MS, expectError, type SuiteContext, value } from "./suite-context.ts";

/** A wake-up later than this is a fault of the store, not of the machine. */
const WAKE_UP_MAX_MS = 2_000;

export function watchCases(context: SuiteContext): void {
  replayCases(context);
  endingCases(context);
}

function replayCases(context: SuiteContext): void {
  test(
    "a change made between the snapshot and the watch is not missed",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      value(await store.put(`${prefix}k`, "before", context.within()));
      const seen = await context.snapshot(store, prefix);
      value(await context.client().put(`${prefix}k`, "between", context.within()));
      const woken = value(await store.watch(prefix, seen.revision, context.within()));
      expect(woken.entries.map((entry) => entry.value)).toEqual(["between"]);
      expect(woken.revision).toBeGreaterThan(seen.revision);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "each put, delete and session end wakes a waiting watch, in a chain of watches",
    async () => {
      const store = context.client();
      const writer = context.client();
      const prefix = context.freshPrefix();
      const session = await context.openSession(writer);
      const key = `${prefix}k`;
      value(await writer.put(`${prefix}base`, "base", context.within()));
      let after = (await context.snapshot(store, prefix)).revision;
      const steps: readonly [string, () => Promise<unknown>, readonly string[]][] = [
        ["created", () => writer.put(key, "1", context.within()), ["base", "1"]],
        ["changed", () => writer.put(key, "2", context.within()), ["base", "2"]],
        ["deleted", () => writer.delete(key, context.within()), ["base"]],
        ["owned", () => writer.put(key, "3", { ...context.within(), session: session.id }), ["base", "3"]],
        ["in a transaction", () => writer.transaction([{ kind: "put", key, value: "4" }], context.within()), ["base", "4"]],
        ["session ended", () => writer.closeSession(session.id, context.within()), ["base"]],
        ["all deleted", () => writer.delete(prefix, { ...context.within(), recursive: true }), []],
        ["created again", () => writer.put(key, "5", context.within()), ["5"]],
      ];
      for (const [step, change, expected] of steps) {
        const watching = store.watch(prefix, after, context.within());
        await context.pause(20); // lets the request reach the store, so that the wake-up and not the replay is seen
        const [changedAt, from] = [context.clock.now(), performance.now()];
        await change();
        let woken = value(await watching);
        // A watch may wake without need; then it is asked again.
        while (woken.revision > after && !Bun.deepEquals(texts(woken), expected) && context.clock.now() < changedAt + WAKE_UP_MAX_MS) {
          woken = value(await store.watch(prefix, woken.revision, { deadline: ms(changedAt + WAKE_UP_MAX_MS) }));
        }
        expect([step, ...texts(woken)]).toEqual([step, ...expected]);
        expect(ownMs(from)).toBeLessThan(WAKE_UP_MAX_MS);
        expect(woken.revision).toBeGreaterThan(after);
        after = woken.revision;
      }
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a watch after revision 0 answers at once where keys exist",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      value(await store.put(`${prefix}k`, "1", context.within()));
      const started = performance.now();
      const woken = value(await store.watch(prefix, revision(0), context.within()));
      expect(texts(woken)).toEqual(["1"]);
      expect(ownMs(started)).toBeLessThan(WAKE_UP_MAX_MS);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "several watchers of one prefix are all woken, also at several depths",
    async () => {
      const prefix = context.freshPrefix();
      const writer = context.client();
      value(await writer.put(`${prefix}deep/k`, "1", context.within()));
      const depths = [prefix, `${prefix}deep/`, `${prefix}deep/k`];
      const watching = await Promise.all(
        depths.map(async (depth) => {
          const client = context.client();
          const seen = await context.snapshot(client, depth);
          return { woken: client.watch(depth, seen.revision, context.within()) };
        }),
      );
      value(await writer.put(`${prefix}deep/k`, "2", context.within()));
      for (const { woken } of watching) expect(texts(value(await woken))).toEqual(["2"]);
    },
    CASE_TIMEOUT_MS,
  );
}

function endingCases(context: SuiteContext): void {
  test(
    "at its deadline a watch answers with the snapshot as it is; changes elsewhere and renewals do not end it",
    async () => {
      const store = context.client();
      const writer = context.client();
      const prefix = context.freshPrefix();
      const elsewhere = context.freshPrefix();
      const session = await context.openSession(writer);
      value(await store.put(`${prefix}k`, "1", context.within()));
      const seen = await context.snapshot(store, prefix);
      const deadline = ms(context.clock.now() + 1_500);
      const watching = store.watch(prefix, seen.revision, { deadline });
      value(await writer.put(`${elsewhere}k`, "x", context.within()));
      value(await writer.renewSession(session.id, context.within()));
      value(await writer.closeSession(session.id, context.within()));
      const answer = value(await watching);
      const [waited, seenAt] = [context.clock.now() - deadline, performance.now()];
      expect(texts(answer)).toEqual(["1"]);
      expect(waited).toBeGreaterThan(-300);
      expect(waited - stalledMs(seenAt - Math.max(0, waited), seenAt)).toBeLessThan(500);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a signal ends a watch at once with unavailable, also when it was given before",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      value(await store.put(`${prefix}k`, "1", context.within()));
      const seen = await context.snapshot(store, prefix);
      const controller = new AbortController();
      const watching = store.watch(prefix, seen.revision, { ...context.within(), signal: controller.signal });
      await context.pause(50);
      const abortedAt = performance.now();
      controller.abort();
      expectError(await watching, "unavailable");
      expect(ownMs(abortedAt)).toBeLessThan(500);
      expectError(await store.watch(prefix, seen.revision, { ...context.within(), signal: controller.signal }), "unavailable");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a closed client ends its watches, and sessions stay",
    async () => {
      const closing = context.client();
      const store = context.client();
      const prefix = context.freshPrefix();
      const session = await context.openSession(closing);
      value(await closing.put(`${prefix}k`, "1", { ...context.within(), session: session.id }));
      const seen = await context.snapshot(closing, prefix);
      const watching = closing.watch(prefix, seen.revision, context.within());
      await context.pause(50);
      await closing.close();
      expectError(await watching, "unavailable");
      expect((await context.read(store, `${prefix}k`))?.session).toBe(session.id);
      value(await store.closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );
}

function texts(snapshot: { readonly entries: readonly { readonly value: string }[] }): readonly string[] {
  return snapshot.entries.map((entry) => entry.value);
}
