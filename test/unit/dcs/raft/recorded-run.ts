// Owns small runs of a few clients against one real machine, with concurrency, retries, lost answers and sessions that end, and
// the faults that the checkers have to find. There is no Raft here: a fault is planted right where clients would feel it.

import type { LogEntry } from "../../../../lib/dcs/raft/core/types.ts";
import type { Command, CommandAnswer, Envelope, Query, RaftChange } from "../../../../lib/dcs/raft/kv/command.ts";
import { encodeEnvelope } from "../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../lib/dcs/raft/kv/machine.ts";
import { logIndex, term } from "../../../../lib/model/raft.ts";
import { ms, type Revision, revision } from "../../../../lib/model/units.ts";
import type { CommandOperation, Operation } from "../../../raft/history.ts";
import { Random } from "../../../simulation/random.ts";

/**
 * - `stale-read`: some reads are answered from an older state, honestly with its index; `lying-read`: with the newest index.
 * - `lost-update`: what was applied and answered last is taken back. - `double-application`: a retry is applied once more.
 * - `early-expiry`: sessions end at half their time. - `false-refusal`: a client is told that nothing was applied.
 */
export type Plant = "none" | "stale-read" | "lying-read" | "lost-update" | "double-application" | "early-expiry" | "false-refusal";

export interface RecordedRun {
  readonly log: readonly LogEntry[];
  readonly operations: readonly Operation[];
}

const CLIENTS = 3;
const OPERATIONS_EACH = 9;
const TTL_MS = 100;
const KEYS = ["a", "b"] as const;

export function recordRun(seed: number, plant: Plant): RecordedRun {
  const run = new Run(new Random(seed), plant);
  return run.record();
}

class Run {
  readonly #random: Random;
  readonly #plant: Plant;
  readonly #log: LogEntry[] = [];
  readonly #operations: Operation[] = [];
  readonly #events: { readonly at: number; readonly order: number; readonly act: () => void }[] = [];
  #machine = new KeyValueMachine();
  /** States of before, for the plants. */
  readonly #past: Uint8Array[] = [];
  #now = 0;
  #count = 0;

  constructor(random: Random, plant: Plant) {
    this.#random = random;
    this.#plant = plant;
  }

  record(): RecordedRun {
    for (let each = 0; each < CLIENTS; each++) {
      const answer = this.#apply({ client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id: `c${each}` } });
      if (!answer.ok || answer.value.kind !== "client") throw new Error("no client was registered");
      new Client(this, this.#random, `c${each}`, answer.value.id).go(OPERATIONS_EACH);
    }
    this.after(5, () => this.#expire());
    for (let event = this.#next(); event !== undefined; event = this.#next()) {
      this.#now = event.at;
      event.act();
    }
    return { log: this.#log, operations: this.#operations };
  }

  get now(): number {
    return this.#now;
  }

  get plant(): Plant {
    return this.#plant;
  }

  after(delayMs: number, act: () => void): void {
    this.#events.push({ at: this.#now + delayMs, order: this.#count++, act });
  }

  note(operation: Operation): void {
    this.#operations.push(operation);
  }

  unique(): string {
    return `v${this.#count++}`;
  }

  /** `again`: an earlier attempt may have come this far. */
  attempt(envelope: Envelope, again: boolean): CommandAnswer {
    const answer = this.#apply(envelope, again && this.#plant === "double-application");
    if (this.#plant === "lost-update" && answer.ok && this.#random.chance(0.1)) {
      // The last entry is answered, and is not there any more afterwards.
      this.#log.pop();
      this.#machine = restored(this.#past.at(-1) as Uint8Array);
    }
    return answer;
  }

  query(query: Query, who: string, invokedAt: number, answeredAt: number): void {
    const planted = (this.#plant === "stale-read" || this.#plant === "lying-read") && this.#random.chance(0.5);
    const machine = planted ? restored(this.#past.at(-1 - this.#random.whole(0, 4)) ?? (this.#past[0] as Uint8Array)) : this.#machine;
    const answer = machine.query(query);
    if (!answer.ok) throw new Error(answer.error.kind);
    const index = this.#plant === "lying-read" ? this.#machine.appliedIndex : machine.appliedIndex;
    this.note({ kind: "query", who, invokedAt, answeredAt, query, value: answer.value, index });
  }

  #apply(envelope: Envelope, double = false): CommandAnswer {
    this.#past.push(this.#machine.snapshot());
    const payload = encodeEnvelope(envelope);
    const index = logIndex(this.#machine.appliedIndex + 1);
    this.#log.push({ index, term: term(1), kind: "command", time: this.#now, payload });
    // Under another sequence the machine does not know it again.
    const applied = double ? encodeEnvelope({ ...envelope, sequence: envelope.sequence + 1_000_000 }) : payload;
    return this.#machine.apply({ index, time: this.#now, payload: applied });
  }

  #expire(): void {
    const early = this.#plant === "early-expiry" ? TTL_MS / 2 : 0;
    for (const due of this.#machine.dueExpiries(this.#now + early)) {
      const now = this.#now;
      this.#now += early;
      this.#apply({ client: null, sequence: 0, acknowledged: 0, command: due });
      this.#now = now;
    }
    if (this.#events.length > 0) this.after(5, () => this.#expire());
  }

  #next() {
    this.#events.sort((a, b) => a.at - b.at || a.order - b.order);
    return this.#events.shift();
  }
}

/** One thing after the other. */
class Client {
  readonly #run: Run;
  readonly #random: Random;
  readonly #who: string;
  readonly #id: string;
  #sequence = 0;
  #acknowledged = 0;
  #sessions = 0;
  #session: string | null = null;
  readonly #seen = new Map<string, Revision>();

  constructor(run: Run, random: Random, who: string, id: string) {
    this.#run = run;
    this.#random = random;
    this.#who = who;
    this.#id = id;
  }

  go(left: number): void {
    if (left === 0) return;
    const next = (): void => this.go(left - 1);
    this.#run.after(this.#random.between(0, 12), () => (this.#random.chance(0.35) ? this.#read(next) : this.#write(next)));
  }

  #read(next: () => void): void {
    const invokedAt = this.#run.now;
    const way = this.#random.between(0.1, 8);
    const session = this.#session;
    const query: Query =
      session !== null && this.#random.chance(0.3)
        ? { kind: "session-info", id: session }
        : { kind: "snapshot", prefix: this.#random.pick(["", ...KEYS]), consistency: "linearizable" };
    this.#run.after(way, () => {
      this.#run.query(query, this.#who, invokedAt, this.#run.now + way);
      this.#run.after(way, next);
    });
  }

  #write(next: () => void): void {
    const command = this.#command();
    const invokedAt = this.#run.now;
    const sequence = ++this.#sequence;
    const envelope: Envelope = { client: this.#id, sequence, acknowledged: this.#acknowledged, command };
    const operation: CommandOperation = {
      kind: "command",
      who: this.#who,
      invokedAt,
      answeredAt: null,
      command,
      answer: null,
      identity: { client: this.#id, sequence },
    };
    const attempts = this.#random.pick([0, 1, 1, 1, 2]);
    let first: CommandAnswer | null = null;
    let last = 0;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const way = this.#random.between(0.1, 6) + last;
      last = way;
      this.#run.after(way, () => {
        first = this.#run.attempt(envelope, attempt > 0);
      });
    }
    this.#run.after(last + this.#random.between(0.1, 4), () => {
      const lost = first === null || this.#random.chance(0.15);
      const refused = this.#run.plant === "false-refusal" && first?.ok === true && this.#random.chance(0.2);
      const told: CommandAnswer | null = refused ? { ok: false, error: { kind: "unavailable", reason: "no" } } : lost ? null : first;
      this.#run.note({ ...operation, answeredAt: told === null ? null : this.#run.now, answer: told });
      if (told !== null) this.#learn(command, told);
      this.#acknowledged = sequence;
      next();
    });
  }

  #command(): Command {
    const key = this.#random.pick(KEYS);
    const value = this.#run.unique();
    if (this.#session === null && this.#random.chance(0.3)) {
      this.#session = `${this.#who}-s${this.#sessions++}`;
      return { kind: "open-session", id: this.#session, name: "n", ttl: ms(TTL_MS), place: null };
    }
    const session = this.#session ?? "none";
    const seen = this.#seen.get(key) ?? revision(1);
    const change = this.#random.pick<RaftChange>([
      { kind: "put", key, value },
      { kind: "put", key, value },
      { kind: "put", key, value, condition: { kind: "absent" } },
      { kind: "put", key, value, condition: { kind: "revision", revision: seen } },
      { kind: "put", key: `lock-${key}`, value, session },
      { kind: "delete", key },
    ]);
    return this.#random.pick<Command>([
      { kind: "change", changes: [change] },
      { kind: "change", changes: [change] },
      { kind: "change", changes: [change] },
      { kind: "change", changes: [change, { kind: "put", key: this.#random.pick(KEYS), value }] },
      { kind: "renew-session", id: session },
      { kind: "close-session", id: session },
    ]);
  }

  #learn(command: Command, answer: CommandAnswer): void {
    if (command.kind === "close-session" || (!answer.ok && answer.error.kind === "session-gone")) this.#session = null;
    if (command.kind !== "change" || !answer.ok || answer.value.kind !== "revisions") return;
    for (const [at, { key }] of command.changes.entries()) this.#seen.set(key, answer.value.revisions[at] as Revision);
  }
}

function restored(bytes: Uint8Array): KeyValueMachine {
  const machine = KeyValueMachine.restore(bytes);
  if (!machine.ok) throw new Error(machine.error);
  return machine.value;
}
