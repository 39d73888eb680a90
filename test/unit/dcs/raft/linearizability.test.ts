// Owns the claims on the checkers of test/raft: true histories pass, and each planted fault is found.

import { describe, expect, test } from "bun:test";
import type { LogEntry } from "../../../../lib/dcs/raft/core/types.ts";
import type { Command, CommandAnswer } from "../../../../lib/dcs/raft/kv/command.ts";
import { encodeEnvelope } from "../../../../lib/dcs/raft/kv/command-codec.ts";
import type { Entry } from "../../../../lib/dcs/store.ts";
import { logIndex, term } from "../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../lib/model/units.ts";
import type { CommandOperation, Operation, QueryOperation } from "../../../raft/history.ts";
import { checkBySearch, checkWitnessed, isPassed } from "../../../raft/linearizability.ts";
import { search } from "../../../raft/linearization-search.ts";
import { StoreSpecification } from "../../../raft/store-specification.ts";
import { Random } from "../../../simulation/random.ts";
import { type Plant, recordRun } from "./recorded-run.ts";

const SEEDS = 150;

describe("recorded runs", () => {
  test("without a fault pass both checks, with everything in them that makes it hard", () => {
    const met = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = recordRun(seed, "none");
      expect([seed, checkWitnessed(run)]).toEqual([seed, []]);
      expect([seed, checkBySearch(run.operations).kind]).toEqual([seed, "linearizable"]);
      for (const operation of run.operations) {
        if (operation.kind === "query")
          met.add(operation.value.kind === "session-info" && operation.value.session === null ? "session ended" : "read");
        else
          met.add(
            operation.answer === null ? "no answer" : operation.answer.ok ? operation.answer.value.kind : operation.answer.error.kind,
          );
      }
    }
    expect([...met].sort()).toEqual([
      "condition-failed",
      "done",
      "no answer",
      "read",
      "revisions",
      "session",
      "session ended",
      "session-gone",
    ]);
  });

  // In how many of the runs at least; in the others the fault did not happen, or no client could see it.
  const found: readonly [Plant, number, number][] = [
    ["stale-read", 0.8, 0.5],
    ["lying-read", 0.7, 0.5],
    ["lost-update", 0.4, 0.2],
    ["double-application", 0.15, 0.08],
    // The log agrees with a clock that runs fast: only clients can tell.
    ["early-expiry", 0, 0.2],
    ["false-refusal", 0.7, 0.5],
  ];
  for (const [plant, byWitness, bySearch] of found) {
    test(`with the fault "${plant}" are found out`, () => {
      let witnessed = 0;
      let searched = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        const run = recordRun(seed, plant);
        if (checkWitnessed(run).length > 0) witnessed++;
        if (checkBySearch(run.operations).kind === "violation") searched++;
      }
      expect(witnessed / SEEDS).toBeGreaterThanOrEqual(byWitness);
      expect(searched / SEEDS).toBeGreaterThanOrEqual(bySearch);
    });
  }
});

const SESSION = { id: "s", promisedMs: ms(1_000), place: null };
const NO_ANSWER = null;
const REFUSED: CommandAnswer = { ok: false, error: { kind: "condition-failed" } };

function put(
  key: string,
  value: string,
  at: readonly [number, number | null],
  answer: number | CommandAnswer | null,
  more = {},
): CommandOperation {
  const given: CommandAnswer | null =
    typeof answer === "number" ? { ok: true, value: { kind: "revisions", revisions: [revision(answer)] } } : answer;
  const command: Command = { kind: "change", changes: [{ kind: "put", key, value, ...more }] };
  return { kind: "command", who: value, invokedAt: at[0], answeredAt: at[1], command, answer: given, identity: null };
}

function read(
  prefix: string,
  at: readonly [number, number],
  newest: number,
  entries: Record<string, readonly [string, number]>,
): QueryOperation {
  const list = Object.entries(entries).map(([key, [value, at]]): Entry => ({ key, value, revision: revision(at), session: null }));
  const value = { kind: "snapshot", snapshot: { entries: list, revision: revision(newest) } } as const;
  return {
    kind: "query",
    who: "r",
    invokedAt: at[0],
    answeredAt: at[1],
    query: { kind: "snapshot", prefix, consistency: "linearizable" },
    value,
    index: null,
  };
}

function session(command: Command, at: readonly [number, number | null], answer: CommandAnswer | null): CommandOperation {
  return { kind: "command", who: "s", invokedAt: at[0], answeredAt: at[1], command, answer, identity: null };
}

describe("the search", () => {
  const first = put("k", "1", [0, 1], 1);
  const second = put("k", "2", [2, 3], 2);

  test("finds a stale read, and lets one pass that overlaps the write", () => {
    expect(checkBySearch([first, second, read("k", [4, 5], 1, { k: ["1", 1] })]).kind).toBe("violation");
    expect(checkBySearch([first, second, read("k", [2.5, 5], 1, { k: ["1", 1] })]).kind).toBe("linearizable");
    expect(checkBySearch([first, second, read("k", [4, 5], 2, { k: ["2", 2] })]).kind).toBe("linearizable");
  });

  test("finds a read that goes back behind another read", () => {
    const slow = put("k", "2", [2, 20], 2);
    const [newer, older] = [read("k", [4, 5], 2, { k: ["2", 2] }), read("k", [6, 7], 1, { k: ["1", 1] })];
    expect(checkBySearch([first, slow, newer, older]).kind).toBe("violation");
    expect(checkBySearch([first, slow, newer]).kind).toBe("linearizable");
    expect(checkBySearch([first, slow, older]).kind).toBe("linearizable");
  });

  test("finds a lost update, and two winners of one compare-and-set", () => {
    expect(checkBySearch([first, read("k", [2, 3], 0, {})]).kind).toBe("violation");
    const condition = { condition: { kind: "revision", revision: revision(1) } };
    const [a, b] = [put("k", "a", [2, 5], 2, condition), put("k", "b", [2, 5], 3, condition)];
    expect(checkBySearch([first, a, b]).kind).toBe("violation");
    expect(checkBySearch([first, a, put("k", "b", [2, 5], REFUSED, condition)]).kind).toBe("linearizable");
    // Both refused although the revision was there all the time.
    expect(checkBySearch([first, put("k", "a", [2, 5], REFUSED, condition)]).kind).toBe("violation");
  });

  test("finds a command that was applied twice", () => {
    const absent = { condition: { kind: "absent" } };
    const created = put("k", "1", [0, 9], REFUSED, absent);
    expect(checkBySearch([created, read("k", [10, 11], 1, { k: ["1", 1] })]).kind).toBe("violation");
    // Written, overwritten, and written again by a late copy of the first.
    const again = read("k", [4, 5], 3, { k: ["1", 3] });
    expect(checkBySearch([first, second, again]).kind).toBe("violation");
  });

  test("lets what got no answer happen late or never, but not before it was asked, and not twice", () => {
    const open = put("k", "open", [2, null], NO_ANSWER);
    const [before, then] = [read("k", [3, 4], 1, { k: ["1", 1] }), read("k", [5, 6], 2, { k: ["open", 2] })];
    expect(checkBySearch([first, open, before]).kind).toBe("linearizable");
    expect(checkBySearch([first, open, before, then]).kind).toBe("linearizable");
    expect(checkBySearch([first, put("k", "open", [7, null], NO_ANSWER), then]).kind).toBe("violation");
    const over = put("k", "3", [7, 8], 3);
    expect(checkBySearch([first, open, then, over, read("k", [9, 10], 4, { k: ["open", 4] })]).kind).toBe("violation");
  });

  test("finds what was refused and happened all the same", () => {
    const refused = put("k", "x", [2, 3], { ok: false, error: { kind: "unavailable", reason: "no" } });
    expect(checkBySearch([first, refused, read("k", [4, 5], 2, { k: ["x", 2] })]).kind).toBe("violation");
    expect(checkBySearch([first, refused, read("k", [4, 5], 1, { k: ["1", 1] })]).kind).toBe("linearizable");
  });

  test("finds revisions that go back", () => {
    expect(checkBySearch([put("k", "1", [0, 1], 5), put("k", "2", [2, 3], 4)]).kind).toBe("violation");
    expect(checkBySearch([put("k", "1", [0, 3], 5), put("k", "2", [0, 3], 4)]).kind).toBe("linearizable");
    const [newer, older] = [read("k", [2, 3], 9, { k: ["1", 1] }), read("k", [4, 5], 8, { k: ["1", 1] })];
    expect(checkBySearch([first, newer, older]).kind).toBe("violation");
    expect(checkBySearch([first, newer, older], { snapshotRevision: "prefix" }).kind).toBe("linearizable");
    // A store that promises no more than lib/dcs/store.ts is still held to the revisions of its entries.
    const impossible = read("k", [2, 3], 9, { k: ["1", 2] });
    expect(checkBySearch([first, impossible], { snapshotRevision: "prefix" }).kind).toBe("violation");
  });

  test("finds a transaction of which a reader saw half", () => {
    const command: Command = { kind: "change", changes: ["a", "b"].map((key) => ({ kind: "put", key, value: "1" })) };
    const both = session(command, [0, 9], { ok: true, value: { kind: "revisions", revisions: [revision(1), revision(1)] } });
    expect(checkBySearch([both, read("", [1, 2], 1, { a: ["1", 1] })]).kind).toBe("violation");
    expect(checkBySearch([both, read("", [1, 2], 1, { a: ["1", 1], b: ["1", 1] })]).kind).toBe("linearizable");
  });

  test("finds a session that ended before its promise was over, counted from its last renewal", () => {
    const opened = session({ kind: "open-session", id: "s", name: "n", ttl: ms(1_000), place: null }, [0, 1], {
      ok: true,
      value: { kind: "session", session: SESSION },
    });
    const renewed = session({ kind: "renew-session", id: "s" }, [600, 601], { ok: true, value: { kind: "session", session: SESSION } });
    const locked = put("k", "mine", [2, 3], 1, { session: "s" });
    const gone = (at: number) => read("k", [at, at + 1], 2, {});
    expect(checkBySearch([opened, locked, gone(900)]).kind).toBe("violation");
    expect(checkBySearch([opened, locked, gone(1_000)]).kind).toBe("linearizable");
    expect(checkBySearch([opened, locked, renewed, gone(1_500)]).kind).toBe("violation");
    expect(checkBySearch([opened, locked, renewed, gone(1_600)]).kind).toBe("linearizable");
    expect(checkBySearch([opened, locked, renewed, gone(1_500)], { leaseSlackMs: 100 }).kind).toBe("linearizable");
    // It cannot be there again afterwards.
    const back = put("k", "again", [1_700, 1_701], 3, { session: "s" });
    expect(checkBySearch([opened, locked, renewed, gone(1_600), back]).kind).toBe("violation");
    const other = session({ kind: "renew-session", id: "s" }, [1_700, 1_701], { ok: false, error: { kind: "session-gone", session: "s" } });
    expect(checkBySearch([opened, locked, renewed, gone(1_600), other]).kind).toBe("linearizable");
    expect(checkBySearch([opened, other, { ...renewed, invokedAt: 1_800, answeredAt: 1_801 }]).kind).toBe("violation");
  });

  test("says undecided when it has no more steps, and undecided is not passed", () => {
    const many = Array.from({ length: 12 }, (_, each) => put("k", `${each}`, [0, 100], null));
    const answered = many.map((operation): Operation => ({ ...operation, answer: REFUSED }));
    const verdict = checkBySearch(answered, { stepsMax: 0 });
    expect(verdict.kind).toBe("undecided");
    expect(isPassed(verdict)).toBe(false);
    expect(isPassed(checkBySearch([]))).toBe(true);
  });

  test("judges keys apart that nothing connects, so that many of them stay cheap", () => {
    const keys = Array.from({ length: 40 }, (_, each) => put(`k${each}`, "v", [0, 100], each + 1));
    const verdict = checkBySearch(keys, { stepsMax: 200 });
    expect(verdict.kind).toBe("linearizable");
  });

  test("comes to the same verdict as trying every order", () => {
    const verdicts = new Set<string>();
    for (let seed = 1; seed <= 1_500; seed++) {
      const operations = tinyHistory(new Random(seed));
      const specification = new StoreSpecification();
      const { kind } = search(specification, operations, 100_000);
      expect([seed, kind]).toEqual([seed, someOrderExplains(specification, operations) ? "linearizable" : "violation"]);
      verdicts.add(kind);
    }
    expect([...verdicts].sort()).toEqual(["linearizable", "violation"]);
  });
});

/** Up to six operations on one key, with answers that may or may not fit together. */
function tinyHistory(random: Random): readonly Operation[] {
  return Array.from({ length: random.whole(2, 6) }, (_, each) => {
    const invokedAt = random.whole(0, 10);
    const at = [invokedAt, invokedAt + random.whole(1, 6)] as const;
    const value = `${random.whole(1, 2)}`;
    const number = random.whole(1, 3);
    if (random.chance(0.4)) return read("k", at, number, random.chance(0.2) ? {} : { k: [value, random.whole(1, number)] });
    const condition = random.pick([{}, {}, { condition: { kind: "absent" } }, { condition: { kind: "value", value: "1" } }]);
    const answer = random.pick([number, number, REFUSED]);
    return random.chance(0.2)
      ? put("k", value, [invokedAt, null], NO_ANSWER, condition)
      : { ...put("k", value, at, answer, condition), who: `${each}` };
  });
}

/** Slow and obvious; knows nothing of sessions. */
function someOrderExplains(specification: StoreSpecification, operations: readonly Operation[]): boolean {
  const explains = (state: StoreSpecification["initial"], left: readonly Operation[]): boolean => {
    if (left.every((operation) => operation.answeredAt === null)) return true;
    return left.some((operation) => {
      const others = left.filter((other) => other !== operation);
      if (others.some((other) => other.answeredAt !== null && other.answeredAt < operation.invokedAt)) return false;
      return specification.step(state, operation).some((next) => explains(next, others));
    });
  };
  return explains(specification.initial, operations);
}

describe("the check by witness", () => {
  const entry = (index: number, client: string, sequence: number, command: Command): LogEntry => ({
    index: logIndex(index),
    term: term(1),
    kind: "command",
    time: index,
    payload: encodeEnvelope({ client: client === "" ? null : client, sequence, acknowledged: 0, command }),
  });
  const opened = entry(1, "", 0, { kind: "open-client", id: "c" });
  const one = { ...put("k", "1", [10, 20], 1), identity: { client: "c@1", sequence: 1 } };
  const two = { ...put("k", "2", [30, 40], 2), identity: { client: "c@1", sequence: 2 } };
  const log = [opened, entry(2, "c@1", 1, one.command), entry(3, "c@1", 2, two.command)];
  const at = (index: number, operation: QueryOperation): QueryOperation => ({ ...operation, index: logIndex(index) });

  test("passes what the log bears out, also a repeated entry and one that got no answer", () => {
    const again = [...log, entry(4, "c@1", 1, one.command)];
    const reads = [at(2, read("k", [21, 22], 1, { k: ["1", 1] })), at(4, read("k", [50, 51], 2, { k: ["2", 2] }))];
    expect(checkWitnessed({ log: again, operations: [one, two, ...reads] })).toEqual([]);
    expect(checkWitnessed({ log, operations: [one, { ...two, answer: null, answeredAt: null }] })).toEqual([]);
  });

  const faults: readonly [string, readonly LogEntry[], readonly Operation[], string][] = [
    ["a lost update", log.slice(0, 2), [one, two], "a lost update"],
    ["a stale read", log, [one, two, at(2, read("k", [50, 51], 1, { k: ["1", 1] }))], "before what was answered"],
    ["a read of what never was", log, [one, two, at(3, read("k", [50, 51], 2, { k: ["1", 1] }))], "read otherwise"],
    ["a read at an index beyond the log", log, [at(9, read("k", [50, 51], 2, { k: ["2", 2] }))], "not in the log"],
    ["two commands in the wrong order", log, [{ ...one, invokedAt: 50, answeredAt: 60 }, two], "before what was answered"],
    [
      "an effect before the question, of a command without an answer",
      log,
      [{ ...one, invokedAt: 50, answeredAt: null, answer: null }, two],
      "before what was",
    ],
    ["another answer than the log gives", log, [one, { ...two, answer: REFUSED }], "answered otherwise"],
    ["another command than was asked for", log, [{ ...one, command: two.command }], "another command"],
    [
      "a refusal of what was applied",
      log,
      [{ ...one, answer: { ok: false, error: { kind: "unavailable", reason: "no" } } }],
      "told that it was not",
    ],
  ];
  for (const [title, faulty, operations, report] of faults) {
    test(`finds ${title}`, () => {
      const violations = checkWitnessed({ log: faulty, operations });
      expect(violations).toHaveLength(1);
      expect(violations[0]).toContain(report);
    });
  }

  test("a stale read that promised nothing may be old, but not wrong", () => {
    const stale = (operation: QueryOperation): QueryOperation => ({
      ...operation,
      query: { kind: "snapshot", prefix: "k", consistency: "stale" },
    });
    expect(checkWitnessed({ log, operations: [one, two, stale(at(2, read("k", [50, 51], 1, { k: ["1", 1] })))] })).toEqual([]);
    expect(checkWitnessed({ log, operations: [one, two, stale(at(2, read("k", [50, 51], 1, { k: ["2", 1] })))] })).toHaveLength(1);
  });

  test("does not take a log with a gap", () => {
    expect(() => checkWitnessed({ log: [opened, log[2] as LogEntry], operations: [] })).toThrow("gap");
  });
});
