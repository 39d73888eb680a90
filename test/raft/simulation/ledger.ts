// Owns the truth about one simulated cluster, as no member can see it, and the invariants that are checked against it after
// every event: who led which term, which entry was created where and when, what is committed. Knows nothing of the core's
// inside: it judges by what leaves it.

import { decodeConfiguration } from "../../../lib/dcs/raft/core/configuration.ts";
import type { Configuration, LogEntry } from "../../../lib/dcs/raft/core/types.ts";
import type { MemberId, RaftMember } from "../../../lib/model/raft.ts";
import { Violation } from "./trace.ts";

/** What a member's disk is known to hold; asked by the durability check. */
export interface Durable {
  /** Whether the disk of the member holds the entry of that index and term, or a snapshot that covers it. */
  holds(id: MemberId, index: number, term: number): boolean;
}

/** Of the entry before one. */
type Previous = Pick<LogEntry, "time"> & { readonly term: number };

interface Known {
  readonly entry: LogEntry;
  readonly previousTerm: number;
  /** Real time at which the leader created it. */
  readonly createdAt: number;
}

/** Rounding of cluster time to the clocks' fractions. */
const TIME_TOLERANCE_MS = 0.01;

export class Ledger {
  readonly #durable: Durable;
  /** How much faster than real time the fastest clock runs. */
  readonly #fastestRate: number;
  readonly #leaders = new Map<number, string>();
  /** By index, one for each term that ever wrote there. */
  readonly #known: Known[][] = [];
  readonly #committed: LogEntry[] = [];
  readonly #commands = new Set<number>();
  readonly #hashes: number[] = [0];
  /** In force at the committed end; `index` brought it. */
  configuration: Configuration;
  configurationIndex = 0;
  #counting: Configuration;

  constructor(options: { readonly durable: Durable; readonly fastestRate: number; readonly founding: Configuration }) {
    this.#durable = options.durable;
    this.#fastestRate = options.fastestRate;
    this.configuration = options.founding;
    this.#counting = options.founding;
  }

  /** Index of the last committed entry that anybody knows of. */
  get committed(): number {
    return this.#committed.length;
  }

  /** The state's hash after the index; the index is committed. */
  hashAt(index: number): number {
    return this.#hashes[index] as number;
  }

  committedEntry(index: number): LogEntry | null {
    return this.#committed[index - 1] ?? null;
  }

  leaderOf(term: number): string | null {
    return this.#leaders.get(term) ?? null;
  }

  /** A member says that it leads the term. `termAt` reads its log. */
  leads(name: string, term: number, termAt: (index: number) => number | null): void {
    const known = this.#leaders.get(term);
    if (known === name) return;
    if (known !== undefined) throw new Violation(`two leaders in term ${term}: ${known} and ${name}`);
    this.#leaders.set(term, name);
    // Leader completeness: by log matching the last one speaks for all before it; a few more are cheap.
    let left = COMPLETENESS_LOOKBACK;
    for (let index = this.committed; index > 0 && left > 0; index--) {
      const entry = this.#committed[index - 1] as LogEntry;
      // Votes that were long under way elect a leader of a term that is over: it owes nothing to later ones.
      if (entry.term > term) continue;
      left -= 1;
      const found = termAt(index);
      if (found === COVERED) break;
      if (found !== entry.term)
        throw new Violation(
          `${name} leads term ${term} without committed entry ${index} of term ${entry.term} (it has ${found ?? "none"})`,
        );
    }
  }

  /** A member appends the entry to its log, behind the given one: an entry, or what is known of it. */
  appended(name: string, entry: LogEntry, previous: Previous, now: number): void {
    const terms = this.#known[entry.index] ?? [];
    if (terms.length === 0) this.#known[entry.index] = terms;
    for (const known of terms) {
      if (known.entry.term !== entry.term) continue;
      if (!sameEntry(known.entry, entry)) throw new Violation(`${name} has another entry ${entry.index} of term ${entry.term} than others`);
      if (known.previousTerm !== previous.term)
        throw new Violation(
          `log matching: entry ${entry.index} of term ${entry.term} stands behind term ${known.previousTerm} elsewhere, ${previous.term} on ${name}`,
        );
      return;
    }
    // Who created an entry led its term, also where it no longer does at the end of the same step.
    if (!this.#leaders.has(entry.term)) this.#leaders.set(entry.term, name);
    if (this.leaderOf(entry.term) !== name)
      throw new Violation(
        `${name} made up entry ${entry.index} of term ${entry.term}, which ${this.leaderOf(entry.term) ?? "nobody"} leads`,
      );
    if (previous.term > entry.term) throw new Violation(`${name} puts term ${entry.term} behind term ${previous.term} at ${entry.index}`);
    if (entry.time < previous.time) throw new Violation(`cluster time goes back at ${entry.index}: ${previous.time} to ${entry.time}`);
    this.#checkSpeed(name, entry, previous, now);
    terms.push({ entry, previousTerm: previous.term, createdAt: now });
  }

  /** Between two entries of a log no more cluster time has passed than real time on the fastest clock. */
  #checkSpeed(name: string, entry: LogEntry, previous: Previous, now: number): void {
    const before = (this.#known[entry.index - 1] ?? []).find((known) => known.entry.term === previous.term);
    const since = before?.createdAt ?? 0;
    const passed = entry.time - (before?.entry.time ?? 0);
    if (passed > (now - since) * this.#fastestRate + TIME_TOLERANCE_MS)
      throw new Violation(`${name}: cluster time runs ${passed} ms in ${now - since} ms of real time at ${entry.index}`);
  }

  /** A member says that the entry is committed. */
  commits(name: string, entry: LogEntry): void {
    const known = this.#committed[entry.index - 1];
    if (known !== undefined) {
      if (!sameEntry(known, entry))
        throw new Violation(`committed entry ${entry.index} changes: term ${known.term} before, term ${entry.term} on ${name}`);
      return;
    }
    if (entry.index !== this.committed + 1) throw new Violation(`${name} commits ${entry.index} while ${this.committed} is the last known`);
    this.#committed.push(entry);
    this.#hashes.push(stateHash(this.#hashes[entry.index - 1] as number, entry));
    if (entry.kind === "configuration") {
      this.configuration = decodeConfiguration(entry.payload);
      this.configurationIndex = entry.index;
    }
    if (entry.kind === "command") {
      const id = commandId(entry.payload);
      if (this.#commands.has(id)) throw new Violation(`command ${id} is committed twice, again at ${entry.index}`);
      this.#commands.add(id);
    }
  }

  /**
   * The last committed entry is durable on a majority (of both sets while joint) of the configuration that was in force where it was
   * counted: `counting` tells with each new commit which ones that may be (a step may count and then change it). An entry before a change's last step may count by the new set alone: from the
   * joint step on, which is committed, no election can do without a majority of the new set.
   */
  checkDurable(occasion: () => string, counting: readonly Configuration[] = [this.#counting]): void {
    const last = this.#committed.at(-1);
    if (last === undefined) return;
    const sound = counting.find(
      ({ voters, outgoing }) => this.#majority(voters, last) && (outgoing === null || this.#majority(outgoing, last)),
    );
    if (sound === undefined)
      throw new Violation(`committed entry ${last.index} of term ${last.term} is not durable on a majority (${occasion()})`);
    this.#counting = sound;
  }

  #majority(members: readonly RaftMember[], last: LogEntry): boolean {
    let holding = 0;
    for (const { id } of members) if (this.#durable.holds(id, last.index, last.term)) holding += 1;
    return 2 * holding > members.length;
  }
}

/** What `termAt` answers for an index that a snapshot covers. */
export const COVERED = -1;
const COMPLETENESS_LOOKBACK = 16;

export function sameEntry(a: LogEntry, b: LogEntry): boolean {
  if (a === b) return true;
  if (a.index !== b.index || a.term !== b.term || a.kind !== b.kind || a.time !== b.time) return false;
  if (a.payload === b.payload) return true;
  return a.payload.length === b.payload.length && a.payload.every((byte, index) => byte === b.payload[index]);
}

/** The stand-in for a state machine: its state is the hash of everything applied. */
export function stateHash(before: number, entry: LogEntry): number {
  let hash = Math.imul(before ^ entry.index, 0x85ebca6b) ^ entry.term;
  for (let index = 0; index < Math.min(entry.payload.length, 8); index++)
    hash = Math.imul(hash ^ (entry.payload[index] as number), 0x01000193);
  return (hash ^ (hash >>> 13)) | 0;
}

export function commandPayload(id: number): Uint8Array {
  const bytes = new Uint8Array(8);
  for (let index = 0, rest = id; index < 6; index++, rest = Math.floor(rest / 256)) bytes[index] = rest & 0xff;
  return bytes;
}

export function commandId(payload: Uint8Array): number {
  let id = 0;
  for (let index = 5; index >= 0; index--) id = id * 256 + (payload[index] as number);
  return id;
}
