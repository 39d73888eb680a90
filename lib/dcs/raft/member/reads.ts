// Owns linearizable reads on this member: a read index from the leader (asked of the own core, or over the link), then waiting
// until that much is applied here. All reads that gather while a follower's question is on its way share the next one.

import type { LogIndex } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import type { Deadlines } from "../deadlines.ts";
import type { Engine } from "./engine.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Leadership } from "./leadership.ts";

/** Why a read cannot be answered, in words. */
type ReadResult = Result<null, string>;

interface Batch {
  readonly index: Promise<LogIndex | null>;
}

export class Reads {
  readonly #engine: Engine;
  readonly #forwarder: Forwarder;
  readonly #leadership: Leadership;
  readonly #deadlines: Deadlines;
  /** On its way to the leader. */
  #asking: Batch | null = null;
  /** Gathers behind it. */
  #next: Batch | null = null;

  constructor(options: {
    readonly engine: Engine;
    readonly forwarder: Forwarder;
    readonly leadership: Leadership;
    readonly deadlines: Deadlines;
  }) {
    this.#engine = options.engine;
    this.#forwarder = options.forwarder;
    this.#leadership = options.leadership;
    this.#deadlines = options.deadlines;
  }

  /** Ok: the state here holds everything that was answered anywhere before this was called. */
  async linearize(deadline: Ms): Promise<ReadResult> {
    for (;;) {
      const index = await this.#index(deadline);
      if (index !== null)
        return (await this.#applied(index, deadline)) ? ok(null) : err("what it has to answer from was not applied in time");
      if (!(await this.#leadership.change(deadline))) return err("no leader confirmed the read in time");
    }
  }

  /** Null: nobody confirmed it; worth asking again. */
  async #index(deadline: Ms): Promise<LogIndex | null> {
    const leader = this.#leadership.current;
    if (leader.kind === "none") return null;
    if (leader.kind === "self") return this.#within(deadline, this.#ownIndex());
    return this.#within(deadline, this.#sharedIndex(deadline));
  }

  /** The index of a question that is sent after this call, never of one that is on its way already. */
  #sharedIndex(deadline: Ms): Promise<LogIndex | null> {
    if (this.#asking === null) return this.#ask(deadline).index;
    const before = this.#asking;
    this.#next ??= { index: before.index.then(() => this.#ask(deadline).index) };
    return this.#next.index;
  }

  #ask(deadline: Ms): Batch {
    const batch = { index: this.#askLeader(deadline) };
    this.#asking = batch;
    this.#next = null;
    void batch.index.then(() => {
      if (this.#asking === batch) this.#asking = null;
    });
    return batch;
  }

  async #askLeader(deadline: Ms): Promise<LogIndex | null> {
    const leader = this.#leadership.current;
    if (leader.kind === "none") return null;
    if (leader.kind === "self") return this.#ownIndex();
    const answer = await this.#forwarder.ask(leader.id, { kind: "read-index" }, deadline);
    return answer.ok && answer.value.kind === "read-index" ? answer.value.index : null;
  }

  #ownIndex(): Promise<LogIndex | null> {
    return new Promise((resolve) => this.#engine.readIndex((outcome) => resolve(outcome.kind === "index" ? outcome.index : null)));
  }

  #applied(index: LogIndex, deadline: Ms): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#deadlines.add(deadline, () => {
        leave();
        resolve(false);
      });
      const leave = this.#engine.whenApplied(index, () => {
        cancel();
        resolve(true);
      });
    });
  }

  #within(deadline: Ms, index: Promise<LogIndex | null>): Promise<LogIndex | null> {
    return new Promise((resolve) => {
      const cancel = this.#deadlines.add(deadline, () => resolve(null));
      void index.then((value) => {
        cancel();
        resolve(value);
      });
    });
  }
}
