// Owns the cases on transactions: all changes or none, whatever fails.

import { expect, test } from "bun:test";
import type { Change } from "../../lib/dcs/store.ts";
import { CASE_TIMEOUT_MS, expectError, type SuiteContext, value } from "./suite-context.ts";

const UNKNOWN_SESSION = "5f2c7a52-0000-4000-8000-000000000000";
const CHANGES_MAX = 32;

export function transactionCases(context: SuiteContext): void {
  test(
    "a transaction applies all its changes and returns a revision for each, in order",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const session = await context.openSession(store);
      value(await store.put(`${prefix}old`, "x", context.within()));
      value(await store.put(`${prefix}lock`, "me", { ...context.within(), session: session.id }));
      const changes: Change[] = [
        { kind: "check-owner", key: `${prefix}lock`, session: session.id },
        { kind: "put", key: `${prefix}a`, value: "1" },
        { kind: "delete", key: `${prefix}old` },
        { kind: "put", key: `${prefix}b`, value: "2", session: session.id },
        { kind: "put", key: `${prefix}c`, value: "", condition: { kind: "absent" } },
      ];
      const revisions = value(await store.transaction(changes, context.within()));
      expect(revisions).toHaveLength(5);
      expect(Number(revisions[0])).toBe(0);
      expect(Number(revisions[2])).toBe(0);
      const entries = new Map((await context.snapshot(store, prefix)).entries.map((entry) => [entry.key.slice(prefix.length), entry]));
      expect([...entries.keys()]).toEqual(["a", "b", "c", "lock"]);
      expect(entries.get("a")?.revision).toBe(revisions[1] as never);
      expect(entries.get("b")?.revision).toBe(revisions[3] as never);
      expect(entries.get("b")?.session).toBe(session.id);
      expect(entries.get("c")?.revision).toBe(revisions[4] as never);
      value(await store.closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "where one change fails, none is applied",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const mine = await context.openSession(store);
      const other = await context.openSession(context.client());
      const there = value(await store.put(`${prefix}there`, "old", context.within()));
      value(await store.put(`${prefix}foreign`, "theirs", { ...context.within(), session: other.id }));
      const stale = { kind: "revision", revision: (there - 1) as typeof there } as const;
      const failing: readonly Change[] = [
        { kind: "put", key: `${prefix}there`, value: "new", condition: { kind: "absent" } },
        { kind: "put", key: `${prefix}there`, value: "new", condition: stale },
        { kind: "put", key: `${prefix}missing`, value: "new", condition: stale },
        { kind: "put", key: `${prefix}foreign`, value: "new", session: mine.id },
        { kind: "delete", key: `${prefix}there`, condition: stale },
        { kind: "delete", key: `${prefix}missing`, condition: stale },
        { kind: "check-owner", key: `${prefix}foreign`, session: mine.id },
        { kind: "check-owner", key: `${prefix}there`, session: mine.id },
        { kind: "check-owner", key: `${prefix}missing`, session: mine.id },
      ];
      const before = await context.snapshot(store, prefix);
      for (const change of failing) {
        const around: Change[] = [
          { kind: "put", key: `${prefix}first`, value: "1" },
          { kind: "delete", key: `${prefix}there`, condition: { kind: "revision", revision: there } },
          { kind: "put", key: `${prefix}there`, value: "again", condition: { kind: "absent" } },
        ];
        expectError(await store.transaction([change, ...around], context.within()), "condition-failed");
        expectError(await store.transaction([around[0] as Change, change], context.within()), "condition-failed");
      }
      expect((await context.snapshot(store, prefix)).entries).toEqual(before.entries);
      value(await store.closeSession(mine.id, context.within()));
      value(await store.closeSession(other.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a put under an unknown session fails the whole transaction with session-gone",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const changes: Change[] = [
        { kind: "put", key: `${prefix}plain`, value: "1" },
        { kind: "put", key: `${prefix}owned`, value: "1", session: UNKNOWN_SESSION },
      ];
      expectError(await store.transaction(changes, context.within()), "session-gone");
      expect((await context.snapshot(store, prefix)).entries).toEqual([]);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a condition and an owner hold together in one put",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      const mine = await context.openSession(store);
      const absent = { kind: "absent" } as const;
      const first = value(await store.put(key, "1", { ...context.within(), condition: absent, session: mine.id }));
      expectError(await store.put(key, "2", { ...context.within(), condition: absent, session: mine.id }), "condition-failed");
      const condition = { kind: "revision", revision: first } as const;
      value(await store.put(key, "3", { ...context.within(), condition, session: mine.id }));
      expectError(await store.put(key, "4", { ...context.within(), condition, session: mine.id }), "condition-failed");
      expect(await context.read(store, key)).toMatchObject({ value: "3", session: mine.id });
      value(await store.closeSession(mine.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "of two transactions that claim one lock exactly one is applied",
    async () => {
      const prefix = context.freshPrefix();
      const clients = [context.client(), context.client()];
      const sessions = await Promise.all(clients.map((client) => context.openSession(client)));
      const results = await Promise.all(
        clients.map((client, index) =>
          client.transaction(
            [
              { kind: "put", key: `${prefix}leader`, value: `node${index}`, session: (sessions[index] as { id: string }).id },
              { kind: "put", key: `${prefix}won-${index}`, value: "yes" },
            ],
            context.within(),
          ),
        ),
      );
      const winner = results.findIndex((result) => result.ok);
      expect(results.filter((result) => result.ok)).toHaveLength(1);
      for (const result of results) if (!result.ok) expect(result.error.kind).toBe("condition-failed");
      const keys = (await context.snapshot(clients[0] as (typeof clients)[0], prefix)).entries.map((entry) =>
        entry.key.slice(prefix.length),
      );
      expect(keys).toEqual(["leader", `won-${winner}`]);
      for (const session of sessions) value(await (clients[0] as (typeof clients)[0]).closeSession(session.id, context.within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "32 changes are applied, 33 are rejected",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const puts = (count: number): Change[] =>
        Array.from({ length: count }, (_, index) => ({ kind: "put", key: `${prefix}${index}`, value: "v", condition: { kind: "absent" } }));
      expectError(await store.transaction(puts(CHANGES_MAX + 1), context.within()), "rejected");
      expect((await context.snapshot(store, prefix)).entries).toHaveLength(0);
      expect(value(await store.transaction(puts(CHANGES_MAX), context.within()))).toHaveLength(CHANGES_MAX);
      expect((await context.snapshot(store, prefix)).entries).toHaveLength(CHANGES_MAX);
      expect(value(await store.transaction([], context.within()))).toEqual([]);
    },
    CASE_TIMEOUT_MS,
  );
}
