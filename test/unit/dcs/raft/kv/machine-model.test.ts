// Owns the comparison of the machine with the slow model under random logs, with bounds so small that all of them are met.
// Beside each run goes a second member that is restored from snapshots: it has to be equal throughout.

import { describe, expect, test } from "bun:test";
import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "../../../../../lib/dcs/raft/kv/bounds.ts";
import type { Command, Envelope, RaftChange, RaftCondition } from "../../../../../lib/dcs/raft/kv/command.ts";
import { encodeEnvelope } from "../../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../../lib/dcs/raft/kv/machine.ts";
import { logIndex } from "../../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";
import { fc } from "../../../../harness/properties.ts";
import { Model } from "../../../../raft/kv-model.ts";

const RUNS = 150;
/** What its runs have to meet is checked, so they are always the same ones; others are drawn beside them. */
const FIXED_SEED = 7;
const SMALL: KeyValueBounds = {
  ...KEY_VALUE_BOUNDS,
  changesMax: 4,
  valueBytesMax: 12,
  keyBytesMax: 8,
  keysMax: 4,
  textMax: 40,
  sessionsMax: 2,
  nameMax: 4,
  sessionTtlMinMs: 50,
  sessionTtlMaxMs: 400,
  clientsMax: 3,
  clientIdleMs: 500,
  answersMax: 3,
  allAnswersMax: 5,
  historyMax: 6,
  expiriesMax: 1,
};

const KEYS = ["a", "a/b", "a/c", "b", "ab", "ü"] as const;
const BAD_KEYS = ["", "too long a key", "€€€"] as const;
const VALUES = ["", "1", "2", "ßßß", "eleven char", "twelve chars"] as const;
const BAD_VALUES = ["over twelve chars", "€€€€€"] as const;
const SESSIONS = ["s1", "s2", "s3"] as const;
const BAD_SESSIONS = ["", "long id"] as const;
const PREFIXES = ["", "a", "a/", "b", "ü", "none"] as const;

/** One step of a run; numbers choose among what there is by then. */
type Step =
  | { readonly kind: "own"; readonly command: Command; readonly after: number }
  | {
      readonly kind: "client";
      /** From the newest registration backwards. */
      readonly who: number;
      /** 0 = the next sequence; else one of before, or a later one out of order. */
      readonly sequence: number;
      readonly acknowledge: number;
      readonly command: Command;
      readonly after: number;
    }
  | { readonly kind: "noop"; readonly after: number }
  | { readonly kind: "expire"; readonly after: number }
  | { readonly kind: "restore" };

/** Mostly what may succeed: of many refusals nothing is learned. */
function mostly(good: readonly string[], bad: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...good) }, { weight: 1, arbitrary: fc.constantFrom(...bad) });
}

const key = mostly(KEYS, BAD_KEYS);
const sessionId = mostly(SESSIONS, BAD_SESSIONS);
const condition: fc.Arbitrary<RaftCondition> = fc.oneof(
  fc.constant<RaftCondition>({ kind: "none" }),
  fc.constant<RaftCondition>({ kind: "absent" }),
  fc.integer({ min: 0, max: 12 }).map((n): RaftCondition => ({ kind: "revision", revision: revision(n) })),
  fc.constantFrom(...VALUES).map((value): RaftCondition => ({ kind: "value", value })),
);
const put = fc.tuple(key, mostly(VALUES, BAD_VALUES), fc.option(condition, { freq: 2 }), fc.option(sessionId, { freq: 2 })).map(
  ([key, value, when, session]): RaftChange => ({
    kind: "put",
    key,
    value,
    ...(when === null ? {} : { condition: when }),
    ...(session === null ? {} : { session }),
  }),
);
const change: fc.Arbitrary<RaftChange> = fc.oneof(
  { weight: 4, arbitrary: put },
  {
    weight: 1,
    arbitrary: fc
      .tuple(key, fc.option(condition, { freq: 2 }))
      .map(([key, when]): RaftChange => ({ kind: "delete", key, ...(when === null ? {} : { condition: when }) })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(key, sessionId).map(([key, session]): RaftChange => ({ kind: "check-owner", key, session })),
  },
);
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.array(change, { minLength: 0, maxLength: 5 }).map((changes): Command => ({ kind: "change", changes })),
  },
  { weight: 8, arbitrary: change.map((each): Command => ({ kind: "change", changes: [each] })) },
  { weight: 1, arbitrary: fc.constantFrom(...PREFIXES).map((prefix): Command => ({ kind: "delete-prefix", prefix })) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(sessionId, fc.constantFrom("n", "n", "n", "m"), fc.constantFrom(1, 100, 300, 1_000), fc.constantFrom(null, "p"))
      .map(([id, name, ttl, place]): Command => ({ kind: "open-session", id, name, ttl: ms(ttl), place })),
  },
  { weight: 2, arbitrary: sessionId.map((id): Command => ({ kind: "renew-session", id })) },
  { weight: 3, arbitrary: sessionId.map((id): Command => ({ kind: "close-session", id })) },
);
const expiry = fc
  .tuple(sessionId, fc.integer({ min: 0, max: 4 }))
  .map(([id, renewal]): Command => ({ kind: "expire-session", id, renewal }));
const openClient = fc.constantFrom("c", "d", "", "long id").map((id): Command => ({ kind: "open-client", id }));
const after = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 30 }) },
  { weight: 1, arbitrary: fc.integer({ min: 100, max: 600 }) },
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("client" as const),
      who: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(20) }),
      sequence: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: -3, max: 3 }) }),
      acknowledge: fc.integer({ min: 0, max: 4 }),
      command: fc.oneof({ weight: 30, arbitrary: command }, { weight: 1, arbitrary: fc.oneof(openClient, expiry) }),
      after,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("own" as const), command: fc.oneof(openClient, openClient, expiry, command), after }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("noop" as const), after }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("expire" as const), after }) },
  { weight: 2, arbitrary: fc.constant<Step>({ kind: "restore" }) },
);

/** What the runs have to meet, or they prove little. */
const OUTCOMES = [
  "change condition-failed",
  "change done",
  "change session-gone",
  "change unknown-client",
  "close-session done",
  "compacted",
  "delete-prefix done",
  "expire-session condition-failed",
  "expire-session done",
  "keys ended with their session, which was restored with them",
  "open-client done",
  "open-session done",
  "open-session unknown-client",
  "rejected: a client's id has 1 to 4 characters",
  "rejected: a key is at most 8 bytes",
  "rejected: a key is not empty",
  "rejected: a session's id, name and place are at most 4 characters",
  "rejected: a value is at most 12 bytes",
  "rejected: another session has this id",
  "rejected: more than 2 sessions",
  "rejected: more than 4 changes in one transaction",
  "rejected: more than 4 keys",
  "rejected: more than 40 characters of keys and values",
  "rejected: not a client's command",
  "rejected: the command names no client",
  "renew-session done",
  "renew-session session-gone",
  "repeated",
  "unavailable: 3 answers of this client wait to be acknowledged",
];

class Run {
  readonly #outcomes: Set<string>;
  readonly #model = new Model(SMALL);
  readonly #machine = new KeyValueMachine(SMALL);
  /** Restored again and again. */
  #second = new KeyValueMachine(SMALL);
  /** Ids that were ever given; some are forgotten by now. */
  readonly #clients: { readonly id: string; next: number }[] = [{ id: "never@0", next: 1 }];
  /** Sessions that owned keys at the last restore. */
  #restoredOwners: readonly string[] = [];
  #time = 0;
  /** What each (client, sequence) was answered when it was applied. */
  readonly #first = new Map<string, unknown>();

  constructor(outcomes: Set<string>) {
    this.#outcomes = outcomes;
  }

  step(step: Step): void {
    if (step.kind === "restore") {
      this.#restore();
      return;
    }
    this.#time += step.after;
    switch (step.kind) {
      case "noop":
        this.#model.advance(this.#time);
        for (const machine of [this.#machine, this.#second]) machine.noop(logIndex(this.#model.index), this.#time);
        break;
      case "own":
        this.#apply({ client: null, sequence: 0, acknowledged: 0, command: step.command });
        break;
      case "expire":
        for (const due of this.#machine.dueExpiries(this.#time)) this.#apply({ client: null, sequence: 0, acknowledged: 0, command: due });
        break;
      case "client": {
        const client = this.#clients.at(-1 - (step.who % this.#clients.length)) as { readonly id: string; next: number };
        const sequence = Math.max(1, client.next + step.sequence);
        if (sequence >= client.next) client.next = sequence + 1;
        this.#apply({ client: client.id, sequence, acknowledged: Math.max(0, sequence - 1 - step.acknowledge), command: step.command });
        break;
      }
    }
    this.#compare();
  }

  #apply(envelope: Envelope): void {
    const payload = encodeEnvelope(envelope);
    const before = this.#machine.revision;
    const wanted = this.#model.apply(envelope, this.#time);
    const entry = { index: logIndex(this.#model.index), time: this.#time, payload };
    const answer = this.#machine.apply(entry);
    expect(answer).toEqual(wanted);
    expect(this.#second.apply(entry)).toEqual(wanted);
    this.#outcomes.add(
      answer.ok
        ? `${envelope.command.kind} done`
        : "reason" in answer.error
          ? `${answer.error.kind}: ${answer.error.reason}`
          : `${envelope.command.kind} ${answer.error.kind}`,
    );
    if (answer.ok && answer.value.kind === "client") this.#clients.push({ id: answer.value.id, next: 1 });
    const { command: given } = envelope;
    const ended = given.kind === "close-session" || given.kind === "expire-session" ? given.id : null;
    if (ended !== null && this.#machine.revision !== before && this.#restoredOwners.includes(ended)) {
      this.#outcomes.add("keys ended with their session, which was restored with them");
    }
    if (envelope.client === null) return;
    const name = `${envelope.client}/${envelope.sequence}`;
    const again = this.#first.get(name);
    if (again !== undefined) {
      // Applied once already: the same answer or none, and nothing has changed.
      expect(this.#machine.revision).toBe(before);
      if (answer.ok) {
        expect(answer).toEqual(again as typeof answer);
        this.#outcomes.add("repeated");
      }
    } else if (this.#model.applied.at(-1) === name) this.#first.set(name, answer);
  }

  #restore(): void {
    const bytes = this.#machine.snapshot();
    expect(Buffer.compare(bytes, this.#second.snapshot())).toBe(0);
    const restored = KeyValueMachine.restore(bytes, SMALL);
    if (!restored.ok) throw new Error(restored.error);
    this.#second = restored.value;
    this.#restoredOwners = this.#model.entries.flatMap((entry) => entry.session ?? []);
    this.#compare();
  }

  #compare(): void {
    const model = this.#model;
    for (const machine of [this.#machine, this.#second]) {
      expect(machine.appliedIndex as number).toBe(model.index);
      expect(machine.time).toBe(model.time);
      for (const prefix of PREFIXES) {
        const wanted = { entries: model.below(prefix), revision: revision(model.revision) };
        expect(machine.query({ kind: "snapshot", prefix, consistency: "stale" })).toEqual({
          ok: true,
          value: { kind: "snapshot", snapshot: wanted },
        });
        for (let back = 0; back < 12; back++) {
          const since = revision(Math.max(0, model.revision - back));
          const answer = machine.changedSince(prefix, since);
          expect([prefix, since, answer]).toEqual([prefix, since, model.changedSince(prefix, since)]);
          if (answer === "compacted") this.#outcomes.add(answer);
        }
      }
      const deadlines = model.sessions.map((session) => model.deadlineOf(session));
      expect(machine.nextExpiryAt).toBe(deadlines.length === 0 ? null : Math.min(...deadlines));
      expect(machine.counts).toEqual({
        keys: model.entries.length,
        sessions: model.sessions.length,
        clients: model.clients.length,
        watches: 0,
      });
    }
    expect(this.#second.digest()).toBe(this.#machine.digest());
  }
}

describe("the machine and the model", () => {
  test("give the same answers and the same state after every entry, also after any restore", () => {
    const outcomes = new Set<string>();
    const property = fc.property(fc.array(step, { minLength: 1, maxLength: 100, size: "max" }), (those) => {
      const run = new Run(outcomes);
      // Somebody has to be there from the beginning, or most steps would be refused.
      run.step({ kind: "own", command: { kind: "open-client", id: "c" }, after: 0 });
      for (const each of those) run.step(each);
    });
    fc.assert(property, { numRuns: RUNS, seed: FIXED_SEED });
    expect(OUTCOMES.filter((outcome) => !outcomes.has(outcome))).toEqual([]);
    fc.assert(property, { numRuns: RUNS });
  });
});
