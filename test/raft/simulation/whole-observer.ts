// Owns what is seen of whole members from outside of them: every output of every core and every entry that a machine applies.
// It watches the classes themselves, so the members run as they do in production, and judges without changing anything.

import { Raft } from "../../../lib/dcs/raft/core/raft.ts";
import type { LogEntry, Message, Output, RaftEvent } from "../../../lib/dcs/raft/core/types.ts";
import { ChangeHistory } from "../../../lib/dcs/raft/kv/change-history.ts";
import { type CommandEntry, KeyValueMachine } from "../../../lib/dcs/raft/kv/machine.ts";
import type { MemberId } from "../../../lib/model/raft.ts";
import type { Revision } from "../../../lib/model/units.ts";
import { sameEntry } from "./ledger.ts";
import { type Trace, Violation } from "./trace.ts";
import { WatchChecks } from "./watch-checks.ts";

/** A digest walks over the state: not after each entry. */
const DIGEST_EVERY = 8;

export class WholeObserver {
  /** Every committed entry, from index 1 on. */
  readonly log: LogEntry[] = [];
  /** When the first member was told that it is committed, in true time; at the entry's place. */
  readonly committedAt: number[] = [];
  violation: Violation | null = null;
  readonly #trace: Trace;
  readonly #now: () => number;
  readonly #leaders = new Map<number, string>();
  readonly #watches: WatchChecks;
  readonly #digests = new Map<number, number>();
  readonly #terms = new WeakMap<Raft, number>();
  readonly #ids = new WeakMap<Raft, MemberId>();
  /** By member, over all its lives: the term that it last spoke in, and its votes. */
  readonly #said = new Map<MemberId, { term: number; readonly votes: Map<number, MemberId> }>();

  /** `historyMax`: of the machines that are watched. `now`: true time. */
  constructor(options: { readonly trace: Trace; readonly historyMax: number; readonly now: () => number }) {
    this.#trace = options.trace;
    this.#now = options.now;
    this.#watches = new WatchChecks(options.historyMax);
  }

  /** Watches while `run` runs. */
  watch<T>(run: () => T): T {
    const step = Raft.prototype.step;
    const apply = KeyValueMachine.prototype.apply;
    const observer = this;
    Raft.prototype.step = function (this: Raft, now: number, events: readonly RaftEvent[]): Output {
      observer.#judge(() => observer.#starts(this));
      const output = step.call(this, now, events);
      observer.#trace.events += events.length;
      observer.#judge(() => observer.#stepped(this, output));
      return output;
    };
    KeyValueMachine.prototype.apply = function (this: KeyValueMachine, entry: CommandEntry) {
      const answer = apply.call(this, entry);
      observer.#judge(() => observer.#applied(this));
      observer.#judge(() => observer.#watches.applied(this));
      return answer;
    };
    const unwatch = this.#watchWatches();
    try {
      return run();
    } finally {
      Raft.prototype.step = step;
      KeyValueMachine.prototype.apply = apply;
      unwatch();
    }
  }

  #watchWatches(): () => void {
    const { restoreInto, subscribe } = KeyValueMachine.prototype;
    const { push } = ChangeHistory.prototype;
    const observer = this;
    KeyValueMachine.prototype.restoreInto = function (this: KeyValueMachine, bytes: Uint8Array) {
      const restored = restoreInto.call(this, bytes);
      observer.#judge(() => observer.#watches.applied(this));
      return restored;
    };
    KeyValueMachine.prototype.subscribe = function (this: KeyValueMachine, prefix: string, after: Revision, wake: () => void) {
      let over = (): void => undefined;
      observer.#judge(() => {
        over = observer.#watches.begins(this, prefix, after);
      });
      const cancel = subscribe.call(this, prefix, after, () => {
        over();
        observer.#judge(() => observer.#watches.woken(this, prefix, after));
        wake();
      });
      if (cancel === null) over();
      return cancel === null
        ? null
        : () => {
            over();
            cancel();
          };
    };
    ChangeHistory.prototype.push = function (this: ChangeHistory, key: string, at: number) {
      observer.#watches.changed(key, at);
      push.call(this, key, at);
    };
    return () => {
      KeyValueMachine.prototype.restoreInto = restoreInto;
      KeyValueMachine.prototype.subscribe = subscribe;
      ChangeHistory.prototype.push = push;
    };
  }

  /** A violation must not be swallowed by the member that it happens in. */
  #judge(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.violation ??= error;
    }
  }

  /** Before the first step of a member that is started: what it said in earlier lives binds it. */
  #starts(raft: Raft): void {
    if (this.#ids.has(raft)) return;
    const { id, term, votedFor } = raft.status();
    this.#ids.set(raft, id);
    const said = this.#said.get(id);
    if (said === undefined) this.#said.set(id, { term: 0, votes: new Map() });
    else if (term < said.term) throw new Violation(`${id} starts in term ${term} after it spoke in term ${said.term}`);
    else if (said.votes.has(term) && said.votes.get(term) !== votedFor)
      throw new Violation(`${id} starts with a vote for ${votedFor ?? "nobody"} in term ${term}; it has voted for ${said.votes.get(term)}`);
  }

  #speaks(id: MemberId, to: MemberId, message: Message): void {
    const said = this.#said.get(id);
    if (said === undefined) throw new Error(`${id} speaks before it was started`);
    if (message.kind === "vote-request" ? message.purpose === "pre" : message.kind === "vote-answer" && message.purpose === "pre") return;
    if (message.term < said.term) throw new Violation(`${id} speaks in term ${message.term} after it spoke in term ${said.term}`);
    said.term = message.term;
    const candidate = message.kind === "vote-request" ? id : message.kind === "vote-answer" && message.verdict === "granted" ? to : null;
    if (candidate === null) return;
    const before = said.votes.get(message.term);
    if (before !== undefined && before !== candidate)
      throw new Violation(`${id} votes in term ${message.term} for ${before} and ${candidate}`);
    said.votes.set(message.term, candidate);
  }

  #stepped(raft: Raft, output: Output): void {
    const { role, messages } = output;
    if (messages.length > 0) {
      const id = this.#ids.get(raft) as MemberId;
      for (const { to, message } of messages) this.#speaks(id, to, message);
    }
    if (role !== null) {
      if (role.term < (this.#terms.get(raft) ?? 0)) throw new Violation(`a term goes back to ${role.term}`);
      this.#terms.set(raft, role.term);
      this.#trace.mix(role.term);
      if (role.role === "leader") {
        const known = this.#leaders.get(role.term);
        if (known !== undefined && known !== role.leader)
          throw new Violation(`two leaders in term ${role.term}: ${known} and ${role.leader}`);
        this.#leaders.set(role.term, role.leader as string);
      }
    }
    for (const entry of output.committed) this.#committed(entry);
  }

  #committed(entry: LogEntry): void {
    const known = this.log[entry.index - 1];
    this.#trace.mix(entry.index ^ (entry.term << 16));
    if (known !== undefined) {
      if (!sameEntry(known, entry)) throw new Violation(`committed entry ${entry.index} changes: term ${known.term}, then ${entry.term}`);
      return;
    }
    if (entry.index !== this.log.length + 1) throw new Violation(`${entry.index} is committed while ${this.log.length} is the last known`);
    const before = this.log.at(-1);
    if (before !== undefined && entry.time < before.time) throw new Violation(`cluster time goes back at ${entry.index}`);
    this.log.push(entry);
    this.committedAt.push(this.#now());
  }

  #applied(machine: KeyValueMachine): void {
    const index = machine.appliedIndex;
    if (index % DIGEST_EVERY !== 0) return;
    const digest = machine.digest();
    const known = this.#digests.get(index);
    if (known !== undefined && known !== digest) throw new Violation(`two members have another state at ${index}`);
    this.#digests.set(index, digest);
  }
}
