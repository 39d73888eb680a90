// Owns what the REST API may ask of this node: facts from memory, and requests passed on to the HA loop. Implements
// node-service.ts; decides nothing about HA.

import type { PeerStatus } from "../core/observation.ts";
import { RESTART_STILL_RUNNING } from "../core/rolling-restart.ts";
import { type Cluster, findMember } from "../model/cluster.ts";
import type { StoreError } from "../model/errors.ts";
import type { FailsafeHeartbeat } from "../model/failsafe.ts";
import { Lazy } from "../model/lazy.ts";
import { isNofailover } from "../model/member.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms, type Revision, revision } from "../model/units.ts";
import { reasonOf } from "../postgres/atomic-file.ts";
import { EventLog, type EventSource } from "./event-log.ts";
import type { Explanation } from "./explaining.ts";
import { isFailsafeActive, takeHeartbeat } from "./failsafe.ts";
import { pauseInForce } from "./fencing.ts";
import type { FreshStatus } from "./fresh-status.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import { Measures } from "./measures.ts";
import { publishedTags } from "./member-record.ts";
import { type MppPart, NO_MPP } from "./mpp/mpp.ts";
import type { NodeContext } from "./node-context.ts";
import type { NodeFacts, NodeMeasures, NodeService, OperatorAnswer, RestartRequest } from "./node-service.ts";
import type { NodeSight } from "./node-sight.ts";
import { postgresRole, postgresState } from "./postgres-words.ts";
import { scheduledRestartFields } from "./scheduled-restart.ts";

const RESTART_LIMIT_MS = 240_000;
/** Whoever asks without a pause keeps no program going without one. */
const WAY_BACK_KEPT_MS = 1000;

export class LocalNodeService implements NodeService {
  readonly #context: NodeContext;
  readonly #fresh: FreshStatus;
  readonly #reload: () => void;
  readonly #measures: Measures;
  readonly #mpp: Pick<MppPart, "event" | "members">;
  readonly events: EventSource;
  readonly #sight: NodeSight | null;
  /** Loaded when somebody asks. */
  readonly #explainer = new Lazy(async () => new (await import("./explaining.ts")).Explainer(this.#context, this.#sight));
  #wayBack: { readonly id: string; readonly answer: Promise<string | null>; until: number } | null = null;
  readonly #backups = new Lazy(async () => new (await import("./backups.ts")).BackupReader(this.#context));

  /** Without `sight` nothing is counted, and nothing happens: no loop runs. */
  constructor(
    context: NodeContext,
    fresh: FreshStatus,
    reload: () => void,
    beside: { readonly sight?: NodeSight; readonly mpp?: Pick<MppPart, "event" | "members"> } = {},
  ) {
    this.#context = context;
    this.#fresh = fresh;
    this.#reload = reload;
    this.#measures = beside.sight?.measures ?? new Measures();
    this.events = beside.sight?.events ?? new EventLog({ ...context.state.settings.node, wallNow: () => context.clock.wallNow() });
    this.#mpp = beside.mpp ?? NO_MPP;
    this.#sight = beside.sight ?? null;
  }

  async facts(): Promise<NodeFacts> {
    if (!this.#fresh.isFresh()) await this.#fresh.refresh();
    else this.#fresh.lookAhead();
    return this.factsNow();
  }

  factsNow(): NodeFacts {
    const { clock, postgres, state, watchdog } = this.#context;
    const { node, dynamic } = state.settings;
    const process = state.local.process;
    const serving = process.kind === "running" && !process.stopped && !this.#fresh.hung;
    const status = serving ? state.local.status : null;
    return {
      config: node,
      dynamic,
      state: postgresState(state),
      role: postgresRole(state),
      postgres: status,
      holdsLock: this.#holdsLock(status !== null && !status.inRecovery),
      paused: pauseInForce(this.#context),
      dcsReachable: state.dcsFailure === null && state.cluster !== null,
      dcsLastSeenEpochSeconds: Math.floor(state.dcsLastSeenWall / 1000),
      cluster: state.cluster,
      mppMembers: this.#mpp.members(),
      failsafeActive: isFailsafeActive(this.#context),
      pendingRestart: postgres.pendingRestart(),
      scheduledRestart: scheduledRestartFields(state),
      watchdogFailed: state.fencingMissing,
      systemIdentifier: state.local.systemIdentifier ?? (state.cluster?.initialize || null),
      fencing: watchdog.fencing,
      raft: state.raft,
      vip: state.vip.standing(),
      now: clock.now(),
      lastCycleAt: state.lastCycleAt,
      copy: state.copy,
      lastDecision: state.lastDecision,
      tags: publishedTags(state) as NodeFacts["tags"],
    };
  }

  async explain(): Promise<Explanation> {
    if (!this.#fresh.isFresh()) await this.#fresh.refresh();
    return await (await this.#explainer.get()).explain();
  }

  async backups(): ReturnType<NodeService["backups"]> {
    return await (await this.#backups.get()).read();
  }

  async restoreObstacle(back: string | null): Promise<string | null> {
    if (back !== null) return await this.#wayBackObstacle(back);
    const { pgbackrest, postgresql } = this.#context.state.settings.node;
    const { whyNoRestore } = await import("../postgres/restore-directory.ts");
    return await whyNoRestore({ config: postgresql, pgbackrest });
  }

  /**
   * It runs programs, and everybody may ask: of the cluster's own restore alone, one look at a time, which those who ask meanwhile share and
   * those who ask right after it where nothing was found. What an operator has just mended is looked at again.
   */
  async #wayBackObstacle(id: string): Promise<string | null> {
    const { clock, state } = this.#context;
    const known = state.cluster?.restore?.id ?? null;
    if (known !== id) return `the restore that the cluster has made last is ${known ?? "none"}, and not ${id}`;
    const before = this.#wayBack;
    if (before?.id === id && clock.now() < before.until) return await before.answer;
    const look = async (): Promise<string | null> => {
      await before?.answer.catch(() => null);
      const { wayBackObstacle } = await import("./perform-restore.ts");
      return await wayBackObstacle(this.#context, id);
    };
    const asked = { id, answer: look(), until: Number.POSITIVE_INFINITY };
    this.#wayBack = asked;
    asked.answer.then(
      (obstacle) => {
        asked.until = obstacle === null ? clock.now() + WAY_BACK_KEPT_MS : 0;
      },
      () => {
        asked.until = 0;
      },
    );
    return await asked.answer;
  }

  measures(): NodeMeasures {
    const { clock, state, watchdog } = this.#context;
    const now = clock.now();
    const held = state.heldFacts();
    const actsAt = held === null || !watchdog.armed ? null : watchdog.actsAt(held.leaseEndsAt);
    return {
      revision: this.#measures.revision,
      families: () => this.#measures.families(),
      leaseRemainingMs: ms(held === null ? 0 : Math.max(0, held.leaseEndsAt - now)),
      guard: { armed: watchdog.armed, healthy: watchdog.armed && watchdog.healthy(), actsInMs: actsAt === null ? null : ms(actsAt - now) },
      raft: state.raftFigures,
    };
  }

  /**
   * By the own lease at this instant. Paused with the DCS away, PostgreSQL's actual role answers (contract §4), and after its
   * return for as long as the lock, whose lease has run out meanwhile, is nobody else's.
   */
  #holdsLock(runsAsPrimary: boolean): boolean {
    const { state } = this.#context;
    if (state.leaseValid()) return true;
    if (!state.settings.dynamic.pause || !runsAsPrimary) return false;
    const leader = state.cluster?.leader ?? null;
    return state.dcsFailure !== null || leader === null || leader.name === state.settings.node.name;
  }

  async readCluster(): Promise<Result<Cluster, StoreError>> {
    const { state, store } = this.#context;
    const answer = await store.getCluster({ deadline: dcsDeadline(this.#context), consistency: "consistent" });
    if (answer.ok) state.applyCluster(answer.value);
    return answer;
  }

  async writeConfig(value: Readonly<Record<string, unknown>>, expected: number | null): Promise<Result<null, StoreError>> {
    const at: Revision | null = expected === null ? null : revision(expected);
    return await this.#written(await this.#context.store.values.setConfigValue(value, at, { deadline: dcsDeadline(this.#context) }));
  }

  async writeFailover(
    value: { readonly leader: string | null; readonly candidate: string | null; readonly scheduledAt: string | null } | null,
    expected: number | null,
  ): Promise<Result<null, StoreError>> {
    const at: Revision | null = expected === null ? null : revision(expected);
    const written = value === null ? null : { leader: value.leader, member: value.candidate, scheduled_at: value.scheduledAt };
    return await this.#written(await this.#context.store.values.setFailoverValue(written, at, { deadline: dcsDeadline(this.#context) }));
  }

  /** What was written is seen at once, and the loop is woken. */
  async #written(answer: Result<unknown, StoreError>): Promise<Result<null, StoreError>> {
    if (!answer.ok) return err(answer.error);
    await this.readCluster();
    this.#context.waker.wake();
    return ok(null);
  }

  async askMember(name: string, deadline: Ms): ReturnType<NodeService["askMember"]> {
    const { peers, state } = this.#context;
    const apiUrl = state.cluster === null ? null : (findMember(state.cluster, name)?.apiUrl ?? null);
    const status: PeerStatus | null = apiUrl === null ? null : await peers.ask(apiUrl, deadline);
    if (status === null) return null;
    const nofailover = isNofailover(status.tags) || status.watchdogFailed;
    return { timeline: status.timeline, lsn: status.lsn, nofailover, role: status.role };
  }

  async clusterChange(deadline: Ms): Promise<Cluster | null> {
    await this.#context.state.changes.next(deadline);
    return this.#context.state.cluster;
  }

  wake(): void {
    this.#context.waker.wake();
  }

  /** The loop restarts PostgreSQL as a task; the answer waits for its end. */
  async restart(request: RestartRequest): Promise<OperatorAnswer> {
    const { clock, state, waker } = this.#context;
    const requestedAt = clock.now();
    if (state.requests.restart || state.task?.kind === "restart") return { status: 503, text: "restart already in progress" };
    state.requests = { ...state.requests, restart: true };
    waker.wake();
    // A server that was stopped is started, and whoever asks next is to see it.
    const finished = (): boolean => {
      const last = state.lastTask;
      if (last === null || last.finishedAt < requestedAt) return false;
      return (
        last.kind === "restart" ||
        (["start", "clone"].includes(last.kind) &&
          !state.requests.restart &&
          state.task === null &&
          (!last.ok || state.local.status !== null))
      );
    };
    const ended = await state.changes.until(finished, ms(clock.now() + (request.timeoutMs ?? RESTART_LIMIT_MS)));
    if (!ended) return { status: 503, text: RESTART_STILL_RUNNING };
    return state.lastTask?.ok === true
      ? { status: 200, text: "restarted successfully" }
      : { status: 503, text: `restart failed: ${state.lastTask?.message}` };
  }

  async scheduleRestart(schedule: string, request: RestartRequest): Promise<OperatorAnswer> {
    const { state } = this.#context;
    if (state.scheduledRestart !== null) return { status: 409, text: "Another restart is already scheduled" };
    const filters: Record<string, unknown> = {};
    if (request.role !== null) filters["role"] = request.role;
    if (request.postgresVersion !== null) filters["postgres_version"] = request.postgresVersion;
    if (request.timeoutMs !== null) filters["timeout"] = request.timeoutMs / 1000;
    if (request.restartPending) filters["restart_pending"] = true;
    const postmasterStartTime = state.local.status?.postmasterStartTime ?? null;
    state.scheduledRestart = { schedule, at: Date.parse(schedule), filters, postmasterStartTime };
    this.#context.waker.wake();
    return { status: 202, text: "Restart scheduled" };
  }

  async deleteScheduledRestart(): Promise<boolean> {
    const { state } = this.#context;
    const was = state.scheduledRestart !== null;
    state.scheduledRestart = null;
    this.#context.waker.wake();
    return was;
  }

  reload(): void {
    this.#reload();
  }

  async reinitialize(options: { readonly force: boolean; readonly fromLeader: boolean }): Promise<OperatorAnswer> {
    const { postgres, state, waker } = this.#context;
    // Refused before PostgreSQL is stopped for it; whatever else counts is judged after this wait.
    const kept = await postgres.keptBeside().catch(reasonOf);
    if (state.held !== null) return { status: 503, text: "I am the leader, can not reinitialize" };
    if (state.cluster?.leader === null || state.cluster === null)
      return { status: 503, text: "Cluster has no leader, can not reinitialize" };
    // Accepted is as good as begun: a second one would begin anew once the first has its copy.
    const task = state.task === null ? null : (state.task.words ?? state.task.kind);
    const busy = state.requests.reinitialize === null ? task : "reinitialize";
    if (busy !== null && !options.force) return { status: 503, text: `${busy} already in progress` };
    if (kept !== null) return { status: 503, text: `can not reinitialize: ${kept}` };
    state.task?.controller.abort();
    state.requests = { ...state.requests, reinitialize: { fromLeader: options.fromLeader } };
    waker.wake();
    return { status: 200, text: "reinitialize started" };
  }

  mppEvent(body: Readonly<Record<string, unknown>>): Promise<OperatorAnswer> {
    return this.#mpp.event(body);
  }

  async failsafe(beat: FailsafeHeartbeat): ReturnType<NodeService["failsafe"]> {
    if (!this.#fresh.isFresh()) await this.#fresh.refresh();
    const answer = takeHeartbeat(this.#context, beat);
    this.#context.waker.wake();
    return answer;
  }
}
