// Owns the claims on who is woken by what, on one member.

import { describe, expect, test } from "bun:test";
import { KEY_VALUE_BOUNDS } from "../../../../../lib/dcs/raft/kv/bounds.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { logIndex } from "../../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";
import { LogDriver } from "./log-driver.ts";

function woken(machine: KeyValueMachine, prefix: string, after: number): { count: number; unsubscribe: () => void } {
  const seen = { count: 0, unsubscribe: () => {} };
  const unsubscribe = machine.subscribe(prefix, revision(after), () => seen.count++);
  if (unsubscribe === null) throw new Error("no room for a subscription");
  seen.unsubscribe = unsubscribe;
  return seen;
}

describe("a subscription", () => {
  test("is woken once by a put, a delete and a session's end below its prefix, and by nothing else", () => {
    const log = new LogDriver();
    const client = log.client();
    client.send({ kind: "open-session", id: "s", name: "n", ttl: ms(1_000), place: null });
    const steps: readonly [() => unknown, number][] = [
      [() => client.put("p/k", "1"), 1],
      [() => client.put("p/k", "1"), 0],
      [() => client.put("other", "1"), 0],
      [() => client.send({ kind: "change", changes: [{ kind: "put", key: "p/k", value: "2", condition: { kind: "absent" } }] }), 0],
      [() => client.send({ kind: "change", changes: [{ kind: "put", key: "p/k", value: "1", session: "s" }] }), 1],
      [() => client.send({ kind: "renew-session", id: "s" }), 0],
      [() => client.send({ kind: "close-session", id: "s" }), 1],
      [() => client.put("p/k", "2"), 1],
      [() => client.send({ kind: "delete-prefix", prefix: "p" }), 1],
      [() => client.send({ kind: "delete-prefix", prefix: "p/none" }), 0],
    ];
    for (const [step, count] of steps) {
      const seen = woken(log.machine, "p/", log.machine.revision);
      step();
      expect([step.toString(), seen.count]).toEqual([step.toString(), count]);
      client.put("p/again", `${log.machine.revision}`);
      expect(seen.count).toBe(1);
      client.put("p/again", `${log.machine.revision}`);
      expect(seen.count).toBe(1);
    }
    expect(log.machine.counts.watches).toBe(0);
  });

  test("sees the whole state of the command that wakes it, with the answer remembered", () => {
    const log = new LogDriver();
    const client = log.client();
    const seen: unknown[] = [];
    log.machine.subscribe("b", revision(0), () => {
      const answer = log.machine.query({ kind: "snapshot", prefix: "", consistency: "stale" });
      if (answer.ok && answer.value.kind === "snapshot") seen.push(...answer.value.snapshot.entries.map(({ key }) => key));
    });
    client.send({
      kind: "change",
      changes: [
        { kind: "put", key: "b", value: "" },
        { kind: "put", key: "a", value: "" },
      ],
    });
    expect(seen).toEqual(["a", "b"]);
  });

  test("after a revision that this member has not reached sleeps until it has passed it", () => {
    const log = new LogDriver();
    const client = log.client();
    const seen = woken(log.machine, "", 2);
    expect(log.machine.changedSince("", revision(2))).toBe("unchanged");
    client.put("a", "1");
    client.put("a", "2");
    expect(seen.count).toBe(0);
    client.put("a", "3");
    expect(seen.count).toBe(1);
  });

  test("that was taken back is not woken, not even by one that is woken before it", () => {
    const log = new LogDriver();
    const client = log.client();
    const order: string[] = [];
    let takeBack: (() => void) | null = null;
    log.machine.subscribe("a", revision(0), () => {
      order.push("first");
      takeBack?.();
      takeBack?.();
    });
    takeBack = log.machine.subscribe("a", revision(0), () => order.push("second"));
    client.put("a", "1");
    expect(order).toEqual(["first"]);
    expect(log.machine.counts.watches).toBe(0);
  });

  test("made while being woken waits for the next change", () => {
    const log = new LogDriver();
    const client = log.client();
    let count = 0;
    const again = (): void => {
      count++;
      log.machine.subscribe("a", log.machine.revision, again);
    };
    log.machine.subscribe("a", revision(0), again);
    for (let each = 1; each <= 5; each++) {
      client.put("a", `${each}`);
      expect(count).toBe(each);
    }
  });

  test("beyond the bound is refused, and there is room again when one ends", () => {
    const machine = new KeyValueMachine({ ...KEY_VALUE_BOUNDS, subscriptionsMax: 2 });
    const first = woken(machine, "a", 0);
    woken(machine, "b", 0);
    expect(machine.subscribe("c", revision(0), () => {})).toBeNull();
    first.unsubscribe();
    expect(machine.subscribe("c", revision(0), () => {})).not.toBeNull();
  });

  test("is woken by an installed snapshot that changed something below its prefix, or that cannot tell", () => {
    const bounds = { ...KEY_VALUE_BOUNDS, historyMax: 3 };
    const log = new LogDriver(new KeyValueMachine(bounds));
    const client = log.client();
    client.put("a", "1");
    const behind = KeyValueMachine.restore(log.machine.snapshot(), bounds);
    if (!behind.ok) throw new Error(behind.error);
    const [a, b, c] = ["a", "b", "c"].map((prefix) => woken(behind.value, prefix, behind.value.revision));
    client.put("b", "1");
    behind.value.restoreInto(log.machine.snapshot());
    expect([a?.count, b?.count, c?.count]).toEqual([0, 1, 0]);
    for (let each = 0; each < 5; each++) client.put("b", `more ${each}`);
    behind.value.restoreInto(log.machine.snapshot());
    expect([a?.count, b?.count, c?.count]).toEqual([1, 1, 1]);
  });
});

describe("the machine", () => {
  test("refuses an entry that is not the next one", () => {
    const machine = new KeyValueMachine();
    expect(() => machine.noop(logIndex(2), 0)).toThrow("not the one after");
    machine.noop(logIndex(1), 0);
    expect(() => machine.noop(logIndex(1), 0)).toThrow("not the one after");
  });

  test("never takes cluster time back, and takes no time that is none", () => {
    const machine = new KeyValueMachine();
    const times = [5, 3, Number.NaN, Number.POSITIVE_INFINITY, 7];
    const seen = times.map((time, at) => {
      machine.noop(logIndex(at + 1), time);
      return machine.time;
    });
    expect(seen).toEqual([5, 5, 5, 5, 7]);
  });
});
