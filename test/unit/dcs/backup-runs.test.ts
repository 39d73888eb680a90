// The two keys of the scheduled backups in a store: written as read, claimed once, and what cannot be read.

import { expect, test } from "bun:test";
import { BackupBoard, decodeBackup, decodeBackupClaim } from "../../../lib/dcs/backup-runs.ts";
import { clusterKeys } from "../../../lib/dcs/keys.ts";
import { MemoryCluster } from "../../../lib/dcs/memory.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import type { BackupRecord } from "../../../lib/model/backup-run.ts";
import { ms, revision, seconds } from "../../../lib/model/units.ts";
import { ManualClock } from "./manual-clock.ts";

const KEYS = clusterKeys({ namespace: "service", scope: "demo", group: null });
const SOON = { deadline: ms(1000) };

function bench() {
  const clock = new ManualClock();
  const store = new MemoryStore({ cluster: new MemoryCluster({ clock }), clock });
  return { store, board: new BackupBoard({ store, keys: KEYS }) };
}

async function stored(store: MemoryStore, key: string) {
  const read = await store.snapshot(KEYS.prefix, SOON);
  return read.ok ? (read.value.entries.find((entry) => entry.key === key) ?? null) : null;
}

const STATE = {
  covered: 1000,
  done: { node: "b", at: 5, seconds: 3, label: null },
  failed: { node: "c", at: 6, attempt: 2, message: "why" },
};
const RUN = { id: "r1", type: "full", node: "b", beganAt: 7, attempt: 1 } as const;

test("the record is read as it was written; over another revision nothing is written", async () => {
  const { board, store } = bench();
  const written = await board.write(null, { types: { full: STATE }, run: null }, { ...SOON, claim: "keep" });
  expect(written.ok).toBe(true);
  const entry = await stored(store, KEYS.backup);
  expect(entry === null ? null : decodeBackup(entry)).toEqual({
    value: { revision: written.ok ? written.value : revision(0), types: { full: STATE }, run: null },
    faults: [],
  });
  for (const expected of [null, revision(999)])
    expect((await board.write(expected, { types: {}, run: null }, { ...SOON, claim: "keep" })).ok).toBe(false);
});

test("of two nodes one claims; the claim goes with its session, and with the end of the run", async () => {
  const { board, store } = bench();
  const sessions = await Promise.all(["b", "c"].map((name) => store.openSession({ ...SOON, name, ttl: seconds(30) })));
  const [b, c] = sessions.map((session) => (session.ok ? session.value.id : "")) as [string, string];
  const founded = await board.write(null, { types: { full: STATE }, run: null }, { ...SOON, claim: "keep" });
  const record: BackupRecord = { revision: founded.ok ? founded.value : revision(0), types: { full: STATE }, run: RUN };
  const first = await board.claim(record, RUN, { ...SOON, session: b });
  expect(first.ok).toBe(true);
  const second = await board.claim(record, { ...RUN, id: "r2", node: "c" }, { ...SOON, session: c });
  expect(second).toEqual({ ok: false, error: { kind: "condition-failed" } });
  // Also over the record as the first one left it: who claims must be alone.
  const now = first.ok ? first.value : revision(0);
  expect((await board.claim({ ...record, revision: now }, { ...RUN, id: "r2" }, { ...SOON, session: c })).ok).toBe(false);
  expect((await board.claim({ ...record, revision: now }, { ...RUN, id: "r4" }, { ...SOON, session: b })).ok).toBe(false);
  const claim = await stored(store, KEYS.backupRun);
  expect([claim?.session, claim === null ? null : decodeBackupClaim(claim).value]).toEqual([b, { id: "r1", node: "b" }]);
  await store.closeSession(b, SOON);
  expect(await stored(store, KEYS.backupRun)).toBeNull();
  expect((await board.claim({ ...record, revision: now }, { ...RUN, id: "r3" }, { ...SOON, session: c })).ok).toBe(true);
  const ended = (await stored(store, KEYS.backup))?.revision ?? null;
  expect((await board.write(ended, { types: { full: STATE }, run: null }, { ...SOON, claim: "end" })).ok).toBe(true);
  expect(await stored(store, KEYS.backupRun)).toBeNull();
});

test("a record that cannot be read is an empty one at its revision, and a claim that cannot be read is somebody's", () => {
  const entry = { key: "service/demo/backup", revision: revision(8), session: null };
  for (const value of ["", "[]", "{}", '{"types":{"full":{"covered":-1}}}']) {
    const { value: record, faults } = decodeBackup({ ...entry, value });
    expect([value, record, faults.length]).toEqual([value, { revision: revision(8), types: {}, run: null }, 1]);
  }
  expect(decodeBackupClaim({ ...entry, value: "?" })).toEqual({
    value: { id: "unreadable", node: "" },
    faults: ["service/demo/backup: it is no claim"],
  });
});
