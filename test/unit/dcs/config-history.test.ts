// The record of configuration changes stands or falls with the change itself, and does not grow for ever.

import { expect, test } from "bun:test";
import { type ConfigChange, readConfigHistory, writeRecordedConfig } from "../../../lib/dcs/config-history.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { ManualClock } from "./manual-clock.ts";

const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
const deadline = ms(1_000_000);

function opened(): { readonly store: MemoryStore; readonly cluster: MemoryCluster } {
  const clock = new ManualClock();
  const cluster = new MemoryCluster({ clock });
  return { store: new MemoryStore({ cluster, clock }), cluster };
}

const change = (before: ConfigChange["before"], after: ConfigChange["after"]): ConfigChange => ({
  time: "2026-11-22T09:00:00.000Z",
  by: "ann@host",
  before,
  after,
});

async function historyOf(store: MemoryStore) {
  const read = await readConfigHistory(store, keys, { deadline });
  if (!read.ok) throw new Error(read.error.kind);
  return read.value;
}

async function firstConfig(store: MemoryStore, text: string) {
  const written = await store.put(keys.config, text, { deadline });
  if (!written.ok) throw new Error(written.error.kind);
  return written.value;
}

test("a change and its record are written together, beside the keys that nodes watch", async () => {
  const { store, cluster } = opened();
  const expected = await firstConfig(store, '{"ttl": 30}');
  const history = await historyOf(store);
  expect(history).toEqual({ changes: [], revision: null });
  const made = change({ ttl: 30 }, { ttl: 20 });
  expect((await writeRecordedConfig(store, keys, { expected, history, change: made, deadline })).ok).toBe(true);
  expect(JSON.parse(cluster.get(keys.config)?.value ?? "")).toEqual({ ttl: 20 });
  expect((await historyOf(store)).changes).toEqual([made]);
  expect(keys.configHistory.startsWith(keys.prefix)).toBe(false);
});

test("where the configuration was changed meanwhile, neither is written; nor where the record was", async () => {
  const { store, cluster } = opened();
  const expected = await firstConfig(store, '{"ttl": 30}');
  const history = await historyOf(store);
  const late = { expected: revision(expected + 100), history, change: change({ ttl: 30 }, { ttl: 20 }), deadline };
  expect(await writeRecordedConfig(store, keys, late)).toMatchObject({ ok: false, error: { kind: "condition-failed" } });
  expect(cluster.get(keys.configHistory)).toBeNull();
  await store.put(keys.configHistory, "[]", { deadline });
  const racing = { expected, history, change: change({ ttl: 30 }, { ttl: 20 }), deadline };
  expect(await writeRecordedConfig(store, keys, racing)).toMatchObject({ ok: false, error: { kind: "condition-failed" } });
  expect(cluster.get(keys.config)?.value).toBe('{"ttl": 30}');
});

test("the oldest changes are forgotten: by number, and by size", async () => {
  const { store } = opened();
  let expected = await firstConfig(store, "{}");
  for (let round = 0; round < 60; round++) {
    const history = await historyOf(store);
    expect(
      (await writeRecordedConfig(store, keys, { expected, history, change: change({ round }, { round: round + 1 }), deadline })).ok,
    ).toBe(true);
    const read = await store.snapshot(keys.config, { deadline });
    if (read.ok) expected = read.value.entries.find(({ key }) => key === keys.config)?.revision ?? expected;
  }
  const { changes } = await historyOf(store);
  expect(changes).toHaveLength(50);
  expect(changes.at(-1)?.after).toEqual({ round: 60 });
  const large = { text: "x".repeat(60 * 1024) };
  const history = await historyOf(store);
  expect((await writeRecordedConfig(store, keys, { expected, history, change: change(large, large), deadline })).ok).toBe(true);
  expect((await historyOf(store)).changes.length).toBeGreaterThan(1);
  const more = await historyOf(store);
  const read = await store.snapshot(keys.config, { deadline });
  if (read.ok) expected = read.value.entries.find(({ key }) => key === keys.config)?.revision ?? expected;
  expect((await writeRecordedConfig(store, keys, { expected, history: more, change: change(large, large), deadline })).ok).toBe(true);
  expect((await historyOf(store)).changes).toHaveLength(1);
});

test("a record that cannot be read counts as empty, and is replaced", async () => {
  const { store } = opened();
  await store.put(keys.configHistory, "nonsense", { deadline });
  const history = await historyOf(store);
  expect(history.changes).toEqual([]);
  expect(history.revision).not.toBeNull();
});
