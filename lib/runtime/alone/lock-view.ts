// Owns the API's facts where no HA loop runs in its process: the lock from a consistent read, PostgreSQL from a look, neither
// older than 250 ms at the answer. It may read the DCS, and changes nothing anywhere.

import { describeStoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import { FreshStatus } from "../fresh-status.ts";
import { LocalNodeService } from "../local-node-service.ts";
import type { NodeFacts, NodeMeasures, NodeService, OperatorAnswer } from "../node-service.ts";
import type { Alone } from "./open.ts";
import { takeConfigAsKnown } from "./open.ts";

/** Facts that are older count as unknown: the answer is then "does not hold the lock". */
const FRESH_MS = 250;
const REFUSAL = "this API runs alone, without the node's supervisor: it answers health and reads, and changes nothing";

/** What the last read said. */
interface LockView {
  readonly holds: boolean;
  /** Before the read was sent. */
  readonly askedAt: Ms;
}

/** The node as an API alone sees it. */
export class LockViewService implements NodeService {
  readonly #alone: Alone;
  readonly #status: FreshStatus;
  readonly #local: LocalNodeService;
  #view: LockView = { holds: false, askedAt: ms(0) };
  #reading: Promise<void> | null = null;

  constructor(alone: Alone) {
    this.#alone = alone;
    this.#status = FreshStatus.of(alone.context);
    this.#local = new LocalNodeService(alone.context, this.#status, () => undefined);
  }

  async facts(): Promise<NodeFacts> {
    if (!this.#isFresh()) this.#reading ??= this.#read();
    await Promise.all([this.#reading, this.#status.isFresh() ? null : this.#status.refresh()]);
    return this.factsNow();
  }

  factsNow(): NodeFacts {
    const facts = this.#local.factsNow();
    const primary = facts.postgres !== null && !facts.postgres.inRecovery;
    const pausedAway = facts.paused && !facts.dcsReachable && primary;
    return { ...facts, holdsLock: (this.#isFresh() && this.#view.holds) || pausedAway, lastCycleAt: facts.now, fencing: "none" };
  }

  explain(): ReturnType<NodeService["explain"]> {
    return this.#local.explain();
  }

  backups(): ReturnType<NodeService["backups"]> {
    return this.#local.backups();
  }

  restoreObstacle(back: string | null): Promise<string | null> {
    return this.#local.restoreObstacle(back);
  }

  get events(): NodeService["events"] {
    return this.#local.events;
  }

  measures(): NodeMeasures {
    return this.#local.measures();
  }

  readCluster(): ReturnType<NodeService["readCluster"]> {
    return this.#local.readCluster();
  }

  askMember(name: string, deadline: Ms): ReturnType<NodeService["askMember"]> {
    return this.#local.askMember(name, deadline);
  }

  clusterChange(deadline: Ms): ReturnType<NodeService["clusterChange"]> {
    return this.#local.clusterChange(deadline);
  }

  async writeConfig(): Promise<Result<null, { readonly kind: "rejected"; readonly reason: string }>> {
    return err({ kind: "rejected", reason: REFUSAL });
  }

  async writeFailover(): Promise<Result<null, { readonly kind: "rejected"; readonly reason: string }>> {
    return err({ kind: "rejected", reason: REFUSAL });
  }

  async restart(): Promise<OperatorAnswer> {
    return { status: 503, text: REFUSAL };
  }

  async scheduleRestart(): Promise<OperatorAnswer> {
    return { status: 503, text: REFUSAL };
  }

  async deleteScheduledRestart(): Promise<boolean> {
    return false;
  }

  async reinitialize(): Promise<OperatorAnswer> {
    return { status: 503, text: REFUSAL };
  }

  async mppEvent(): Promise<OperatorAnswer> {
    return { status: 503, text: REFUSAL };
  }

  failsafe(): ReturnType<NodeService["failsafe"]> {
    return Promise.resolve({ status: 502, text: "Failsafe mode is not enabled", lsn: null });
  }

  wake(): void {
    // No loop to wake.
  }

  reload(): void {
    this.#alone.context.log.info(REFUSAL);
  }

  #isFresh(): boolean {
    return this.#alone.context.clock.now() - this.#view.askedAt <= FRESH_MS;
  }

  /** One read for all that wait. Consistent, so that a lock that was lost is never reported from a lagging copy. */
  async #read(): Promise<void> {
    const { clock } = this.#alone.context;
    const askedAt = clock.now();
    try {
      const holds = await this.#holdsLock(ms(askedAt + FRESH_MS));
      this.#view = { holds: holds.ok && holds.value, askedAt };
      if (!holds.ok) this.#alone.context.state.dcsFailed(holds.error);
    } finally {
      this.#reading = null;
    }
  }

  async #holdsLock(deadline: Ms): Promise<Result<boolean, string>> {
    const { context, store } = this.#alone;
    const { state } = context;
    const read = await context.store.getCluster({ deadline, consistency: "consistent" });
    if (!read.ok) return err(describeStoreError(read.error));
    state.applyCluster(read.value);
    takeConfigAsKnown(this.#alone);
    const { leader } = read.value;
    if (leader === null || leader.session === null || leader.name !== state.settings.node.name) return ok(false);
    const session = await store.sessionInfo(leader.session, { deadline });
    return session.ok ? ok(session.value !== null) : err(describeStoreError(session.error));
  }
}
