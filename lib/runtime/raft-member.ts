// Owns the member of the Raft that a supervisor runs in a thread of its own: its folder, whether it may found a cluster, its
// start and its end. What a member does is lib/dcs/raft/member's; what its end means for the node, the supervisor's.

import { randomBytes } from "node:crypto";
import { LocalMember } from "../dcs/raft/client/local.ts";
import type { RaftStatus } from "../dcs/raft/kv/client-protocol.ts";
import { memberConfigOf } from "../dcs/raft/section.ts";
import { RaftStore } from "../dcs/raft/store.ts";
import type { Store } from "../dcs/store.ts";
import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { RaftConfig } from "../model/node-config.ts";
import type { DataDirectory } from "../model/postgres.ts";
import { threadModule } from "../model/product-place.ts";
import type { MemberFigures, MemberStanding, RaftClusterId } from "../model/raft.ts";
import { err, ok, type Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { EXIT } from "./exit-codes.ts";
import type { NodeFailure } from "./node-failure.ts";
import { lockRaftFolder, mayFound, noteRaftOfData, raftOfData } from "./raft-folder.ts";
import type { RunLock } from "./run-lock.ts";

/** How often a retiring node looks whether its store can still answer. */
const RETIRED_LOOK_MS = 100;
/** Members that are missed for so long are gone; a connection that broke is made again well before. */
const MISSED_FOR_MS = 300;
/** It is in this process: longer means that its thread hangs. */
const STATUS_WITHIN_MS = 1_000;

interface MemberParts {
  readonly member: LocalMember;
  readonly lock: RunLock;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly log: Log;
}

export class SupervisedMember {
  /** The store through this member: no network lies between, and its end is not the member's. */
  readonly store: Store;
  /** Resolves once, with the reason, when the member has stopped without having been asked to. */
  readonly failed: Promise<string>;
  readonly #parts: MemberParts;
  readonly #lost = new AbortController();
  readonly #stopped = new AbortController();
  /** Once it belongs to a cluster it belongs to that one while it runs. */
  #noted = false;
  /** As of the last cycle; null before the first, and while its thread does not answer. */
  figures: MemberFigures | null = null;

  private constructor(parts: MemberParts) {
    const { member, clock } = parts;
    this.#parts = parts;
    this.store = new RaftStore({ channel: member, clock, random: randomBytes, lost: this.#lost.signal });
    this.failed = new Promise((resolve) => {
      member.onStopped = resolve;
    });
  }

  /** Listens and serves, or waits for the others; it does not wait here. Errors: one line and the exit status. */
  static async start(options: {
    readonly raft: RaftConfig;
    /** PostgreSQL's. */
    readonly dataDir: string;
    readonly adopt: "adopt" | "careful";
    readonly clock: Clock;
    readonly log: Log;
  }): Promise<Result<SupervisedMember, NodeFailure>> {
    const { raft, dataDir, adopt, clock, log } = options;
    if (raft.dataDir === null) throw new Error("a member without a folder");
    const founding = mayFound(dataDir, adopt) ? "may" : "may-not";
    const config = memberConfigOf(raft, founding);
    if (!config.ok) return failed(`${config.error.path}: ${config.error.message}`);
    const lock = lockRaftFolder(raft.dataDir, "supervisor");
    if (!lock.ok) return err({ code: lock.error.kind === "held" ? EXIT.alreadyRunning : EXIT.failed, message: lock.error.message });
    const member = new LocalMember({ entry: threadModule("lib/runtime/raft-thread.ts"), clock, log });
    const supervised = new SupervisedMember({ member, lock: lock.value, dataDir, clock, log });
    const started = await member.start(raft.dataDir, config.value);
    if (!started.ok) {
      lock.value.release();
      return failed(`raft: ${started.error}`);
    }
    if (founding === "may-not") await supervised.#explainWait();
    return ok(supervised);
  }

  /**
   * After each cycle: how the member stands; and, where PostgreSQL's data directory is a valid one, it is written down there to
   * which Raft it belongs.
   */
  async afterCycle(data: DataDirectory["kind"]): Promise<MemberStanding | null> {
    const status = await this.status();
    this.figures = status === null ? null : figuresOf(status);
    if (status === null) return null;
    if (data === "valid" && status.cluster !== null && !this.#noted) await this.#noteData(status.cluster);
    const { state, role, term, leader } = status;
    return { state, role, term, leader: leader?.address ?? null };
  }

  async #noteData(id: RaftClusterId): Promise<void> {
    const { dataDir, log } = this.#parts;
    try {
      if (await noteRaftOfData(dataDir, id))
        log.warning(`raft: the data in ${dataDir} was used with another Raft before; it is ${id} from now on`);
      this.#noted = true;
    } catch (error) {
      // Tried again with the next cycle; until then the file of before protects as well.
      log.warning(`raft: ${dataDir} does not yet say to which Raft it belongs: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** What the member says of itself; null where its thread does not answer. */
  async status(): Promise<RaftStatus | null> {
    const { member, clock } = this.#parts;
    const answer = await member.request({ kind: "status" }, ms(clock.now() + STATUS_WITHIN_MS));
    return answer.kind === "status" ? answer.status : null;
  }

  /**
   * The node is to stop. Where the others are stopped with it, the last ones have no majority: as soon as that is so, what is asked
   * through `store` is given up, since nobody is left to hand anything over to. The lock then ends with its lease.
   */
  retire(): void {
    if (this.#stopped.signal.aborted) return;
    this.#watchMajority().catch((reason: unknown) => this.#parts.log.error(`raft: the members cannot be watched: ${String(reason)}`));
  }

  async #watchMajority(): Promise<void> {
    const { clock, log } = this.#parts;
    for (let missedSince: number | null = null; !this.#stopped.signal.aborted; ) {
      const missing = whyNoMajority(await this.status());
      const now = clock.now();
      missedSince = missing === null ? null : (missedSince ?? now);
      if (missing !== null && missedSince !== null && now - missedSince >= MISSED_FOR_MS) {
        log.info(`raft: ${missing}: nothing more is asked of it, and the lock is left to its lease`);
        this.#lost.abort(missing);
        return;
      }
      await clock.sleepUntil(ms(now + RETIRED_LOOK_MS), this.#stopped.signal);
    }
  }

  /** Another member takes over the lead first. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#parts.member.stop("clean");
    this.#parts.lock.release();
  }

  /** A member that only joins may wait for ever: what the operator can do is said at once. */
  async #explainWait(): Promise<void> {
    const { dataDir, log } = this.#parts;
    if (((await this.status())?.cluster ?? null) !== null) return;
    const known = raftOfData(dataDir);
    const whose = known === null ? "belongs to no Raft that it knows" : `belongs to Raft ${known}`;
    log.warning(
      `raft: this member's folder is empty, and the PostgreSQL data in ${dataDir} ${whose}: it joins a Raft of its partners and founds none. ` +
        "Where there is none on purpose, start with --adopt once; where the majority is lost, see raft recover",
    );
  }
}

export function figuresOf(status: RaftStatus): MemberFigures {
  const voters = status.members.filter(({ part }) => part === "voter");
  const { state, role, term, commit, applied, lastIndex, snapshotIndex, logBytes, snapshotBytes, syncMs, fsyncs, elections } = status;
  return {
    ...{ state, role, term, commit, applied, lastIndex, snapshotIndex, logBytes, snapshotBytes, syncMs, fsyncs, elections },
    voters: voters.length,
    votersConnected: voters.filter(({ link }) => link !== "down").length,
  };
}

/** What stands against an answer, as this member sees it; null where the others are there, or where it does not say. */
export function whyNoMajority(status: Pick<RaftStatus, "state" | "detail" | "members"> | null): string | null {
  if (status === null) return null;
  if (status.state === "waiting") return `the member belongs to no Raft yet (${status.detail})`;
  const voters = status.members.filter(({ part }) => part === "voter");
  const there = voters.filter(({ link }) => link !== "down").length;
  const needed = Math.floor(voters.length / 2) + 1;
  return there >= needed ? null : `only ${there} of ${voters.length} members are there, and ${needed} have to be`;
}

function failed(message: string): Result<never, NodeFailure> {
  return err({ code: EXIT.failed, message });
}
