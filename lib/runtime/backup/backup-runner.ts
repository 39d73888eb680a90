// Owns the scheduled backups of this node: looks after each cycle whether one is due (lib/core/backup-plan.ts), claims it, has pgBackRest
// take it, and writes down how it ended. It never holds the HA loop up, and nothing of it decides about HA.

import { randomUUID } from "node:crypto";
import { BACKUP_ATTEMPTS_MAX, type BackupStep, backupStep } from "../../core/backup-plan.ts";
import { overhaulOf, overhaulText } from "../../core/overhaul.ts";
import type { BackupBoard } from "../../dcs/backup-runs.ts";
import type { BackupRecord, BackupRun, BackupSchedule, BackupType } from "../../model/backup-run.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError, type PostgresError, type StoreError } from "../../model/errors.ts";
import type { EventBody } from "../../model/event.ts";
import type { PgBackRestConfig } from "../../model/node-config.ts";
import type { Result } from "../../model/result.ts";
import { type Ms, ms, type Revision, revision } from "../../model/units.ts";
import type { RunProgram } from "../../postgres/context.ts";
import { backupEnvironment, endLeftoverBackups } from "../../postgres/making-processes.ts";
import { listBackups, type PgBackRest, takeBackup } from "../../postgres/pgbackrest.ts";
import { programRunner } from "../../postgres/programs.ts";
import { LISTING_MAX_MS } from "../backups.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import type { NodeContext } from "../node-context.ts";
import { type EndedRun, withEnded, withFounded, withLost, withRun, withSetBack } from "./backup-record.ts";

/** At the end of the supervisor: the others see it by the claim as well, only later. */
const LAST_WORD_MS = 2000;

/** Of two clocks that differ nobody knows which is wrong: each time set back costs a backup at most, and that once a day. */
const SET_BACK_EVERY_MS = 86_400_000;

export type NoteEvent = (body: EventBody, text: string) => void;

/** What a record says that somebody removed. */
const NOTHING_KNOWN: Omit<BackupRecord, "revision"> = { types: {}, run: null };

interface Running {
  readonly run: BackupRun;
  readonly from: "standby" | "primary";
  readonly end: AbortController;
}

export interface BackupRunnerOptions {
  readonly context: NodeContext;
  readonly board: BackupBoard;
  readonly note: NoteEvent;
  readonly run?: RunProgram;
}

export class BackupRunner {
  readonly #context: NodeContext;
  readonly #board: BackupBoard;
  readonly #note: NoteEvent;
  readonly #run: RunProgram;
  #running: Running | null = null;
  /** Ended, and not written down yet: the DCS may be away. */
  #ended: EndedRun | null = null;
  /** One change of the record at a time. */
  #writing = false;
  #look: Promise<void> = Promise.resolve();
  #taking: Promise<void> = Promise.resolve();
  /** Of the last change by this node: a view that is older says nothing new. */
  #writtenAt: Revision = revision(0);
  /** What state.startedOver was then. */
  #writtenIn = 0;
  #leftoversEnded = false;
  #closed = false;
  #toldOverdue = "";
  /** What the store refused last: told once. */
  #toldRefused = "";
  #setBackAt: Ms | null = null;

  constructor({ context, board, note, run }: BackupRunnerOptions) {
    this.#run = run ?? programRunner(context.state.settings.node.postgresql, context.clock);
    this.#context = context;
    this.#board = board;
    this.#note = note;
  }

  /** After each cycle. Resolves when the record is looked through; what is taken then goes on. Never rejects. */
  async note(): Promise<void> {
    const { log, state } = this.#context;
    const { cluster, dcsFailure } = state;
    if (this.#writtenIn !== state.startedOver) this.#writtenAt = revision(0);
    if (this.#closed || this.#writing || cluster === null || dcsFailure !== null || cluster.revision < this.#writtenAt) return;
    if (this.#running !== null) {
      this.#watch(this.#running, cluster);
      return;
    }
    const pgbackrest = state.settings.node.pgbackrest;
    if (this.#ended === null && (pgbackrest === null || pgbackrest.schedule === null)) return;
    this.#writing = true;
    this.#look = this.#step(cluster, pgbackrest)
      .catch((reason: unknown) => log.error(`backup: ${String(reason)}`))
      .finally(() => {
        this.#writing = false;
      });
    await this.#look;
  }

  /** What runs is ended: whoever comes next would not know of it. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#look;
    this.#running?.end.abort("its supervisor was stopped");
    await this.#taking;
    const { clock, state, store } = this.#context;
    if (this.#ended === null || state.dcsFailure !== null) return;
    const deadline = ms(clock.now() + LAST_WORD_MS);
    const read = await store.getCluster({ deadline, consistency: "consistent" });
    if (read.ok) await this.#writeEnd(read.value, this.#ended, deadline);
  }

  async #step(cluster: Cluster, pgbackrest: PgBackRestConfig | null): Promise<void> {
    if (this.#ended !== null) return await this.#writeEnd(cluster, this.#ended, dcsDeadline(this.#context));
    const schedule = pgbackrest?.schedule ?? null;
    if (pgbackrest === null || schedule === null) return;
    await this.#endLeftovers();
    const { clock, log, state } = this.#context;
    const role = state.local.process.kind === "running" && state.local.status !== null ? state.local.lastRole : null;
    const now = clock.wallNow();
    const maySetBack = this.#setBackAt === null || clock.now() - this.#setBackAt >= SET_BACK_EVERY_MS;
    const step = backupStep({ self: state.settings.node.name, now, schedule, cluster, role, maySetBack });
    if (step.kind !== "none" && step.kind !== "overdue") this.#toldOverdue = "";
    switch (step.kind) {
      case "none":
        return;
      case "found":
        await this.#write(cluster.backup?.revision ?? null, withFounded(cluster.backup, step.types, now), "keep", "founded");
        return;
      case "lost":
        return await this.#lost(cluster);
      case "disclaim":
        if (await this.#write(cluster.backup?.revision ?? null, cluster.backup ?? NOTHING_KNOWN, "end", "disclaimed"))
          log.warning("backup: a claim without a run was left behind, and is removed");
        return;
      case "set-back":
        return await this.#setBack(cluster, step.types);
      case "begin":
        return await this.#begin(cluster, { pgbackrest, schedule }, step);
      case "overdue":
        return this.#overdue(step);
    }
  }

  /** What a former process of this node left at work knows nothing of us, nor we of it. */
  async #endLeftovers(): Promise<void> {
    if (this.#leftoversEnded) return;
    const { log, state } = this.#context;
    const ended = await endLeftoverBackups(state.settings.node.postgresql.dataDir);
    if (ended.length > 0) log.warning(`backup: ended process ${ended.join(", ")}, left over from a former supervisor`);
    this.#leftoversEnded = true;
  }

  async #begin(
    { backup }: Cluster,
    { pgbackrest, schedule }: { readonly pgbackrest: PgBackRestConfig; readonly schedule: BackupSchedule },
    { type, attempt, from }: Extract<BackupStep, { readonly kind: "begin" }>,
  ): Promise<void> {
    const { clock, state, store } = this.#context;
    if (backup === null) return;
    const session = await store.ensureSession({ deadline: dcsDeadline(this.#context) });
    if (!session.ok) return this.#refused("it was not claimed", session.error);
    const node = state.settings.node.name;
    const run: BackupRun = { id: randomUUID(), type, node, beganAt: clock.wallNow(), attempt };
    const claimed = await this.#board.claim(withRun(backup, run), run, {
      deadline: dcsDeadline(this.#context),
      session: session.value.id,
    });
    if (!claimed.ok) return this.#refused("it was not claimed", claimed.error);
    this.#wrote(claimed.value);
    const running = { run, from, end: new AbortController() };
    this.#running = running;
    const which = from === "standby" ? "from this standby" : "from the primary, for no replica runs";
    this.#tell("info", { what: "started", type, node, label: null }, `backup: ${type} begins ${which} (attempt ${attempt})`);
    // Beside the loop: note() goes on watching it.
    this.#taking = this.#take(running, { pgbackrest, schedule }).catch((reason: unknown) => this.#endedBy(run, null, String(reason)));
  }

  async #take(
    { run, from, end }: Running,
    { pgbackrest, schedule }: { readonly pgbackrest: PgBackRestConfig; readonly schedule: BackupSchedule },
  ): Promise<void> {
    const { clock, log, state } = this.#context;
    const { postgresql } = state.settings.node;
    const parts: PgBackRest = { config: pgbackrest, run: this.#run, clock };
    const taken = await takeBackup(parts, {
      type: run.type,
      from,
      signal: end.signal,
      env: backupEnvironment(postgresql.dataDir),
      say: (text) => log.info(`pgbackrest: ${text}`),
    });
    const label = taken.ok ? await this.#labelSince(parts, run.beganAt) : null;
    const failure = whyNot(taken, end.signal);
    this.#endedBy(run, label, failure);
    const { type, node } = run;
    if (failure === null) {
      this.#tell("info", { what: "done", type, node, label }, `backup: ${type} is done: ${label ?? "its label is not known"}`);
      return;
    }
    const again =
      run.attempt < BACKUP_ATTEMPTS_MAX ? `it is tried again after ${schedule.retryAfterMs / 1000} s` : "it is left until the next";
    this.#tell("error", { what: "failed", type, node, label }, `backup: ${type} failed: ${failure}; ${again}`);
  }

  #endedBy(run: BackupRun, label: string | null, failure: string | null): void {
    const { clock, waker } = this.#context;
    this.#running = null;
    this.#ended = { run, at: clock.wallNow(), label, failure };
    waker.wake();
  }

  /** The newest backup that began after the run did: pgBackRest counts whole seconds. */
  async #labelSince(parts: PgBackRest, beganAt: number): Promise<string | null> {
    const listing = await listBackups(parts, ms(parts.clock.now() + LISTING_MAX_MS));
    if (!listing.ok) this.#context.log.warning(`backup: what was taken cannot be listed: ${listing.error.message}`);
    const newest = listing.ok ? listing.value.backups.at(-1) : undefined;
    return newest !== undefined && (newest.startedAt + 1) * 1000 > beganAt ? newest.label : null;
  }

  /** Ends what this node is not to take any more. */
  #watch({ run, from, end }: Running, cluster: Cluster): void {
    const { local, requests } = this.#context.state;
    const overhaul = overhaulOf(cluster);
    if (cluster.backupClaim?.id !== run.id) end.abort("its claim in the DCS is gone");
    else if (overhaul !== null) end.abort(`the cluster is being ${overhaulText(overhaul)}`);
    else if (from === "standby" && local.lastRole === "primary") end.abort("this node leads now");
    else if (requests.shutdown) end.abort("its supervisor was stopped");
  }

  async #lost(cluster: Cluster): Promise<void> {
    const { clock, state } = this.#context;
    const run = cluster.backup?.run ?? null;
    if (cluster.backup === null || run === null) return;
    const ours = run.node === state.settings.node.name;
    const written = await this.#write(
      cluster.backup.revision,
      withLost(cluster.backup, run, clock.wallNow()),
      ours ? "end" : "keep",
      "lost",
    );
    if (!written) return;
    const text = `backup: ${run.type}, which ${run.node} took, is lost: its supervisor or its session has ended`;
    this.#tell("warning", { what: "lost", type: run.type, node: run.node, label: null }, text);
  }

  async #setBack({ backup }: Cluster, types: readonly BackupType[]): Promise<void> {
    const { clock, log } = this.#context;
    if (backup === null) return;
    const now = clock.wallNow();
    if (!(await this.#write(backup.revision, withSetBack(backup, types, now), "keep", "set back"))) return;
    this.#setBackAt = clock.now();
    log.warning(
      `backup: ${types.join(", ")}: the record had times far ahead of this node's clock, by which it is ${new Date(now).toISOString()}; ` +
        "they were set back: look at the clocks of all nodes",
    );
  }

  async #writeEnd({ backup, backupClaim }: Cluster, ended: EndedRun, deadline: ReturnType<typeof ms>): Promise<void> {
    const record = backup === null ? null : withEnded(backup, ended);
    // Nothing runs here any more, and as long as the record names our run the claim beside it is ours, whatever has become of its value.
    const claim = backupClaim !== null && (backupClaim.node === ended.run.node || backup?.run?.id === ended.run.id) ? "end" : "keep";
    // Told as lost by another, or removed: a failure is then no news. A claim that is left behind would stop the backups of everybody.
    const isWritten =
      (record === null && claim === "keep") ||
      (await this.#write(backup?.revision ?? null, record ?? backup ?? NOTHING_KNOWN, claim, "ended", deadline));
    if (isWritten) this.#ended = null;
  }

  /** Value: whether it is written. */
  async #write(
    expected: Revision | null,
    record: Omit<BackupRecord, "revision">,
    claim: "keep" | "end",
    what: string,
    deadline = dcsDeadline(this.#context),
  ): Promise<boolean> {
    const written = await this.#board.write(expected, record, { deadline, claim });
    if (written.ok) this.#wrote(written.value);
    else this.#refused(`not written down (${what})`, written.error);
    return written.ok;
  }

  #wrote(at: Revision): void {
    this.#writtenAt = at;
    this.#writtenIn = this.#context.state.startedOver;
    this.#toldRefused = "";
  }

  /** Where another one was faster, nothing is wrong; what lasts, as a token without the right, is told once. */
  #refused(what: string, error: StoreError): void {
    const { log } = this.#context;
    const text = `backup: ${what}: ${describeStoreError(error)}`;
    if (error.kind === "condition-failed" || this.#toldRefused === text) {
      log.debug(text);
      return;
    }
    this.#toldRefused = text;
    log.warning(text);
  }

  /** Once for each that is due. */
  #overdue({ type, due, why }: Extract<BackupStep, { readonly kind: "overdue" }>): void {
    const text = `backup: ${type} is due since ${new Date(due).toISOString()}: ${why}`;
    if (this.#toldOverdue === text) return;
    this.#toldOverdue = text;
    this.#tell("warning", { what: "overdue", type, node: null, label: null }, text);
  }

  #tell(level: "info" | "warning" | "error", event: Omit<Extract<EventBody, { readonly kind: "backup" }>, "kind">, text: string): void {
    this.#context.log[level](text);
    this.#note({ kind: "backup", ...event }, text);
  }
}

/** Null where it went well. */
function whyNot(taken: Result<null, PostgresError>, signal: AbortSignal): string | null {
  if (taken.ok) return null;
  return signal.aborted ? `it was ended: ${String(signal.reason)}` : taken.error.message;
}
