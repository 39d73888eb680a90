import { describe, expect, test } from "bun:test";
import { parseDuration, readEntries, saysSessionGone, statusError } from "../../../lib/dcs/consul/answers.ts";
import { sessionBody } from "../../../lib/dcs/consul/session.ts";
import { onlyLockDelay, operationsOf, readErrors, readRevisions } from "../../../lib/dcs/consul/transaction.ts";
import { waitFor } from "../../../lib/dcs/consul/watch.ts";
import type { Change } from "../../../lib/dcs/store.ts";
import { ms, revision, seconds } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";

const SESSION = "80a10fa2-969f-1f81-2b8a-4a70c4ba0212";
const put = { kind: "put", key: "a/k", value: "ä" } as const;

describe("changes as Consul's operations", () => {
  test("every put is a change for Consul, and takes no more than two operations", () => {
    const Value = Buffer.from("ä").toString("base64");
    const Key = "a/k";
    const cases: readonly [Change, readonly unknown[]][] = [
      [
        put,
        [
          { Verb: "set", Key, Value: "" },
          { Verb: "set", Key, Value },
        ],
      ],
      [
        { ...put, value: "", condition: { kind: "none" } },
        [
          { Verb: "set", Key, Value: "LQ==" },
          { Verb: "set", Key, Value: "" },
        ],
      ],
      [
        { ...put, session: SESSION },
        [
          { Verb: "lock", Key, Value: "", Session: SESSION },
          { Verb: "lock", Key, Value, Session: SESSION },
        ],
      ],
      [
        { ...put, condition: { kind: "absent" }, session: SESSION },
        [
          { Verb: "check-not-exists", Key },
          { Verb: "lock", Key, Value, Session: SESSION },
        ],
      ],
      [
        { ...put, condition: { kind: "revision", revision: revision(7) }, session: SESSION },
        [
          { Verb: "cas", Key, Value: "", Index: 7 },
          { Verb: "lock", Key, Value, Session: SESSION },
        ],
      ],
      [
        { ...put, condition: { kind: "revision", revision: revision(0) } },
        [
          { Verb: "check-index", Key, Index: 0 },
          { Verb: "set", Key, Value },
        ],
      ],
      [
        { kind: "delete", key: Key, condition: { kind: "revision", revision: revision(7) } },
        [
          { Verb: "check-index", Key, Index: 7 },
          { Verb: "delete", Key },
        ],
      ],
      [{ kind: "check-owner", key: Key, session: SESSION }, [{ Verb: "check-session", Key, Session: SESSION }]],
    ];
    for (const [change, operations] of cases) expect(operationsOf(change)).toEqual(operations as never);
  });

  test("each change gets the revision of its own write", () => {
    const changes: Change[] = [
      { kind: "check-owner", key: "leader", session: SESSION },
      { kind: "put", key: "status", value: "1", condition: { kind: "revision", revision: revision(5) } },
      { kind: "delete", key: "gone" },
      { kind: "put", key: "fresh", value: "1", condition: { kind: "absent" } },
    ];
    const row = (Key: string, ModifyIndex: number) => ({ KV: { Key, ModifyIndex, Value: null } });
    const rows = [row("leader", 3), row("status", 5), row("status", 9), row("fresh", 9)];
    expect(readRevisions(changes, rows)?.map(Number)).toEqual([0, 9, 0, 9]);
    expect(readRevisions(changes, rows.slice(1))).toBeNull();
    expect(readRevisions(changes, [...rows, row("more", 9)])).toBeNull();
    expect(readRevisions([{ kind: "delete", key: "gone" }], null)?.map(Number)).toEqual([0]);
  });
});

describe("refusals in Consul's words (1.8.7)", () => {
  const changes: Change[] = [{ ...put, session: SESSION }];
  const kindOf = (...texts: string[]) =>
    readErrors(
      changes,
      texts.map((What, OpIndex) => ({ OpIndex, What })),
    ).kind;

  test("a condition that did not hold is condition-failed", () => {
    const texts = [
      'failed to lock key "a/k", lock is already held',
      'failed session check for key "a/k", current session "x" != "y"',
      'failed to check session, key "a/k" doesn\'t exist',
      'failed index check for key "a/k", current modify index 15 != 3',
      'failed to check index, key "a/k" doesn\'t exist',
      'key "a/k" exists',
      'failed to set key "a/k", index is stale',
      'failed to lock key "a/k" due to lock delay',
    ];
    for (const text of texts) expect([text, kindOf(text)]).toEqual([text, "condition-failed"]);
    expect(kindOf(...texts)).toBe("condition-failed");
  });

  test("a dead session wins over a failed condition, a refusal wins over neither being known", () => {
    const gone = { OpIndex: 0, What: `invalid session "${SESSION}"` };
    const exists = { OpIndex: 0, What: 'key "a/k" exists' };
    expect(readErrors(changes, [exists, gone])).toEqual({ kind: "session-gone", session: SESSION });
    expect(readErrors(changes, [{ OpIndex: 0, What: "failed session lookup: index error: UUID must be 36 characters" }]).kind).toBe(
      "session-gone",
    );
    expect(readErrors(changes, [exists, { OpIndex: 0, What: "Permission denied" }])).toEqual({
      kind: "rejected",
      reason: "Permission denied",
    });
    expect(readErrors(changes, []).kind).toBe("rejected");
  });

  test("only a lock-delay alone is worth asking again", () => {
    const delay = { What: 'failed to lock key "a/k" due to lock delay' };
    expect(onlyLockDelay([delay])).toBe(true);
    expect(onlyLockDelay([delay, { What: 'key "a/k" exists' }])).toBe(false);
    expect(onlyLockDelay([])).toBe(false);
  });

  test("a status tells what is known of the write", () => {
    const kind = (status: number, text: string, purpose: "read" | "write") => statusError({ status, index: null, text }, purpose).kind;
    expect(kind(500, "No cluster leader", "write")).toBe("unavailable");
    expect(kind(500, "rpc error getting client: failed to get conn: dial tcp: connection refused", "write")).toBe("unavailable");
    expect(kind(500, "leadership lost while committing log", "write")).toBe("unknown-outcome");
    expect(kind(500, "rpc error making call: EOF", "write")).toBe("unknown-outcome");
    expect(kind(500, "rpc error making call: EOF", "read")).toBe("unavailable");
    expect(kind(429, "too many connections", "write")).toBe("unavailable");
    for (const status of [301, 400, 403, 404, 413]) expect(kind(status, "", "write")).toBe("rejected");
  });

  test("an unknown session is recognised in all of Consul's wordings, and nothing else is", () => {
    expect(saysSessionGone('invalid session "x"')).toBe(true);
    expect(saysSessionGone("Session id '00000000' not found")).toBe(true);
    expect(saysSessionGone("failed session check for key")).toBe(false);
    expect(saysSessionGone("Invalid Session TTL '500000000', must be between [1s=24h0m0s]")).toBe(false);
  });
});

describe("other forms", () => {
  test("durations are read as Go writes them", () => {
    const cases: readonly [string, number | null][] = [
      ["10s", 10_000],
      ["7.5s", 7_500],
      ["1m0s", 60_000],
      ["24h0m0s", 86_400_000],
      ["500ms", 500],
      ["", null],
      ["10", null],
      ["-1s", null],
    ];
    for (const [text, expected] of cases) expect([text, parseDuration(text)]).toEqual([text, expected as never]);
  });

  test("a listing is sorted, decoded, and refused when it is not Consul's", () => {
    const text = JSON.stringify([
      { Key: "b", Value: "4pyT", ModifyIndex: 2, Session: "s" },
      { Key: "a", Value: null, ModifyIndex: 1, LockIndex: 0 },
    ]);
    expect(readEntries(text)).toEqual([
      { key: "a", value: "", revision: revision(1), session: null },
      { key: "b", value: "✓", revision: revision(2), session: "s" },
    ]);
    for (const other of ["", "<html>", "{}", '[{"Key":1}]']) expect(readEntries(other)).toBeNull();
  });

  test("a session asks for no check aloud, or for exactly the configured ones", () => {
    const base = { name: "demo-a", ttl: seconds(10) };
    const common = { Name: "demo-a", Behavior: "delete", LockDelay: "1ms", TTL: "10s" };
    expect(sessionBody({ ...base, checks: [] })).toEqual({ ...common, Checks: [] });
    expect(sessionBody({ ...base, checks: ["x"] })).toEqual({ ...common, Checks: ["x"], NodeChecks: ["x"] });
    expect(sessionBody({ ...base, ttl: ms(7_500), checks: [] })["TTL"]).toBe("7.5s");
  });

  test("a blocking query with Consul's jitter ends before the deadline", () => {
    fc.assert(
      fc.property(fc.double({ min: -1_000, max: 500_000, noNaN: true }), (remaining) => {
        const waitMs = waitFor(ms(remaining));
        expect(waitMs).toBeGreaterThanOrEqual(0);
        expect(waitMs * (1 + 1 / 16)).toBeLessThanOrEqual(Math.max(0, remaining));
      }),
    );
  });
});
