// Owns clients that watch: production's own store (lib/dcs/raft/store.ts) over a channel to any member, each answer the beginning of
// the next watch, across leader changes, restarts, snapshots and a history that is soon too short. And the judgement of what they
// were told: nothing is missed, nothing goes back, nothing is told twice, and what is no longer known is said to be compacted.

import { isDeepStrictEqual } from "node:util";
import type { LogEntry } from "../../../lib/dcs/raft/core/types.ts";
import type { KeyValueBounds } from "../../../lib/dcs/raft/kv/bounds.ts";
import { decodeEnvelope } from "../../../lib/dcs/raft/kv/command-codec.ts";
import { RaftStore } from "../../../lib/dcs/raft/store.ts";
import type { Snapshot } from "../../../lib/dcs/store.ts";
import { ms, type Revision, revision } from "../../../lib/model/units.ts";
import type { CommandOperation } from "../history.ts";
import { Model } from "../kv-model.ts";
import { TrueClock } from "./host.ts";
import { Violation } from "./trace.ts";
import type { ClientWorld } from "./whole-clients.ts";

/** Longer than any run: whatever answers a watch is a change. */
const WAIT_MS = 600_000;
const FIRST_READ_MS = 3000;
const PREFIXES = ["", "a/", "a/1", "b/1"] as const;
/** A change must wake whoever waits on a member that is well within this time. */
export const WAKE_MS = 2000;

interface Answer {
  readonly who: string;
  readonly prefix: string;
  readonly after: Revision;
  readonly invokedAt: number;
  readonly answeredAt: number;
  /** Null: compacted. */
  readonly snapshot: Snapshot | null;
}

/** What the watchers are judged by. */
export interface Seen {
  /** Every committed entry from index 1 on, and when it was committed. */
  readonly log: readonly LogEntry[];
  readonly committedAt: readonly number[];
  readonly commands: readonly CommandOperation[];
  readonly bounds: KeyValueBounds;
}

export class WholeWatchers {
  readonly #world: ClientWorld;
  readonly #answers: Answer[] = [];
  readonly #watchers: Watcher[];

  constructor(world: ClientWorld) {
    this.#world = world;
    const told = (answer: Answer): void => void this.#answers.push(answer);
    this.#watchers = Array.from({ length: world.settings.watchers }, (_, number) => new Watcher(world, `watcher${number}`, told));
  }

  start(): void {
    for (const watcher of this.#watchers) void watcher.run();
  }

  get answers(): number {
    return this.#answers.length;
  }

  /** After the run. Throws Violation. */
  judge(seen: Seen): void {
    const { commands, bounds } = seen;
    const past = new Past(seen);
    for (const answer of this.#answers) judgeAnswer(answer, past, commands, bounds);
    for (const { open, who } of this.#watchers) {
      if (open === null || open.invokedAt > this.#world.queue.now - WAKE_MS) continue;
      // What was deleted before a watch that begins at nothing is none of its business.
      const from = open.after === 0 ? past.revisionAt(open.invokedAt) : open.after;
      const missed = past.changedBetween(open.prefix, from, past.revisionAt(this.#world.queue.now - WAKE_MS));
      if (missed !== null) throw new Violation(`${who} still waits for a change of "${open.prefix}" after ${open.after}; ${missed} came`);
    }
  }
}

class Watcher {
  readonly who: string;
  open: { readonly prefix: string; readonly after: Revision; readonly invokedAt: number } | null = null;
  readonly #world: ClientWorld;
  readonly #store: RaftStore;
  readonly #told: (answer: Answer) => void;
  readonly #prefix: string;

  constructor(world: ClientWorld, who: string, told: (answer: Answer) => void) {
    this.who = who;
    this.#world = world;
    this.#told = told;
    this.#prefix = world.random.pick(PREFIXES);
    this.#store = new RaftStore({
      channel: { request: (request, deadline) => world.random.pick(world.hosts).request(request, deadline) },
      clock: new TrueClock(world.queue),
      random: (bytes) => Uint8Array.from({ length: bytes }, () => world.random.whole(0, 255)),
    });
  }

  /** Until the end of the world: what it waits for then is looked at by the judge. */
  async run(): Promise<void> {
    for (;;) {
      const after = await this.#begin();
      if (after !== null) await this.#follow(after);
    }
  }

  async #begin(): Promise<Revision | null> {
    const { queue } = this.#world;
    const read = await this.#store.snapshot(this.#prefix, { deadline: ms(queue.now + FIRST_READ_MS) });
    return read.ok ? read.value.revision : null;
  }

  /** Until it is told that something was compacted. */
  async #follow(begin: Revision): Promise<void> {
    const { queue, random } = this.#world;
    const prefix = this.#prefix;
    for (let after = begin; ; ) {
      const invokedAt = queue.now;
      this.open = { prefix, after, invokedAt };
      const answer = await this.#store.watch(prefix, after, { deadline: ms(invokedAt + WAIT_MS) });
      this.open = null;
      const base = { who: this.who, prefix, after, invokedAt, answeredAt: queue.now };
      if (!answer.ok && answer.error.kind !== "compacted") return;
      this.#told({ ...base, snapshot: answer.ok ? answer.value : null });
      if (!answer.ok) return;
      after = answer.value.revision;
      if (!random.chance(BACK)) continue;
      await new TrueClock(queue).sleepUntil(ms(queue.now + random.between(0, AWAY_MAX_MS)));
      after = revision(random.whole(0, after));
    }
  }
}

/** How probable it is that a watcher is away for a while and comes back with an older revision. */
const BACK = 0.2;
/** Time enough for others to change more than a short history remembers. */
const AWAY_MAX_MS = 3000;

/** What the log made of the keys, revision by revision. */
class Past {
  readonly #model: Model;
  /** By revision: everything as it was. */
  readonly #states: (readonly Snapshot["entries"][number][])[] = [[]];
  /** By revision: when it was committed. */
  readonly #since: number[] = [0];

  constructor({ log, committedAt, bounds }: Seen) {
    this.#model = new Model(bounds);
    for (const [place, entry] of log.entries()) {
      const envelope = entry.kind === "command" ? decodeEnvelope(entry.payload) : null;
      if (envelope === null) this.#model.advance(entry.time);
      else this.#model.apply(envelope, entry.time);
      this.#states[this.#model.revision] ??= this.#model.below("");
      this.#since[this.#model.revision] ??= committedAt[place] as number;
    }
  }

  get revision(): number {
    return this.#model.revision;
  }

  /** The newest revision of that instant. */
  revisionAt(instant: number): number {
    return this.#since.findLastIndex((since) => since <= instant);
  }

  below(prefix: string, at: number): readonly Snapshot["entries"][number][] | null {
    return this.#states[at]?.filter(({ key }) => key.startsWith(prefix)) ?? null;
  }

  /** The revision of the first change of the prefix in (after, upTo]; null where there is none. */
  changedBetween(prefix: string, after: number, upTo: number): number | null {
    return (
      this.#model.changes.find((change) => change.revision > after && change.revision <= upTo && change.key.startsWith(prefix))?.revision ??
      null
    );
  }

  countBetween(after: number, upTo: number): number {
    return this.#model.changes.filter((change) => change.revision > after && change.revision <= upTo).length;
  }
}

function judgeAnswer(answer: Answer, past: Past, commands: readonly CommandOperation[], bounds: KeyValueBounds): void {
  const { who, prefix, after, snapshot, invokedAt } = answer;
  const what = `${who}, who watches "${prefix}" after ${after}`;
  if (snapshot === null) {
    if (past.countBetween(after, past.revision) <= bounds.historyMax)
      throw new Violation(`${what}, is told that it is compacted, and it is not`);
    return;
  }
  const { revision: at, entries } = snapshot;
  if (at < after) throw new Violation(`${what}, is taken back to ${at}`);
  if (!isDeepStrictEqual(entries, past.below(prefix, at)))
    throw new Violation(`${what}, is told of ${at} what never was: ${JSON.stringify(entries)}`);
  // Where the history is lost nobody can tell whether something was deleted.
  if (past.changedBetween(prefix, after, at) === null && past.countBetween(after, at) <= bounds.historyMax)
    throw new Violation(`${what}, is woken at ${at}, and nothing has changed`);
  const known = newestKnown(commands, invokedAt);
  if (at < known) throw new Violation(`${what}, is told of ${at}; ${known} was acknowledged before it asked`);
}

/** The newest revision that a client was told before the instant. */
function newestKnown(commands: readonly CommandOperation[], before: number): Revision {
  let newest = 0;
  for (const { answer, answeredAt } of commands) {
    if (answer === null || !answer.ok || answer.value.kind !== "revisions" || answeredAt === null || answeredAt >= before) continue;
    newest = Math.max(newest, ...answer.value.revisions);
  }
  return revision(newest);
}
