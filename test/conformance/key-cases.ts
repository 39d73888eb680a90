// Owns the cases on single keys: snapshots, conditions, deletion, odd characters, sizes, deadlines.

import { expect, test } from "bun:test";
import { ms } from "../../lib/model/units.ts";
import { CASE_TIMEOUT_MS, expectError, type SuiteContext, value } from "./suite-context.ts";

const KIB = 1024;

export function keyCases(context: SuiteContext): void {
  snapshotCases(context);
  conditionCases(context);
  deletionCases(context);
  textCases(context);
}

function snapshotCases(context: SuiteContext): void {
  test(
    "a prefix without keys is an empty snapshot, not an error",
    async () => {
      const snapshot = await context.snapshot(context.client(), context.freshPrefix());
      expect(snapshot.entries).toEqual([]);
      expect(snapshot.revision).toBeGreaterThanOrEqual(0);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a snapshot holds every key that starts with the prefix, sorted, and no other",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const outside = context.freshPrefix();
      for (const key of ["b", "a/2", "a", "a/10", "c"]) value(await store.put(prefix + key, `value of ${key}`, context.within()));
      value(await store.put(`${outside}a`, "outside", context.within()));
      const snapshot = await context.snapshot(store, prefix);
      expect(snapshot.entries.map((entry) => entry.key.slice(prefix.length))).toEqual(["a", "a/10", "a/2", "b", "c"]);
      expect(snapshot.entries.map((entry) => entry.value)[2]).toBe("value of a/2");
      expect(snapshot.entries.every((entry) => entry.session === null)).toBe(true);
      const below = await context.snapshot(store, `${prefix}a`);
      expect(below.entries).toHaveLength(3);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "revisions grow with each change, and a snapshot's revision covers its entries",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const first = value(await store.put(`${prefix}k`, "1", context.within()));
      const other = value(await store.put(`${prefix}other`, "1", context.within()));
      const second = value(await store.put(`${prefix}k`, "2", context.within()));
      expect(first).toBeGreaterThan(0);
      expect(other).toBeGreaterThan(first);
      expect(second).toBeGreaterThan(other);
      const snapshot = await context.snapshot(store, prefix);
      expect(snapshot.entries.map((entry) => Number(entry.revision))).toEqual([second, other]);
      expect(snapshot.revision).toBeGreaterThanOrEqual(second);
      value(await store.delete(`${prefix}other`, context.within()));
      expect((await context.snapshot(store, prefix)).revision).toBeGreaterThan(snapshot.revision);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "what one client wrote, another reads, with every consistency asked for",
    async () => {
      const prefix = context.freshPrefix();
      value(await context.client().put(`${prefix}k`, "shared", context.within()));
      const reader = context.client();
      for (const consistency of ["consistent", "default", "stale"] as const) {
        const snapshot = value(await reader.snapshot(prefix, { ...context.within(), consistency }));
        if (consistency !== "stale") expect(snapshot.entries[0]?.value).toBe("shared");
      }
    },
    CASE_TIMEOUT_MS,
  );
}

function conditionCases(context: SuiteContext): void {
  test(
    "a put on condition absent succeeds once",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      value(await store.put(key, "first", { ...context.within(), condition: { kind: "absent" } }));
      expectError(await store.put(key, "second", { ...context.within(), condition: { kind: "absent" } }), "condition-failed");
      expect((await context.read(store, key))?.value).toBe("first");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a put on a revision succeeds only on that revision, and returns the next one",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      const first = value(await store.put(key, "1", context.within()));
      const second = value(await store.put(key, "2", { ...context.within(), condition: { kind: "revision", revision: first } }));
      expectError(await store.put(key, "3", { ...context.within(), condition: { kind: "revision", revision: first } }), "condition-failed");
      expect((await context.read(store, key))?.value).toBe("2");
      value(await store.put(key, "4", { ...context.within(), condition: { kind: "revision", revision: second } }));
      const absent = await store.put(`${key}2`, "5", { ...context.within(), condition: { kind: "revision", revision: second } });
      expectError(absent, "condition-failed");
      expect(await context.read(store, `${key}2`)).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "of many clients that create one key at the same time exactly one wins",
    async () => {
      const key = `${context.freshPrefix()}k`;
      const clients = Array.from({ length: 5 }, () => context.client());
      const results = await Promise.all(
        clients.map((client, index) => client.put(key, `client ${index}`, { ...context.within(), condition: { kind: "absent" } })),
      );
      const winners = results.flatMap((result, index) => (result.ok ? [index] : []));
      expect(winners).toHaveLength(1);
      for (const result of results) if (!result.ok) expect(result.error.kind).toBe("condition-failed");
      expect((await context.read(context.client(), key))?.value).toBe(`client ${winners[0]}`);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "of two clients that compare-and-set one revision exactly one wins",
    async () => {
      const key = `${context.freshPrefix()}k`;
      const [a, b] = [context.client(), context.client()];
      let revision = value(await a.put(key, "0", context.within()));
      for (let round = 1; round <= 5; round++) {
        const condition = { kind: "revision", revision } as const;
        const results = await Promise.all([a, b].map((client, i) => client.put(key, `${round}-${i}`, { ...context.within(), condition })));
        expect(results.filter((result) => result.ok)).toHaveLength(1);
        for (const result of results) if (result.ok) revision = result.value;
      }
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a request whose deadline has passed is unavailable and changes nothing",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      const late = { deadline: ms(context.clock.now() - 1) };
      expectError(await store.put(key, "late", late), "unavailable");
      expectError(await store.delete(key, late), "unavailable");
      expectError(await store.snapshot(key, late), "unavailable");
      expectError(await store.transaction([{ kind: "put", key, value: "late" }], late), "unavailable");
      expectError(await store.openSession({ ...late, name: "late", ttl: context.backend.minTtl }), "unavailable");
      expect(await context.read(store, key)).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );
}

function deletionCases(context: SuiteContext): void {
  test(
    "a deleted key is gone, and deleting it again counts as done",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      value(await store.put(key, "1", context.within()));
      expect(value(await store.delete(key, context.within()))).toBeNull();
      expect(await context.read(store, key)).toBeNull();
      expect(value(await store.delete(key, context.within()))).toBeNull();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a delete on a revision fails on another revision and on an absent key",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      const first = value(await store.put(key, "1", context.within()));
      const second = value(await store.put(key, "2", context.within()));
      expectError(await store.delete(key, { ...context.within(), condition: { kind: "revision", revision: first } }), "condition-failed");
      expect((await context.read(store, key))?.value).toBe("2");
      value(await store.delete(key, { ...context.within(), condition: { kind: "revision", revision: second } }));
      expectError(await store.delete(key, { ...context.within(), condition: { kind: "revision", revision: second } }), "condition-failed");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a recursive delete takes everything below the prefix and nothing beside it",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      for (const key of ["tree/a", "tree/b/c", "trees", "other"]) value(await store.put(prefix + key, key, context.within()));
      value(await store.delete(`${prefix}tree/`, { ...context.within(), recursive: true }));
      const left = (await context.snapshot(store, prefix)).entries.map((entry) => entry.value);
      expect(left).toEqual(["other", "trees"]);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a plain delete keeps the keys whose names begin with the deleted one",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      for (const key of ["k", "k/below", "k2"]) value(await store.put(prefix + key, key, context.within()));
      value(await store.delete(`${prefix}k`, context.within()));
      expect((await context.snapshot(store, prefix)).entries.map((entry) => entry.value)).toEqual(["k/below", "k2"]);
    },
    CASE_TIMEOUT_MS,
  );
}

function textCases(context: SuiteContext): void {
  test(
    "keys and values with spaces, slashes, reserved and non-ASCII characters survive",
    async () => {
      const store = context.client();
      const prefix = context.freshPrefix();
      const keys = ["with space", "per%cent%2F", "quest?ion=1&x", "ha#sh", "pl+us", "grün/日本/🐘", "quo\"te'", "semi;colon:at@"];
      const texts = ["", " ", "line\nbreak\ttab", "日本語 🐘 ß", '{"json":"\\"quoted\\""}', "\u0001", "%41+%2F", "true", "null"];
      for (const key of keys) value(await store.put(prefix + key, `of ${key}`, context.within()));
      for (const [index, text] of texts.entries()) value(await store.put(`${prefix}text-${index}`, text, context.within()));
      const found = new Map((await context.snapshot(store, prefix)).entries.map((entry) => [entry.key, entry.value]));
      for (const key of keys) expect(found.get(prefix + key)).toBe(`of ${key}`);
      for (const [index, text] of texts.entries()) expect(found.get(`${prefix}text-${index}`)).toBe(text);
      value(await store.delete(prefix + (keys[1] as string), context.within()));
      expect((await context.snapshot(store, prefix)).entries).toHaveLength(keys.length + texts.length - 1);
      const change = { kind: "put", key: prefix + (keys[5] as string), value: "日本" } as const;
      value(await store.transaction([change], context.within()));
      expect((await context.read(store, change.key))?.value).toBe("日本");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a value of 500 KiB survives, one of 2 MiB is rejected and changes nothing",
    async () => {
      const store = context.client();
      const key = `${context.freshPrefix()}k`;
      const big = "0123456789abcdef".repeat((500 * KIB) / 16);
      value(await store.put(key, big, context.within()));
      expect((await context.read(store, key))?.value === big).toBe(true);
      expectError(await store.put(key, "x".repeat(2048 * KIB), context.within()), "rejected");
      expect((await context.read(store, key))?.value.length).toBe(big.length);
    },
    CASE_TIMEOUT_MS,
  );
}
