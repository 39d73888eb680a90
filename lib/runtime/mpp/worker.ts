// Owns what the leader of a worker group tells the leader of the coordinator, in this order: before_demote or before_promote, then
// after_promote. The coordinator finds out by itself what it is not told; the words only make it sooner, and let queries wait.

import type { GroupReader } from "../../dcs/group-reader.ts";
import { leaderMember } from "../../model/cluster.ts";
import { describeStoreError } from "../../model/errors.ts";
import type { Member } from "../../model/member.ts";
import type { MppEventType } from "../../model/mpp.ts";
import { type Ms, ms } from "../../model/units.ts";
import { dcsDeadline } from "../lease-bounds.ts";
import type { NodeContext } from "../node-context.ts";
import type { OperatorAnswer } from "../node-service.ts";
import type { PeerClient } from "../peer-client.ts";
import { postgresRole, postgresState } from "../postgres-words.ts";
import type { MppPart } from "./mpp.ts";

/** For what nobody waits for; the coordinator answers before it has done it. */
const ANSWER_MS = 2000;

const NOBODY: readonly Member[] = [];

export interface WorkerNotifierOptions {
  readonly context: NodeContext;
  readonly groups: GroupReader;
  readonly peers: PeerClient;
  readonly group: number;
}

export class WorkerNotifier implements MppPart {
  readonly #options: WorkerNotifierOptions;
  /** The coordinator was told that this node serves as primary, and nothing has been said against it since. */
  #toldServing = false;
  /** What is being told: one after the other. */
  #telling: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(options: WorkerNotifierOptions) {
    this.#options = options;
  }

  async beforeDemote(deadline: Ms, signal: AbortSignal): Promise<void> {
    const { clock, state } = this.#options.context;
    this.#toldServing = false;
    const now = clock.now();
    // What is left has to do for a clean shutdown.
    const until = ms(now + Math.max(0, Math.min(state.settings.dynamic.ttlMs, (deadline - now) / 2)));
    const given = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => given.resolve(), { once: true });
    if (signal.aborted) given.resolve();
    await Promise.race([this.#tell("before_demote", until), given.promise]);
  }

  beforePromote(): void {
    this.#toldServing = false;
    void this.#tell("before_promote", null);
  }

  note(): void {
    const { state } = this.#options.context;
    const serving = state.leads() && state.task === null && postgresRole(state) === "primary" && postgresState(state) === "running";
    if (!serving) this.#toldServing = false;
    if (!serving || this.#toldServing || this.#waiting > 0) return;
    this.#toldServing = true;
    void this.#tell("after_promote", null).then((told) => {
      // Once more with the next cycle.
      if (!told) this.#toldServing = false;
    });
  }

  members(): readonly Member[] {
    return NOBODY;
  }

  /** Events are for the coordinator. */
  async event(): Promise<OperatorAnswer> {
    return { status: 200, text: "OK" };
  }

  async close(): Promise<void> {
    await this.#telling;
  }

  #tell(type: MppEventType, until: Ms | null): Promise<boolean> {
    this.#waiting += 1;
    const told = this.#telling
      .then(() => this.#send(type, until ?? ms(this.#options.context.clock.now() + ANSWER_MS)))
      .finally(() => {
        this.#waiting -= 1;
      });
    this.#telling = told;
    return told;
  }

  async #send(type: MppEventType, until: Ms): Promise<boolean> {
    const { context, groups, peers, group } = this.#options;
    const { log, state } = context;
    const { dynamic, node } = state.settings;
    const read = await groups.readOne({ deadline: ms(Math.min(until, dcsDeadline(context))) });
    if (!read.ok) {
      log.warning(`the coordinator is not told ${type}: ${describeStoreError(read.error)}`);
      return false;
    }
    const leader = leaderMember(read.value);
    // Nobody there who keeps the table: the next one looks for itself.
    if (leader === null || leader.apiUrl === null) return false;
    const body = { type, group, leader: node.name, timeout: dynamic.ttlMs / 1000, cooldown: dynamic.retryTimeoutMs / 1000 };
    const answer = await peers.post(leader.apiUrl, "/citus", body, until);
    if (answer.ok && answer.value.status === 200) return true;
    const why = answer.ok ? `${answer.value.status} ${answer.value.text}` : answer.error.message;
    log.warning(`Request to Citus coordinator leader ${leader.name} ${leader.apiUrl} failed: ${why}`);
    return false;
  }
}
