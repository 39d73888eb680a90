// Owns the cases on sessions: owned keys, renewal, end by hand and by TTL. The expiry case prints what it measured.

import { expect, test } from "bun:test";
import { ms } from "../../lib/model/units.ts";
import { CASE_TIMEOUT_MS, EXPIRY_CASE_TIMEOUT_MS, EXPIRY_SLACK_MS, expectError, type SuiteContext, value } from "./suite-context.ts";

const UNKNOWN_SESSION = "5f2c7a52-0000-4000-8000-000000000000";
/** A store may forbid a lock for a moment after its session ended (Consul's lock-delay, 1 ms as we set it). */
const LOCK_DELAY_MAX_MS = 1_000;

export function sessionCases(context: SuiteContext): void {
  ownershipCases(context);
  lifeCases(context);
  limitCases(context);
  expiryCases(context);
}

function ownershipCases(context: SuiteContext): void {
  test(
    "a key under a session shows its owner, and another session cannot take it",
    async () => {
      const [a, b] = [context.client(), context.client()];
      const key = `${context.freshPrefix()}leader`;
      const [mine, theirs] = [await context.openSession(a), await context.openSession(b)];
      expect(mine.id).not.toBe(theirs.id);
      const first = value(await a.put(key, "a", { ...context.within(), session: mine.id }));
      expectError(await b.put(key, "b", { ...context.within(), session: theirs.id }), "condition-failed");
      expect(await context.read(b, key)).toEqual({ key, value: "a", revision: first, session: mine.id });
      const second = value(await a.put(key, "a again", { ...context.within(), session: mine.id }));
      expect(second).toBeGreaterThan(first);
      expect(await context.read(b, key)).toMatchObject({ value: "a again", session: mine.id });
      for (const session of [mine, theirs]) value(await a.closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a plain put on an owned key changes the value and keeps the owner; a plain delete takes the key away",
    async () => {
      const [a, b] = [context.client(), context.client()];
      const key = `${context.freshPrefix()}k`;
      const mine = await context.openSession(a);
      value(await a.put(key, "a", { ...context.within(), session: mine.id }));
      value(await b.put(key, "b", context.within()));
      expect(await context.read(b, key)).toMatchObject({ value: "b", session: mine.id });
      value(await b.delete(key, context.within()));
      expect(await context.read(a, key)).toBeNull();
      expect(value(await a.sessionInfo(mine.id, context.within()))?.id).toBe(mine.id);
      value(await a.put(key, "back", { ...context.within(), session: mine.id }));
      value(await a.closeSession(mine.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a session takes over a key that nobody owns",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      value(await store.put(key, "plain", context.within()));
      const session = await context.openSession(store);
      value(await store.put(key, "owned", { ...context.within(), session: session.id }));
      expect(await context.read(store, key)).toMatchObject({ value: "owned", session: session.id });
      value(await store.closeSession(session.id, context.within()));
      expect(await context.read(store, key)).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a put under an unknown session is session-gone and changes nothing",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      expectError(await store.put(key, "x", { ...context.within(), session: UNKNOWN_SESSION }), "session-gone");
      expect(await context.read(store, key)).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );
}

function lifeCases(context: SuiteContext): void {
  test(
    "closing a session deletes its keys at once and no other key; then another session takes the lock",
    async () => {
      const [a, b] = [context.client(), context.client()];
      const prefix = context.freshPrefix();
      const [mine, theirs] = [await context.openSession(a), await context.openSession(b)];
      value(await a.put(`${prefix}leader`, "a", { ...context.within(), session: mine.id }));
      value(await a.put(`${prefix}member-a`, "a", { ...context.within(), session: mine.id }));
      value(await a.put(`${prefix}plain`, "a", context.within()));
      value(await b.put(`${prefix}member-b`, "b", { ...context.within(), session: theirs.id }));
      expect(value(await a.closeSession(mine.id, context.within()))).toBeNull();
      const left = (await context.snapshot(b, prefix)).entries.map((entry) => entry.key.slice(prefix.length));
      expect(left).toEqual(["member-b", "plain"]);
      expectError(await a.put(`${prefix}leader`, "a", { ...context.within(), session: mine.id }), "session-gone");
      expectError(await a.renewSession(mine.id, context.within()), "session-gone");
      expect(value(await a.sessionInfo(mine.id, context.within()))).toBeNull();
      expect(value(await a.closeSession(mine.id, context.within()))).toBeNull();
      const taking = () => b.put(`${prefix}leader`, "b", { ...context.within(), session: theirs.id });
      await context.until(LOCK_DELAY_MAX_MS, async () => (await taking()).ok);
      value(await b.closeSession(theirs.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a session can be seen and renewed by any client, and promises a positive time",
    async () => {
      const [a, b] = [context.client(), context.client()];
      const session = await context.openSession(a);
      expect(session.promisedMs).toBeGreaterThan(0);
      const seen = value(await b.sessionInfo(session.id, context.within()));
      expect(seen).toMatchObject({ id: session.id, promisedMs: session.promisedMs });
      const renewed = value(await b.renewSession(session.id, context.within()));
      expect(renewed).toMatchObject({ id: session.id, promisedMs: session.promisedMs });
      expectError(await a.renewSession(UNKNOWN_SESSION, context.within()), "session-gone");
      expect(value(await a.sessionInfo(UNKNOWN_SESSION, context.within()))).toBeNull();
      value(await b.closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );
}

function limitCases(context: SuiteContext): void {
  test(
    "the shortest ttl that the store names is granted as it is, and floors are no less than a second",
    async () => {
      const store = context.client();
      const limits = value(await store.limits(context.within()));
      expect(limits.loopWaitFloorMs).toBeGreaterThanOrEqual(1_000);
      expect(limits.retryTimeoutFloorMs).toBeGreaterThanOrEqual(1_000);
      const session = await context.openSession(store, limits.ttlFloorMs);
      expect(session.promisedMs).toBeLessThanOrEqual(limits.ttlFloorMs);
      value(await store.closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a client that is closed does not say what the store can keep",
    async () => {
      const store = context.client();
      await store.close();
      expectError(await store.limits(context.within()), "unavailable");
    },
    CASE_TIMEOUT_MS,
  );
}

function expiryCases(context: SuiteContext): void {
  test(
    "a session that nobody renews ends after its promise, with its keys and a wake-up; looking at it does not renew it; a renewed one lives on",
    async () => {
      const [a, b] = [context.client(), context.client()];
      const prefix = context.freshPrefix();
      const ttl = context.backend.minTtl;
      const dying = await context.openSession(a, ttl);
      const living = await context.openSession(b, ttl);
      value(await a.put(`${prefix}dying`, "x", { ...context.within(), session: dying.id }));
      value(await b.put(`${prefix}living`, "x", { ...context.within(), session: living.id }));
      await context.pause(dying.promisedMs / 2);
      const before = context.clock.now();
      value(await a.renewSession(dying.id, context.within()));
      const after = context.clock.now();

      const stop = new AbortController();
      const renewing = renewUntil(context, living.id, ms(living.promisedMs / 3), stop.signal);
      const latest = ms(after + 2 * Math.max(ttl, dying.promisedMs) + EXPIRY_SLACK_MS);
      const seenEarly: boolean[] = [];
      while (context.clock.now() < before + dying.promisedMs - 50) {
        const alive = (await context.read(b, `${prefix}dying`)) !== null;
        // Counts only where the answer came before the promise ended.
        if (context.clock.now() < before + dying.promisedMs) seenEarly.push(alive);
        value(await b.sessionInfo(dying.id, context.within()));
        await context.pause(Math.min(100, dying.promisedMs / 10));
      }
      expect(seenEarly.every((alive) => alive)).toBe(true);
      expect(seenEarly.length).toBeGreaterThan(0);

      const goneAt = await watchUntilGone(context, prefix, `${prefix}dying`, latest);
      stop.abort();
      await renewing;
      console.log(
        `  session ttl ${ttl} ms, promised ${dying.promisedMs} ms: ended ${(goneAt - after).toFixed(0)}–${(goneAt - before).toFixed(0)} ms after the last renewal`,
      );
      expect(goneAt - before).toBeGreaterThanOrEqual(dying.promisedMs);
      expectError(await a.renewSession(dying.id, context.within()), "session-gone");
      expectError(await a.put(`${prefix}dying`, "back", { ...context.within(), session: dying.id }), "session-gone");
      expect(await context.read(a, `${prefix}living`)).not.toBeNull();
      value(await b.closeSession(living.id, context.within()));
    },
    EXPIRY_CASE_TIMEOUT_MS,
  );
}

async function renewUntil(context: SuiteContext, session: string, everyMs: number, signal: AbortSignal): Promise<void> {
  const store = context.client();
  while (!signal.aborted) {
    value(await store.renewSession(session, context.within()));
    await context.clock.sleepUntil(ms(context.clock.now() + everyMs), signal);
  }
}

/** Follows the prefix by watches until the key is gone; returns when that was seen. Fails at `latest`. */
async function watchUntilGone(context: SuiteContext, prefix: string, key: string, latest: number): Promise<number> {
  const store = context.client();
  let snapshot = await context.snapshot(store, prefix);
  while (snapshot.entries.some((entry) => entry.key === key)) {
    if (context.clock.now() > latest) throw new Error("the session did not end");
    snapshot = value(await store.watch(prefix, snapshot.revision, { deadline: ms(latest) }));
  }
  return context.clock.now();
}
