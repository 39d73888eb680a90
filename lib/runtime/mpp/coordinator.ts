// Owns pg_dist_node on the coordinator's leader: one change after the other, each planned from the rows as they are. A worker that is
// about to stop has its queries held by a transaction that stays open until its group has a primary again, or the time is up.
// What fails is told and tried again with the next cycle; the HA loop never waits for any of it.

import { type GroupTarget, groupTarget, movesPrimary, type NodeChange, nodeChanges, servingLeader } from "../../core/mpp-plan.ts";
import type { GroupReader } from "../../dcs/group-reader.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError, type PostgresError, type StoreError } from "../../model/errors.ts";
import type { Member } from "../../model/member.ts";
import { COORDINATOR_GROUP, type MppEvent, type MppEventType, readMppEvent } from "../../model/mpp.ts";
import { ok, type Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import type { DistNodes, SeenNodes } from "../../postgres/dist-nodes.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import type { NodeContext } from "../node-context.ts";
import type { OperatorAnswer } from "../node-service.ts";
import type { MppPart } from "./mpp.ts";

/** Where nobody says how long queries under way may go on: Citus' own default. */
const COOLDOWN = seconds(10);
/** Beyond the cooldown, for what a statement does itself. */
const STATEMENT_MS = 10_000;

/** One group to be brought up to date. */
interface Job {
  readonly target: GroupTarget;
  readonly leader: string;
  /** `seen`: nobody told, the cluster's keys say so. */
  readonly cause: MppEventType | "seen";
  readonly timeoutMs: Ms;
  readonly cooldownMs: Ms;
  readonly settle: () => void;
}

/** The transaction that holds a group's queries. */
interface Held {
  readonly group: number;
  readonly leader: string;
  readonly cause: "before_demote" | "before_promote";
  readonly backend: number;
  readonly until: Ms;
  /** Ends the waiting for that instant. */
  readonly over: AbortController;
}

export interface CoordinatorKeeperOptions {
  readonly context: NodeContext;
  readonly groups: GroupReader;
  readonly nodes: DistNodes;
}

export class CoordinatorKeeper implements MppPart {
  readonly #context: NodeContext;
  readonly #groups: GroupReader;
  readonly #nodes: DistNodes;
  /** One for each group: a newer one takes the place of one that waits. */
  readonly #jobs = new Map<number, Job>();
  #held: Held | null = null;
  #looking: Promise<void> | null = null;
  #working: Promise<void> | null = null;
  #members: readonly Member[] = [];
  /** When each group's leader last told something. */
  readonly #toldAt = new Map<number, Ms>();
  #told = "";

  constructor({ context, groups, nodes }: CoordinatorKeeperOptions) {
    this.#context = context;
    this.#groups = groups;
    this.#nodes = nodes;
  }

  /** The server is about to stop, and with it every transaction; others must not wait for this one. */
  async beforeDemote(): Promise<void> {
    this.#abandon();
  }

  beforePromote(): void {}

  note(): void {
    if (!this.#leads()) {
      this.#abandon();
      return;
    }
    this.#looking ??= this.#look()
      .catch((reason: unknown) => this.#tell(`the groups of the cluster cannot be read: ${String(reason)}`))
      .finally(() => {
        this.#looking = null;
      });
  }

  members(): readonly Member[] {
    return this.#members;
  }

  async event(body: Readonly<Record<string, unknown>>): Promise<OperatorAnswer> {
    const done: OperatorAnswer = { status: 200, text: "OK" };
    const event = readMppEvent(body);
    if (!event.ok) return { status: 400, text: event.error };
    if (!this.#leads()) return done;
    const found = await this.#jobOf(event.value);
    if (!found.ok) {
      // Who told it tells it again, or the next look finds out: nothing is taken for done.
      const text = `the groups of the cluster cannot be read: ${describeStoreError(found.error)}`;
      this.#tell(text);
      return { status: 503, text };
    }
    const job = found.value;
    if (job === null) {
      const { type, group, leader } = event.value;
      this.#context.log.info(`Discarding event ${JSON.stringify({ type, group, leader })}`);
      return done;
    }
    const settled = Promise.withResolvers<void>();
    this.#want({ ...job, settle: settled.resolve });
    // Whoever is about to stop waits until its queries are held.
    if (event.value.type === "before_demote") await settled.promise;
    return done;
  }

  async close(): Promise<void> {
    this.#abandon();
    await this.#looking;
    await this.#working;
    await this.#nodes.close();
  }

  #leads(): boolean {
    const { state } = this.#context;
    return state.leads() && state.leaseValid() && state.local.status !== null && !state.local.status.inRecovery;
  }

  /** Somebody else keeps the table now, or nobody can: what waits is given up. */
  #abandon(): void {
    if (this.#held !== null) this.#nodes.drop();
    this.#release();
    for (const job of this.#jobs.values()) job.settle();
    this.#jobs.clear();
  }

  #release(): void {
    this.#held?.over.abort();
    this.#held = null;
  }

  /** Null where the event is not about who leads that group now. Errors: those of the store. */
  async #jobOf(event: MppEvent): Promise<Result<Omit<Job, "settle"> | null, StoreError>> {
    const { group, leader, type, timeoutMs, cooldownMs } = event;
    const read = await this.#groups.readAll({ deadline: dcsDeadline(this.#context) });
    if (!read.ok) return read;
    const cluster = read.value.get(group);
    if (group === COORDINATOR_GROUP || cluster === undefined || cluster.leader?.name !== leader) return ok(null);
    this.#toldAt.set(group, this.#context.clock.now());
    const target = groupTarget(cluster, { group, leader, held: type === "before_demote" });
    return ok(target === null ? null : { target, leader, cause: type, timeoutMs, cooldownMs });
  }

  /** What the keys say of every group. */
  async #look(): Promise<void> {
    const since = this.#context.clock.now();
    const read = await this.#groups.readAll({ deadline: dcsDeadline(this.#context) });
    if (!read.ok) return this.#tell(`the groups of the cluster cannot be read: ${describeStoreError(read.error)}`);
    this.#members = [...read.value.values()].flatMap(({ members }) => members);
    for (const [group, cluster] of read.value) {
      const leader = this.#servingLeaderOf(group, cluster);
      const target = leader === null ? null : groupTarget(cluster, { group, leader, held: false });
      // What was told since this was read is newer.
      const told = (this.#toldAt.get(group) ?? 0) >= since || (this.#jobs.get(group)?.cause ?? "seen") !== "seen";
      if (leader === null || target === null || told) continue;
      this.#want({ target, leader, cause: "seen", timeoutMs: ms(0), cooldownMs: COOLDOWN, settle: () => undefined });
    }
  }

  /** Of this node's own group the state is known here first. */
  #servingLeaderOf(group: number, cluster: Cluster): string | null {
    return group === COORDINATOR_GROUP ? this.#context.state.settings.node.name : servingLeader(cluster);
  }

  #want(job: Job): void {
    const { group } = job.target;
    this.#jobs.get(group)?.settle();
    this.#jobs.set(group, job);
    this.#work();
  }

  #work(): void {
    this.#working ??= this.#workOff().catch((reason: unknown) => this.#tell(`pg_dist_node was not changed: ${String(reason)}`));
  }

  async #workOff(): Promise<void> {
    let job: Job | null = null;
    try {
      for (;;) {
        const ended = await this.#endOverdue();
        if (!ended.ok) this.#failed(ended.error);
        job = this.#next();
        if (job === null) return;
        this.#jobs.delete(job.target.group);
        const done = await this.#perform(job);
        if (!done.ok) this.#failed(done.error);
        job.settle();
      }
    } finally {
      job?.settle();
      // In the same instant as the last look at what waits.
      this.#working = null;
    }
  }

  /** While a group is held, what concerns it; else the coordinator's own address first. */
  #next(): Job | null {
    const held = this.#held;
    if (held === null) return this.#jobs.get(COORDINATOR_GROUP) ?? this.#jobs.values().next().value ?? null;
    const job = this.#jobs.get(held.group);
    if (job === undefined) return null;
    if (job.cause !== "seen" || endsHolding(held, job)) return job;
    // The keys may still show how it was before: the next look comes.
    this.#jobs.delete(held.group);
    return null;
  }

  #perform(job: Job): Promise<Result<null, PostgresError>> {
    return job.cause === "before_demote" || job.cause === "before_promote" ? this.#hold(job, job.cause) : this.#settleGroup(job);
  }

  /** Changes the rows and leaves the transaction open. */
  async #hold(job: Job, cause: Held["cause"]): Promise<Result<null, PostgresError>> {
    const { clock, log } = this.#context;
    const { group } = job.target;
    const deadline = this.#statementDeadline(job);
    const seen = await this.#seen(deadline);
    if (!seen.ok) return seen;
    // Where its primary is not known, or is right already, nobody's query is to wait.
    const changes = this.#plan(seen.value, job);
    if (!movesPrimary(seen.value.rows, changes) && this.#held === null) return ok(null);
    if (this.#held === null) {
      const begun = await this.#nodes.begin(deadline);
      if (!begun.ok) return begun;
    }
    this.#release();
    const until = ms(clock.now() + job.timeoutMs);
    const over = new AbortController();
    this.#held = { group, leader: job.leader, cause, backend: seen.value.backend, until, over };
    const changed = await this.#change(seen.value, changes, job, deadline);
    if (!changed.ok) return changed;
    log.info(`pg_dist_node: queries for group ${group} are held (${cause} of ${job.leader})`);
    void clock.sleepUntil(until, over.signal).then(() => this.#work());
    return ok(null);
  }

  /** Brings the group's rows up to date, and lets its queries go on. */
  async #settleGroup(job: Job): Promise<Result<null, PostgresError>> {
    const { log } = this.#context;
    const deadline = this.#statementDeadline(job);
    const seen = await this.#seen(deadline);
    if (!seen.ok) return seen;
    this.#told = "";
    const changes = this.#plan(seen.value, job);
    const held = this.#held !== null;
    if (changes.length === 0 && !held) return ok(null);
    const begun = held ? ok(null) : await this.#nodes.begin(deadline);
    if (!begun.ok) return begun;
    const changed = await this.#change(seen.value, changes, job, deadline);
    if (!changed.ok) return changed;
    const committed = await this.#nodes.commit(deadline);
    if (!committed.ok) return committed;
    this.#release();
    const { group, primary } = job.target;
    log.info(`pg_dist_node: group ${group} is at ${primary.host}:${primary.port} (${changes.length} changes, ${job.cause})`);
    return ok(null);
  }

  /** The rows, as the open transaction sees them where there is one. It goes with the connection that it was on. */
  async #seen(deadline: Ms): Promise<Result<SeenNodes, PostgresError>> {
    const seen = await this.#nodes.read(deadline);
    if (seen.ok && this.#held !== null && seen.value.backend !== this.#held.backend) this.#release();
    return seen;
  }

  #plan({ rows }: SeenNodes, { target }: Job): readonly NodeChange[] {
    return nodeChanges(rows, target, this.#held === null ? "fresh" : "moved");
  }

  async #change(seen: SeenNodes, changes: readonly NodeChange[], job: Job, deadline: Ms): Promise<Result<null, PostgresError>> {
    for (const change of changes) {
      const done = await this.#nodes.change(change, { backend: seen.backend, cooldownMs: job.cooldownMs, deadline });
      if (!done.ok) return done;
    }
    return ok(null);
  }

  #statementDeadline(job: Job): Ms {
    return ms(this.#context.clock.now() + job.cooldownMs + STATEMENT_MS);
  }

  /** A group whose primary has not come back in time: its queries meet what is there. */
  async #endOverdue(): Promise<Result<null, PostgresError>> {
    const { clock, log } = this.#context;
    if (this.#held === null || clock.now() < this.#held.until) return ok(null);
    log.warning(`pg_dist_node: queries for group ${this.#held.group} were held as long as they may be; the change is rolled back`);
    this.#release();
    return await this.#nodes.rollback(ms(clock.now() + STATEMENT_MS));
  }

  /** The connection goes, and the transaction with it: whatever was half done is undone. */
  #failed(error: PostgresError): void {
    this.#nodes.drop();
    this.#release();
    this.#tell(`pg_dist_node was not changed: ${error.message}`);
  }

  /** Once, as long as it is the same. */
  #tell(text: string): void {
    if (text !== this.#told) this.#context.log.error(text);
    this.#told = text;
  }
}

/** Nobody told that the group has its primary again, but its keys do, and they cannot be from before. */
function endsHolding(held: Held, job: Job): boolean {
  return held.cause === "before_demote" ? job.leader !== held.leader : job.leader === held.leader;
}
