// Owns the bugs that can be planted around the core: in the driver, the storage and the key-value machine. Found by the simulation
// of whole members.

import type { Plant } from "./plant.ts";

const RAFT = "lib/dcs/raft";

export const MEMBER_PLANTS: readonly Plant[] = [
  {
    name: "durable-without-sync",
    what: "a batch counts as durable once it is written, before any sync",
    level: "whole",
    file: `${RAFT}/storage/log-writer.ts`,
    find: `    if (group.hardState === null) {
      await file.sync();
    } else {`,
    replace: `    if (group.hardState === null) {
    } else {`,
  },
  {
    name: "start-trusts-memory",
    what: "a start takes what it reads for durable, also after a sync that failed",
    level: "whole",
    file: `${RAFT}/storage/open-storage.ts`,
    find: `  await file.write(0, await disk.readAt(name, 0, end.end));
`,
    replace: "",
  },
  {
    name: "repeated-is-applied-again",
    what: "a command that is repeated is applied again",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `    if (admission.kind === "repeated") return admission.answer;`,
    replace: `    if (admission.kind === "repeated" && !admission.answer.ok) return admission.answer;`,
    also: [
      {
        file: `${RAFT}/kv/machine.ts`,
        find: `    clients.remember(admission.client, sequence, answer);`,
        replace: `    if (admission.kind === "admitted") clients.remember(admission.client, sequence, answer);`,
      },
    ],
  },
  {
    name: "put-after-session-ended",
    what: "a put of a session that has ended is applied, and stays",
    level: "whole",
    file: `${RAFT}/kv/change.ts`,
    find: `    if (sessions.get(change.session) === undefined) return err({ kind: "session-gone", session: change.session });
`,
    replace: "",
  },
  {
    name: "expiry-before-deadline",
    what: "a session expires whatever its deadline is and however often it was renewed",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `record.renewal !== command.renewal || this.#state.time < record.deadline`,
    replace: `command.renewal < 0`,
    also: [
      {
        file: `${RAFT}/kv/machine.ts`,
        find: `deadline: time + promisedMs`,
        replace: `deadline: time + promisedMs / 4`,
      },
    ],
  },
  {
    name: "read-without-index",
    what: "a linearizable read is answered from what this member happens to have applied",
    level: "whole",
    file: `${RAFT}/member/reads.ts`,
    find: `      const index = await this.#index(deadline);
`,
    replace: `      if (deadline > 0) return ok(null);
      const index = await this.#index(deadline);
`,
  },
  {
    name: "answer-of-another-entry",
    what: "whoever proposed is answered with what was committed at its index, whosever that is",
    level: "whole",
    file: `${RAFT}/member/engine.ts`,
    find: `proposal.settle(proposal.term === entry.term ? { kind: "applied", answer } : { kind: "lost" });`,
    replace: `proposal.settle({ kind: "applied", answer });`,
    also: [
      {
        file: `${RAFT}/member/engine.ts`,
        find: `    if (role.role !== "leader") this.#releaseAccepted("this member no longer leads");
`,
        replace: "",
      },
    ],
  },
  {
    name: "vote-of-the-log-alone",
    what: "a bit that flips in the last synced vote of the log is enough to forget it: the slots beside the log are not asked",
    level: "whole",
    file: `${RAFT}/storage/open-storage.ts`,
    find: `  const hardState = laterHardState(slots.newest.hardState, recovered.hardState);`,
    replace: `  const hardState = recovered.log === "damaged" ? recovered.hardState : laterHardState(slots.newest.hardState, recovered.hardState);`,
  },
  {
    name: "slot-checksum-ignored",
    what: "a bit that flips in the slot of the last synced vote is taken for what was voted",
    level: "whole",
    file: `${RAFT}/storage/slots.ts`,
    find: `  if (crc32c(bytes, 0, AT.crc) !== view.getUint32(AT.crc, true)) return null;
`,
    replace: "",
  },
  {
    name: "one-slot-is-enough",
    what: "a slot that rotted beside a damaged log is done without: the older one stands for the vote",
    level: "whole",
    file: `${RAFT}/storage/open-storage.ts`,
    find: `  if (slots.newest === null || (slots.whole < 2 && recovered.corruption !== null)) {`,
    replace: `  if (slots.newest === null) {`,
  },
  {
    name: "lease-from-wall-clock",
    what: "a leader measures cluster time, and with it every lease, by the wall clock",
    level: "whole",
    file: `${RAFT}/member/engine.ts`,
    find: `      this.#perform(this.#options.raft.step(this.#options.clock.now(), events));`,
    replace: `      this.#perform(this.#options.raft.step(this.#wall(), events));`,
    also: [
      {
        file: `${RAFT}/member/engine.ts`,
        find: `    void this.#options.clock.sleepUntil(ms(at), timer.stop.signal)`,
        replace: `    void this.#options.clock.sleepUntil(ms(at + this.#options.clock.now() - this.#wall()), timer.stop.signal)`,
      },
      {
        file: `${RAFT}/member/engine.ts`,
        find: `      if (this.#options.clock.now() >= this.#timerAt)`,
        replace: `      if (this.#wall() >= this.#timerAt)`,
      },
      {
        file: `${RAFT}/member/engine.ts`,
        find: `  #fault(reason: string): void {`,
        replace: `  #wall(): number {
    const { clock } = this.#options;
    this.#walls ??= clock.wallNow() - clock.now();
    return clock.wallNow() - this.#walls;
  }

  #fault(reason: string): void {`,
      },
      {
        file: `${RAFT}/member/engine.ts`,
        find: `  #timerAt = 0;
`,
        replace: `  #timerAt = 0;
  #walls: number | null = null;
`,
      },
    ],
  },
  {
    name: "lease-from-answer",
    what: "a holder that was suspended for twice its ttl counts its lease from the late answer, not from before its question",
    level: "whole",
    file: "test/raft/simulation/lease-holders.ts",
    find: `leaseEnd({ confirmedAt, ttl`,
    replace: `leaseEnd({ confirmedAt: this.#now(), ttl`,
  },
  {
    name: "suspend-not-counted",
    what: "a holder's clock stands still while its machine is suspended for twice its ttl",
    level: "whole",
    file: "test/raft/simulation/lease-holders.ts",
    find: `  #now(): Ms {
    return this.#process.now();`,
    replace: `  #now(): Ms {
    return ms(this.#process.now() - this.#sleptMs);`,
  },
  {
    name: "watch-answers-from-here",
    what: "a watch is answered from what this member happens to have applied",
    level: "whole",
    file: `${RAFT}/member/requests.ts`,
    find: `{ kind: "snapshot", prefix, consistency: "linearizable" }`,
    replace: `{ kind: "snapshot", prefix, consistency: "stale" }`,
  },
  {
    name: "snapshot-wakes-nobody",
    what: "who watches on a member that gets a snapshot is not woken by what it brings",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `    this.#subscriptions.review((prefix, after) => this.changedSince(prefix, revision(after)) !== "unchanged");
`,
    replace: "",
  },
  {
    name: "compacted-untold",
    what: "who watches after a revision that is too long ago waits, instead of being told so",
    level: "whole",
    file: `${RAFT}/kv/machine.ts`,
    find: `    return after === 0 ? "unchanged" : "compacted";`,
    replace: `    return "unchanged";`,
  },
  {
    name: "every-change-wakes",
    what: "a watch is woken by changes that are none of its prefix",
    level: "whole",
    file: `${RAFT}/kv/subscriptions.ts`,
    find: `      if (!keys.some((key) => key.startsWith(prefix))) continue;
`,
    replace: "",
  },
  {
    name: "watch-begins-one-late",
    what: "the change right behind the revision that a watch begins at wakes nobody",
    level: "whole",
    file: `${RAFT}/kv/subscriptions.ts`,
    find: `if (revision > subscription.after) due.push(subscription);
    }`,
    replace: `if (revision > subscription.after + 1) due.push(subscription);
    }`,
  },
];
