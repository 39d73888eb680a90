// A cluster's state as a document, and the seals of a move, on the memory store: what is kept, what is refused, and that a node which
// comes in between loses nothing and decides nothing.

import { describe, expect, test } from "bun:test";
import { decodeExport, encodeExport, exportOf, pausedExport, readWhole, writeExport } from "../../../lib/dcs/cluster-export.ts";
import {
  breakSeal,
  isSealed,
  readSeal,
  SEALED_IDENTIFIER,
  SEALING_HOLDER,
  type SealRecord,
  sealPlace,
  unsealed,
} from "../../../lib/dcs/cluster-seal.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { Result } from "../../../lib/model/result.ts";
import { ms, seconds } from "../../../lib/model/units.ts";
import { ManualClock } from "./manual-clock.ts";

const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
const at = { deadline: ms(1_000_000) };
const words = { scope: "demo", namespace: "service", group: null, now: 0 };
const ttl = seconds(30);
const config = '{"ttl":30,"pause":true}';
const record: SealRecord = {
  state: "left",
  systemIdentifier: "7710000000000000001",
  other: "raft",
  at: "2026-01-01T00:00:00.000Z",
  by: "ann@host",
  leader: "a",
  members: { a: "http://a:8008/patroni" },
};

interface Opened {
  readonly store: MemoryStore;
  readonly cluster: MemoryCluster;
  readonly clock: ManualClock;
}

function opened(): Opened {
  const clock = new ManualClock();
  const cluster = new MemoryCluster({ clock });
  return { store: new MemoryStore({ cluster, clock }), cluster, clock };
}

function good<T>(answer: Result<T, unknown>): T {
  if (answer.ok) return answer.value;
  throw new Error(JSON.stringify(answer.error));
}

async function filled(): Promise<Opened> {
  const place = opened();
  const { store } = place;
  const session = good(await store.openSession({ ...at, name: "a", ttl }));
  const plain = {
    initialize: record.systemIdentifier,
    config: '{"ttl":30,"pause":true}',
    history: '[[1,2,"no recovery target specified","2026","a"]]',
    sync: '{"leader":"a","sync_standby":"b"}',
    "1/config": '{"ttl":20}',
    "1.lease": "old",
    restore: "{}",
    upgrade: "{}",
    "1/restore": "{}",
    "1/members/w": "{}",
  };
  for (const [name, value] of Object.entries(plain)) good(await store.put(`${keys.prefix}${name}`, value, at));
  for (const [name, value] of Object.entries({ leader: "a", "members/a": "{}" }))
    good(await store.put(`${keys.prefix}${name}`, value, { ...at, session: session.id }));
  good(await store.put(keys.leaseMark, "mark", at));
  good(await store.put(keys.configHistory, "[]", at));
  return place;
}

const whole = async (store: MemoryStore) => good(await readWhole(store, keys, at));
const exported = async (store: MemoryStore) => exportOf(await whole(store), keys, words);
const end = async ({ store, cluster }: Opened) => {
  const session = cluster.get(keys.leader)?.session ?? "";
  good(await store.closeSession(session, at));
};

describe("an export", () => {
  test("has every key but those of a restore and an upgrade, and what lives with a session, and is read back as it was", async () => {
    const document = await exported((await filled()).store);
    expect(Object.keys(document.keys).sort()).toEqual(["1/config", "config", "history", "initialize", "sync"]);
    expect(document.beside).toEqual({ ".config_history": "[]" });
    expect(good(decodeExport(encodeExport(document)))).toEqual(document);
    expect(decodeExport('{"format":"something else"}').ok).toBe(false);
    expect(decodeExport("not JSON").ok).toBe(false);
  });

  test("is written into an empty store as it is, and in place of another state without what that had more", async () => {
    const document = await exported((await filled()).store);
    const { store, cluster } = opened();
    good(await writeExport(store, keys, { document, present: await whole(store), also: [], ...at }));
    expect(await exported(store)).toEqual(document);
    good(await store.put(`${keys.prefix}failover`, "{}", at));
    good(await writeExport(store, keys, { document, present: await whole(store), also: [], ...at }));
    expect(cluster.get(`${keys.prefix}failover`)).toBeNull();
    expect(await exported(store)).toEqual(document);
  });

  test("is not written over a cluster that was founded since it was looked at", async () => {
    const document = await exported((await filled()).store);
    const { store, cluster } = opened();
    const present = await whole(store);
    good(await store.put(keys.initialize, "another", at));
    expect(await writeExport(store, keys, { document, present, also: [], ...at })).toEqual({
      ok: false,
      error: { kind: "condition-failed" },
    });
    expect(cluster.get(keys.initialize)?.value).toBe("another");
  });

  test("can be put in pause, where it has a configuration", async () => {
    const document = await exported((await filled()).store);
    expect(good(pausedExport(document, false)).keys["config"]).toBe('{"ttl":30}');
    expect(good(pausedExport(good(pausedExport(document, false)), true)).keys["config"]).toBe('{"ttl":30,"pause":true}');
    expect(pausedExport({ ...document, keys: {} }, true).ok).toBe(false);
  });
});

describe("a seal", () => {
  const seal = async (store: MemoryStore) =>
    sealPlace(store, keys, { present: await whole(store), record, expected: null, config, ttl, ...at });

  test("is refused while somebody holds the lock, or takes it in between, or has changed what was read", async () => {
    const place = await filled();
    const failed = { ok: false, error: { kind: "condition-failed" } } as const;
    expect(await seal(place.store)).toEqual(failed);
    await end(place);
    const present = await whole(place.store);
    const late = good(await place.store.openSession({ ...at, name: "b", ttl }));
    good(await place.store.put(keys.leader, "b", { ...at, session: late.id }));
    expect(await sealPlace(place.store, keys, { present, record, expected: null, config, ttl, ...at })).toEqual(failed);
    good(await place.store.closeSession(late.id, at));
    good(await place.store.put(keys.config, '{"ttl":20}', at));
    expect(await sealPlace(place.store, keys, { present, record, expected: null, config, ttl, ...at })).toEqual(failed);
    expect(isSealed(await whole(place.store), keys)).toBe(false);
    good(await seal(place.store));
  });

  test("ends a node that reads it, outside of a pause, and lets nobody have the lock for as long as one goes on with what it had read", async () => {
    const place = await filled();
    await end(place);
    good(await seal(place.store));
    expect(place.cluster.get(keys.initialize)?.value).toBe(SEALED_IDENTIFIER);
    expect(place.cluster.get(keys.config)?.value).toBe('{"ttl":30}');
    expect(place.cluster.get(keys.leader)?.value).toBe(SEALING_HOLDER);
    const late = good(await place.store.openSession({ ...at, name: "b", ttl }));
    expect((await place.store.put(keys.leader, "b", { ...at, session: late.id })).ok).toBe(false);
    place.clock.advance(ms(ttl - 1));
    expect(place.cluster.get(keys.leader)?.value).toBe(SEALING_HOLDER);
  });

  test("is broken with the state of the cluster that left, in pause and under its own identifier, and only once", async () => {
    const old = await filled();
    await end(old);
    good(await seal(old.store));
    const left = good(await readSeal(old.store, keys, at));
    if (left === null) throw new Error("there is a seal");
    const document = good(unsealed(await exported(old.store), left));

    const { store, cluster } = opened();
    good(
      await sealPlace(store, keys, {
        present: await whole(store),
        record: { ...record, state: "reserved" },
        expected: null,
        config,
        ttl,
        ...at,
      }),
    );
    // Without one a node would go by what it knew last, which is the pause.
    expect(cluster.get(keys.config)?.value).toBe('{"ttl":30}');
    good(await store.put(keys.leaseMark, "of whoever led here once", at));
    const reserved = good(await readSeal(store, keys, at));
    if (reserved === null) throw new Error("there is a seal");
    const present = await whole(store);
    good(await breakSeal(store, keys, { document, present, seal: reserved, ...at }));
    expect(cluster.get(keys.initialize)?.value).toBe(record.systemIdentifier);
    expect(cluster.get(keys.config)?.value).toBe('{"ttl":30,"pause":true}');
    expect([keys.leader, keys.moved, keys.leaseMark].map((key) => cluster.get(key))).toEqual([null, null, null]);
    expect((await breakSeal(store, keys, { document, present, seal: reserved, ...at })).ok).toBe(false);
    expect((await breakSeal(store, keys, { document, present: await whole(store), seal: reserved, ...at })).ok).toBe(false);
  });
});
