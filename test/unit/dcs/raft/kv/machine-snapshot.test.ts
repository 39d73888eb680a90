// Owns the claims on snapshots of the machine: equal behaviour after a restore, and no half of a damaged one.

import { describe, expect, test } from "bun:test";
import { KEY_VALUE_BOUNDS } from "../../../../../lib/dcs/raft/kv/bounds.ts";
import { type CommandEntry, KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";
import { type DrivenClient, LogDriver } from "./log-driver.ts";

const BOUNDS = { ...KEY_VALUE_BOUNDS, historyMax: 20 };

/** A state with everything in it. */
function filled(): { readonly log: LogDriver; readonly clients: readonly DrivenClient[] } {
  const log = new LogDriver(new KeyValueMachine(BOUNDS));
  const clients = [log.client("a"), log.client("b")];
  const [a, b] = clients as [DrivenClient, DrivenClient];
  a.send({ kind: "open-session", id: "s1", name: "one", ttl: ms(1_000.5), place: "here" });
  b.send({ kind: "open-session", id: "s2", name: "two", ttl: ms(2_000), place: null });
  for (let each = 0; each < 30; each++) a.put(`k/${each}`, `value ${each} äöü`);
  b.send({ kind: "change", changes: [{ kind: "put", key: "lock", value: "b", session: "s2" }] });
  // Kept answers of each kind of success and failure.
  b.repeat(
    { kind: "change", changes: [{ kind: "put", key: "x", value: "1", condition: { kind: "revision", revision: revision(5) } }] },
    10,
  );
  b.repeat({ kind: "renew-session", id: "gone" }, 12);
  b.repeat({ kind: "renew-session", id: "s1" }, 11);
  b.repeat({ kind: "change", changes: [{ kind: "put", key: "", value: "" }] }, 14);
  b.repeat({ kind: "close-session", id: "gone" }, 13);
  b.put("after", "1");
  log.time += 10;
  a.send({ kind: "delete-prefix", prefix: "k/2" });
  return { log, clients };
}

describe("a snapshot", () => {
  test("restores to an equal digest and equal bytes", () => {
    const { log } = filled();
    const bytes = log.machine.snapshot();
    const restored = KeyValueMachine.restore(bytes, BOUNDS);
    if (!restored.ok) throw new Error(restored.error);
    expect(restored.value.digest()).toBe(log.machine.digest());
    expect(Buffer.compare(restored.value.snapshot(), bytes)).toBe(0);
    expect([restored.value.appliedIndex, restored.value.time, restored.value.nextExpiryAt]).toEqual([
      log.machine.appliedIndex,
      log.machine.time,
      log.machine.nextExpiryAt,
    ]);
  });

  test("does not remember in which order a session got its keys: its end is the same on every member", () => {
    const { log, clients } = filled();
    const [, b] = clients as [DrivenClient, DrivenClient];
    for (const key of ["z", "m", "a"]) b.send({ kind: "change", changes: [{ kind: "put", key, value: "1", session: "s2" }] });
    const restored = KeyValueMachine.restore(log.machine.snapshot(), BOUNDS);
    if (!restored.ok) throw new Error(restored.error);
    b.send({ kind: "close-session", id: "s2" });
    restored.value.apply(log.entries.at(-1) as CommandEntry);
    expect(Buffer.compare(restored.value.snapshot(), log.machine.snapshot())).toBe(0);
  });

  test("with another deadline of a session has another digest", () => {
    const { log } = filled();
    const bytes = Buffer.from(log.machine.snapshot());
    const deadline = Buffer.alloc(8);
    deadline.writeDoubleLE(log.machine.nextExpiryAt as number);
    const at = bytes.indexOf(deadline);
    expect(at).toBeGreaterThan(0);
    bytes.writeDoubleLE((log.machine.nextExpiryAt as number) + 1, at);
    const restored = KeyValueMachine.restore(bytes, BOUNDS);
    if (!restored.ok) throw new Error(restored.error);
    expect(restored.value.nextExpiryAt).toBe((log.machine.nextExpiryAt as number) + 1);
    expect(restored.value.digest()).not.toBe(log.machine.digest());
  });

  test("made in steps is of the state that the first one found, whatever is applied between the others", () => {
    const log = new LogDriver(new KeyValueMachine());
    const client = log.client("a");
    client.send({ kind: "open-session", id: "s1", name: "one", ttl: ms(1_000), place: null });
    for (let each = 0; each < 3000; each++) client.put(`k/${each % 1500}`, `value ${each}`);
    const before = log.machine.snapshot();
    const steps = log.machine.snapshotInSteps();
    let count = 1;
    let step = steps.next();
    for (; step.done !== true; step = steps.next()) {
      client.put(`k/${count}`, "later");
      client.put(`new/${count}`, "later");
      client.send({ kind: "delete-prefix", prefix: `k/1${count}` });
      log.client("another");
      log.time += 1;
      count++;
    }
    expect(count).toBeGreaterThan(3);
    expect(Buffer.compare(step.value, before)).toBe(0);
    expect(Buffer.compare(log.machine.snapshot(), before)).not.toBe(0);
  });

  test("of an empty machine restores", () => {
    const restored = KeyValueMachine.restore(new KeyValueMachine().snapshot());
    expect(restored.ok && restored.value.digest()).toBe(new KeyValueMachine().digest());
  });

  test("that lacks a part, or has more, is refused, and the machine stays as it was", () => {
    const { log } = filled();
    const bytes = log.machine.snapshot();
    const machine = new KeyValueMachine(BOUNDS);
    const before = machine.digest();
    for (let length = 0; length < bytes.length; length++) {
      expect(machine.restoreInto(bytes.subarray(0, length)).ok).toBe(false);
    }
    expect(machine.restoreInto(Buffer.concat([bytes, Buffer.of(0)])).ok).toBe(false);
    expect(machine.digest()).toBe(before);
  });

  test("with any one bit changed is refused, or it is a whole state, and not the one that was saved", () => {
    const { log } = filled();
    const bytes = log.machine.snapshot();
    let refused = 0;
    for (let at = 0; at < bytes.length; at++) {
      const damaged = bytes.slice();
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8));
      const restored = KeyValueMachine.restore(damaged, BOUNDS);
      if (!restored.ok) refused++;
      else expect(Buffer.compare(restored.value.snapshot(), bytes)).not.toBe(0);
    }
    expect(refused).toBeGreaterThan(bytes.length / 20);
  });

  test("of another layout says so", () => {
    const bytes = new KeyValueMachine().snapshot();
    bytes[0] = 9;
    expect(KeyValueMachine.restore(bytes)).toEqual({ ok: false, error: "the snapshot has layout 9; this program knows 1" });
  });

  test("never takes a machine back", () => {
    const { log } = filled();
    const bytes = log.machine.snapshot();
    log.client("later");
    expect(() => log.machine.restoreInto(bytes)).toThrow("was applied");
  });
});
