// Owns the claims on what the machine promises by name: exactly once, no lease early, the bounds of the product, and the same
// semantics as the memory store. The model (machine-model.test.ts) has the rest.

import { describe, expect, test } from "bun:test";
import { MemoryCluster } from "../../../../../lib/dcs/memory.ts";
import { KEY_VALUE_BOUNDS } from "../../../../../lib/dcs/raft/kv/bounds.ts";
import type { CommandAnswer, RaftChange } from "../../../../../lib/dcs/raft/kv/command.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import type { Change } from "../../../../../lib/dcs/store.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";
import { fc } from "../../../../harness/properties.ts";
import { ManualClock } from "../../manual-clock.ts";
import { LogDriver } from "./log-driver.ts";

const SESSION = { kind: "open-session", id: "s1", name: "test", ttl: ms(1_000), place: null } as const;
const CREATE = { kind: "change", changes: [{ kind: "put", key: "k", value: "1", condition: { kind: "absent" } }] } as const;
const UNKNOWN: CommandAnswer = { ok: false, error: { kind: "unknown-client" } };
const FAILED: CommandAnswer = { ok: false, error: { kind: "condition-failed" } };

function put(key: string, value: string): { readonly kind: "change"; readonly changes: readonly RaftChange[] } {
  return { kind: "change", changes: [{ kind: "put", key, value }] };
}

function reasonOf(answer: CommandAnswer): string {
  return !answer.ok && answer.error.kind === "rejected" ? answer.error.reason : `not rejected: ${JSON.stringify(answer)}`;
}

describe("exactly once", () => {
  test("a repeated request gets the first answer and is not applied again, whatever came between", () => {
    const log = new LogDriver();
    const client = log.client();
    const first = client.repeat(CREATE, 1);
    expect(first.ok).toBe(true);
    const refused = client.repeat(CREATE, 2);
    expect(refused).toEqual(FAILED);
    log.client("other").send({ kind: "delete-prefix", prefix: "" });
    expect(client.repeat(CREATE, 1)).toEqual(first);
    expect(client.repeat(CREATE, 2)).toEqual(refused);
    expect(log.machine.counts.keys).toBe(0);
  });

  test("requests may arrive in any order, each once", () => {
    const log = new LogDriver();
    const client = log.client();
    for (const sequence of [3, 1, 2, 1, 3, 2]) client.repeat(put(`k${sequence}`, "v"), sequence);
    expect(log.machine.counts.keys).toBe(3);
    expect(log.machine.revision as number).toBe(3);
  });

  test("a retry after the registration ended by idleness is refused and never applied, also once its name is registered again", () => {
    const log = new LogDriver();
    const client = log.client("name");
    client.repeat(CREATE, 1);
    log.client("other").send({ kind: "delete-prefix", prefix: "" });
    log.time += KEY_VALUE_BOUNDS.clientIdleMs;
    expect(client.repeat(CREATE, 1)).toEqual(UNKNOWN);
    const again = log.client("name");
    expect(again.id).not.toBe(client.id);
    expect(client.repeat(CREATE, 1)).toEqual(UNKNOWN);
    expect(client.repeat(CREATE, 7)).toEqual(UNKNOWN);
    expect(log.machine.counts.keys).toBe(0);
  });

  test("a registration that is used in time lives on", () => {
    const log = new LogDriver();
    const client = log.client();
    for (let each = 0; each < 5; each++) {
      log.time += KEY_VALUE_BOUNDS.clientIdleMs - 1;
      expect(client.put("k", `${each}`).ok).toBe(true);
    }
  });

  test("one client too many takes the place of the one idle longest, whose retries are refused", () => {
    const log = new LogDriver(new KeyValueMachine({ ...KEY_VALUE_BOUNDS, clientsMax: 2 }));
    const [a, b] = [log.client("a"), log.client("b")];
    a.repeat(CREATE, 1);
    log.client("c");
    expect(b.repeat(put("b", "1"), 1)).toEqual(UNKNOWN);
    expect(a.repeat(CREATE, 1).ok).toBe(true);
  });

  test("a request whose answer was acknowledged already is refused, not applied", () => {
    const log = new LogDriver();
    const client = log.client();
    client.repeat(put("k", "1"), 1);
    client.acknowledged = 1;
    client.repeat(put("k", "2"), 2);
    // Sent long ago, arriving now: its client has given it up.
    expect(log.apply({ client: client.id, sequence: 1, acknowledged: 0, command: put("k", "1") })).toEqual(UNKNOWN);
    expect(log.machine.revision as number).toBe(2);
  });

  test("who acknowledges nothing has to wait, and may go on as soon as he does", () => {
    const log = new LogDriver();
    const client = log.client();
    const { answersMax } = KEY_VALUE_BOUNDS;
    for (let sequence = 1; sequence <= answersMax; sequence++) expect(client.repeat(put("k", `${sequence}`), sequence).ok).toBe(true);
    const full = client.repeat(put("k", "more"), answersMax + 1);
    expect(full.ok ? "" : full.error.kind).toBe("unavailable");
    expect(client.repeat(put("k", "1"), 1).ok).toBe(true);
    client.acknowledged = 1;
    expect(client.repeat(put("k", "more"), answersMax + 1).ok).toBe(true);
  });

  test("the command that everything waits for is never the one that has to wait", () => {
    const log = new LogDriver();
    const client = log.client();
    const { answersMax } = KEY_VALUE_BOUNDS;
    // The first one was lost on its way; those behind it came through.
    for (let sequence = 2; sequence <= answersMax + 1; sequence++) expect(client.repeat(put("k", `${sequence}`), sequence).ok).toBe(true);
    expect(client.repeat(put("k", "more"), answersMax + 2).ok).toBe(false);
    expect(client.repeat(put("k", "first"), 1).ok).toBe(true);
    client.acknowledged = answersMax + 1;
    expect(client.repeat(put("k", "more"), answersMax + 2).ok).toBe(true);
  });
});

describe("sessions", () => {
  test("an expiry applies only at the deadline and with the renewal that it saw", () => {
    const log = new LogDriver();
    const client = log.client();
    client.send(SESSION);
    log.time += 999;
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 1 })).toEqual(FAILED);
    client.send({ kind: "renew-session", id: "s1" });
    log.time += 1_000;
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 1 })).toEqual(FAILED);
    expect(log.machine.dueExpiries(log.time)).toEqual([{ kind: "expire-session", id: "s1", renewal: 2 }]);
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 2 }).ok).toBe(true);
    expect(log.machine.nextExpiryAt).toBeNull();
  });

  test("a session past its deadline lives, with its keys, until the log says otherwise; a renewal saves it", () => {
    const log = new LogDriver();
    const client = log.client();
    client.send(SESSION);
    client.send({ kind: "change", changes: [{ kind: "put", key: "lock", value: "me", session: "s1" }] });
    log.time += 60_000;
    const [due] = log.machine.dueExpiries(log.time);
    expect(client.put("plain", "1").ok).toBe(true);
    expect(log.machine.counts.keys).toBe(2);
    expect(client.send({ kind: "renew-session", id: "s1" }).ok).toBe(true);
    expect(log.own(due as never)).toEqual(FAILED);
    expect(log.machine.nextExpiryAt).toBe(log.time + 1_000);
  });

  test("nothing is due before the deadline, and what is due comes in the order of the deadlines, in bounded portions", () => {
    const log = new LogDriver(new KeyValueMachine({ ...KEY_VALUE_BOUNDS, expiriesMax: 2 }));
    const client = log.client();
    for (const [id, ttl] of [
      ["c", 300],
      ["a", 200],
      ["b", 200],
      ["d", 100],
    ] as const)
      client.send({ ...SESSION, id, ttl: ms(ttl) });
    const start = log.time;
    expect(log.machine.nextExpiryAt).toBe(start + 100);
    expect(log.machine.dueExpiries(start + 99)).toEqual([]);
    expect(log.machine.dueExpiries(start + 100).map((due) => "id" in due && due.id)).toEqual(["d"]);
    expect(log.machine.dueExpiries(start + 300).map((due) => "id" in due && due.id)).toEqual(["d", "a"]);
  });

  test("an id that is open already is renewed where the same is asked for, and refused where it is another's", () => {
    const log = new LogDriver();
    const client = log.client();
    client.send(SESSION);
    log.time += 700;
    expect(client.send(SESSION).ok).toBe(true);
    expect(log.machine.nextExpiryAt).toBe(log.time + 1_000);
    expect(reasonOf(client.send({ ...SESSION, name: "somebody else" }))).toBe("another session has this id");
  });

  test("a ttl beyond the bounds is brought within them, and the promise says so", () => {
    const log = new LogDriver();
    const client = log.client();
    const promised = (id: string, ttl: number): unknown => {
      const answer = client.send({ ...SESSION, id, ttl: ms(ttl) });
      return answer.ok && answer.value.kind === "session" ? answer.value.session.promisedMs : answer;
    };
    expect(promised("a", -5)).toBe(KEY_VALUE_BOUNDS.sessionTtlMinMs);
    expect(promised("b", 1e300)).toBe(KEY_VALUE_BOUNDS.sessionTtlMaxMs);
    expect(promised("c", 3_000.5)).toBe(3_000.5);
  });
});

describe("the bounds of the product", () => {
  test("a value of 512 KiB is kept, one byte more is rejected", () => {
    const log = new LogDriver();
    const client = log.client();
    const { valueBytesMax } = KEY_VALUE_BOUNDS;
    expect(client.put("k", "x".repeat(valueBytesMax)).ok).toBe(true);
    expect(reasonOf(client.put("k", "x".repeat(valueBytesMax + 1)))).toBe(`a value is at most ${valueBytesMax} bytes`);
    expect(client.put("k", "ü".repeat(valueBytesMax / 2)).ok).toBe(true);
    expect(client.put("k", `${"ü".repeat(valueBytesMax / 2)}x`).ok).toBe(false);
  });

  test("a command that is too large is rejected before it is read, and by whoever would propose it", () => {
    const log = new LogDriver();
    const client = log.client();
    const changes = Array.from({ length: 5 }, (_, each): RaftChange => ({ kind: "put", key: `k${each}`, value: "x".repeat(500 * 1024) }));
    const { payloadBytesMax } = KEY_VALUE_BOUNDS;
    expect(reasonOf(client.repeat({ kind: "change", changes }, 1))).toBe(`a command is at most ${payloadBytesMax} bytes`);
    expect(client.repeat({ kind: "change", changes: changes.slice(1) }, 1).ok).toBe(true);
  });

  test("32 changes are applied with one revision, 33 are rejected", () => {
    const log = new LogDriver();
    const client = log.client();
    const puts = (count: number) => Array.from({ length: count }, (_, each): RaftChange => ({ kind: "put", key: `k${each}`, value: "v" }));
    expect(reasonOf(client.send({ kind: "change", changes: puts(33) }))).toBe("more than 32 changes in one transaction");
    const answer = client.send({ kind: "change", changes: puts(32) });
    expect(answer.ok && answer.value.kind === "revisions" && new Set(answer.value.revisions).size).toBe(1);
    expect(log.machine.revision as number).toBe(1);
  });
});

describe("a machine that holds more than its bounds allow, of a program with other bounds", () => {
  test("takes what makes it smaller, and nothing that makes it larger", () => {
    const before = new LogDriver();
    const client = before.client();
    for (const key of ["a", "b", "c"]) client.put(key, "0123456789");
    const bounds = { ...KEY_VALUE_BOUNDS, keysMax: 2, textMax: 20 };
    const restored = KeyValueMachine.restore(before.machine.snapshot(), bounds);
    if (!restored.ok) throw new Error(restored.error);
    const log = new LogDriver(restored.value);
    const other = log.client();
    expect(reasonOf(other.put("a", "0123456789+"))).toBe("more than 20 characters of keys and values");
    expect(reasonOf(other.put("d", ""))).toBe("more than 2 keys");
    expect(other.put("a", "012345678").ok).toBe(true);
    expect(other.put("b", "9876543210").ok).toBe(true);
    expect(other.send({ kind: "change", changes: [{ kind: "delete", key: "c" }] }).ok).toBe(true);
  });
});

describe("a revision", () => {
  test("that an answer gave never comes again, although the same transaction took its change back", () => {
    const log = new LogDriver();
    const client = log.client();
    const both: readonly RaftChange[] = [
      { kind: "put", key: "k", value: "1" },
      { kind: "delete", key: "k" },
    ];
    const answer = client.send({ kind: "change", changes: both });
    if (!answer.ok || answer.value.kind !== "revisions") throw new Error("not applied");
    const [given] = answer.value.revisions;
    client.put("k", "other");
    const condition = { kind: "revision", revision: given as never } as const;
    expect(client.send({ kind: "change", changes: [{ kind: "put", key: "k", value: "2", condition }] })).toEqual(FAILED);
  });
});

describe("the machine and the memory store", () => {
  test("come to the same with every transaction", () => {
    const key = fc.constantFrom("a", "a/b", "b");
    const session = fc.constantFrom(0, 1, 2);
    const condition = fc.oneof(
      fc.constant({ kind: "none" } as const),
      fc.constant({ kind: "absent" } as const),
      fc.nat(9).map((n) => ({ kind: "revision", revision: revision(n) }) as const),
    );
    const change = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), key, value: fc.constantFrom("1", "2"), condition, owner: fc.option(session) }),
      fc.record({ kind: fc.constant("delete" as const), key, condition }),
      fc.record({ kind: fc.constant("check-owner" as const), key, owner: session }),
    );
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.array(change, { minLength: 1, maxLength: 4 }) },
      { weight: 1, arbitrary: fc.record({ close: session }) },
      { weight: 1, arbitrary: fc.record({ below: fc.constantFrom("a", "", "b") }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: "max" }), (steps) => {
        const memory = new MemoryCluster({ clock: new ManualClock() });
        const log = new LogDriver();
        const client = log.client();
        // The third one is never opened.
        const ids = [memory.openSession("n", ms(1e6)).id, memory.openSession("n", ms(1e6)).id, "never"];
        for (const id of ids.slice(0, 2)) client.send({ ...SESSION, id, ttl: ms(1e6) });
        for (const each of steps) {
          if ("close" in each) {
            memory.closeSession(ids[each.close] as string);
            client.send({ kind: "close-session", id: ids[each.close] as string });
          } else if ("below" in each) {
            memory.deleteBelow(each.below);
            client.send({ kind: "delete-prefix", prefix: each.below });
          } else {
            const changes = each.map((one): Change => {
              if (one.kind === "delete") return one;
              const { owner, ...rest } = one;
              return (owner === null ? rest : { ...rest, session: ids[owner] as string }) as Change;
            });
            const wanted = memory.apply(changes);
            const answer = client.send({ kind: "change", changes });
            expect(answer).toEqual(wanted.ok ? { ok: true, value: { kind: "revisions", revisions: wanted.value } } : wanted);
          }
          const entries = memory.snapshot("").ok ? memory.snapshot("") : null;
          const seen = log.machine.query({ kind: "snapshot", prefix: "", consistency: "stale" });
          const here = seen.ok && seen.value.kind === "snapshot" ? seen.value.snapshot.entries : null;
          expect(here).toEqual(entries?.ok === true ? entries.value.entries : null);
          expect(log.machine.revision).toBe(memory.revision);
        }
      }),
      { numRuns: 300 },
    );
  });
});
