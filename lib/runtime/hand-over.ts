// Owns the planned stop of a primary: PostgreSQL down with a shutdown checkpoint, the lock released as soon as that is safe.

import { otherMembers, syncAllows } from "../core/candidates.ts";
import { primaryStopTimeout } from "../core/time-limits.ts";
import { isNofailover, type Member } from "../model/member.ts";
import { type Lsn, type Ms, ms } from "../model/units.ts";
import { settleStopped } from "./fencing.ts";
import type { NodeContext } from "./node-context.ts";
import { clearFailover } from "./perform-dcs.ts";
import { releaseLock } from "./perform-lock.ts";
import { goDown, PlannedStop, type StopAtOnce, stopOnAbort } from "./planned-stop.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";

const STANDBY_ANSWER_MS = 1000;
/** What takes longer than this hangs, and holds up the release of the lock alone. */
const VIP_RELEASE_MS = 2000;

/**
 * A planned stop of the primary. The lock is released once PostgreSQL has shut down; a fast stop ends only when the
 * streaming standbys have the shutdown checkpoint, or, where one of them hangs, as soon as pg_control says so and a
 * standby confirms the position. An abort stops PostgreSQL at once.
 */
export async function handOver(context: NodeContext, deadline: Ms, signal: AbortSignal): Promise<TaskResult> {
  const planned = new PlannedStop(context);
  try {
    return await stopAndRelease(context, deadline, signal, planned);
  } finally {
    await planned.end();
  }
}

async function stopAndRelease(context: NodeContext, deadline: Ms, signal: AbortSignal, planned: PlannedStop): Promise<TaskResult> {
  const { log, postgres, state } = context;
  // Neither the checkpoint nor a fast stop is waited for any longer.
  const atOnce = stopOnAbort(context, signal);
  const early = new EarlyRelease(context);
  const stopped = await postgres.stop({
    mode: "fast",
    deadline,
    fastWithin: primaryStopTimeout(state.settings.dynamic),
    checkpoint: true,
    onShutdownCheckpoint: (control) => early.begin(control.checkpointLsn),
    beforeShutdown: async () => {
      if ((await planned.ask({ deadline, signal, mayAbandon: () => mayAbandon(context) })) === "stay") return "stay";
      if (!state.requests.shutdown) log.info("Demoting self (graceful)");
      await goDown(context, deadline, signal);
      await state.mpp.beforeDemote(deadline, signal);
      await untilReleased(context, deadline, signal);
      return "go";
    },
  });
  if (!stopped.ok) {
    await early.end();
    if (stopped.error.kind !== "cancelled") return taskResult(stopped);
    // A lease that ends meanwhile waits for no answer of the DCS.
    const givenUp = abandon(context, planned);
    await Promise.race([givenUp, atOnce.stopped]);
    return signal.aborted ? await settleAtOnce(context, await atOnce.stopped) : await givenUp;
  }
  const checkpoint = await early.end();
  const released = state.held === null ? null : await releaseLock(context, checkpoint ?? (await shutdownCheckpoint(context)));
  // Whatever became of the lock, PostgreSQL is gone: nothing is left to fence.
  await settleStopped(context);
  // Patroni's words: who gave the lead to somebody else has been demoted, who goes was the primary until its end.
  postgres.callback("on_stop", state.requests.shutdown ? "primary" : "demoted");
  if (released?.ok === false && state.requests.shutdown && state.dcsFailure !== null) {
    log.warning(`the lock is left to its lease: ${released.message}`);
    return DONE;
  }
  if (released?.ok === false) return { ok: false, message: released.message };
  log.info("Leader key released");
  return DONE;
}

/** An operator waits for a switchover and can ask again; whoever shuts the node down, or asks for a failover, wants it whatever it costs. */
function mayAbandon({ state }: NodeContext): boolean {
  return !state.requests.shutdown && (state.cluster?.failover?.leader ?? null) !== null;
}

/** PostgreSQL was not touched: the request is taken away, and the answer to it says why. */
async function abandon(context: NodeContext, planned: PlannedStop): Promise<TaskResult> {
  const { why } = planned;
  // The clients of those that have paused wait for this alone.
  await planned.end();
  const cleared = await clearFailover(context);
  return {
    ok: false,
    message: `the switchover is given up: ${why}${cleared.ok ? "" : `; the request is still there: ${cleared.message}`}`,
  };
}

/** The lease ended while the switchover was given up: who led has nothing left to fence, and no lock to release. */
async function settleAtOnce(context: NodeContext, stopped: Awaited<StopAtOnce["stopped"]>): Promise<TaskResult> {
  if (!stopped.ok) return taskResult(stopped);
  await settleStopped(context);
  context.postgres.callback("on_stop", "primary");
  return { ok: false, message: "the lease ended while the switchover was given up: PostgreSQL was stopped at once" };
}

/** The clients' address goes first: nobody comes by it to a server that is about to stop, nor finds it on two hosts. */
async function untilReleased({ clock, state }: NodeContext, deadline: Ms, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  const released = state.vip.release().then(() => over.abort());
  const within = ms(Math.min(deadline, clock.now() + VIP_RELEASE_MS));
  await Promise.race([released, clock.sleepUntil(within, AbortSignal.any([over.signal, signal]))]);
}

/** Null where it did not come to one: an older checkpoint would be published as the last position. */
async function shutdownCheckpoint(context: NodeContext): Promise<Lsn | null> {
  const control = await context.postgres.controlData();
  return control.ok && control.value.state === "shut down" ? control.value.checkpointLsn : null;
}

/**
 * Nothing can be written any more once the shutdown checkpoint is in pg_control; where a walsender still holds the postmaster
 * up, a standby that has received the checkpoint may take over already.
 */
class EarlyRelease {
  readonly #context: NodeContext;
  #checkpoint: Lsn | null = null;
  #over = false;
  #releasing: Promise<unknown> = Promise.resolve();

  constructor(context: NodeContext) {
    this.#context = context;
  }

  begin(checkpoint: Lsn): void {
    this.#checkpoint = checkpoint;
    this.#askStandbys(checkpoint).catch((reason: unknown) =>
      this.#context.log.warning(`the standbys could not be asked: ${String(reason)}`),
    );
  }

  /** The server is gone (or stays): asks no more. Value: its shutdown checkpoint, where it was seen. */
  async end(): Promise<Lsn | null> {
    this.#over = true;
    await this.#releasing;
    return this.#checkpoint;
  }

  async #askStandbys(checkpoint: Lsn): Promise<void> {
    const { clock, peers, state } = this.#context;
    const members = successors(this.#context);
    const answers = await Promise.all(members.map((member) => peers.ask(member.apiUrl ?? "", ms(clock.now() + STANDBY_ANSWER_MS))));
    const received = answers.some((answer) => answer?.state === "running" && answer.lsn !== null && answer.lsn > checkpoint);
    if (this.#over || !received || state.held === null) return;
    this.#releasing = releaseLock(this.#context, checkpoint);
    await this.#releasing;
  }
}

/** Who may take the lock at once: the candidate where one is named, else whoever may lead. Another one's WAL says nothing about them. */
function successors({ state }: NodeContext): readonly Member[] {
  const { cluster, settings } = state;
  if (cluster === null) return [];
  const candidate = cluster.failover?.candidate ?? null;
  return otherMembers(cluster, settings.node.name).filter(({ name, apiUrl, tags }) => {
    if (apiUrl === null || (candidate !== null && name !== candidate)) return false;
    return !isNofailover(tags) && syncAllows({ config: settings.dynamic, sync: cluster.sync, name });
  });
}
