// Owns following the DCS: one blocking query on the cluster, one on the lease mark while somebody else leads. A watch wakes the
// loop, it never acts.

import type { Cluster } from "../model/cluster.ts";
import { describeStoreError } from "../model/errors.ts";
import { type Ms, ms, type Revision, revision } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";

/** After an answer that woke nobody, the next question waits this long, so that a burst of position updates costs one. */
const COALESCE_MS = 200;
const RETRY_MS = 150;
/** A blocking query is asked anew at least this often, so that a half-open connection is found. */
const HOLDER_WAIT_MIN_MS = 30_000;
/** Answers come up to a sixteenth of the wait late (Consul's jitter), and a little for the way. */
const SLACK = 1.1;

export class WatchLoop {
  readonly #context: NodeContext;
  readonly #stop = new AbortController();
  readonly #onChange: (cluster: Cluster) => void;
  #running: Promise<unknown> = Promise.resolve();

  constructor(context: NodeContext, onChange: (cluster: Cluster) => void = () => {}) {
    this.#context = context;
    this.#onChange = onChange;
  }

  start(): void {
    this.#running = Promise.all([this.#followCluster(), this.#followMark()]);
    this.#running.catch((reason: unknown) => {
      this.#context.log.critical(`the watch ended: ${String(reason)}`);
      throw reason;
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    this.#context.state.changes.notify();
    await this.#running;
  }

  async #followCluster(): Promise<void> {
    const { clock, state, store, waker } = this.#context;
    const signal = this.#stop.signal;
    while (!signal.aborted) {
      const before = state.cluster;
      const after = before?.revision ?? revision(0);
      const answer = await store.watchCluster(after, { deadline: this.#waitEnd(), signal });
      if (signal.aborted) return;
      if (!answer.ok) {
        if (answer.error.kind !== "compacted") {
          if (state.dcsFailure === null && answer.error.kind !== "rejected") this.#context.log.warning(describeStoreError(answer.error));
          waker.wake();
        }
        await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
        continue;
      }
      const failedBefore = state.dcsFailure !== null;
      const taken = state.applyCluster(answer.value);
      if (!taken && answer.value.revision < after) {
        // Restored from a backup, or made anew: the loop finds out by a consistent read.
        state.dcsFailed("its revisions have gone back");
        waker.wake();
        await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
        continue;
      }
      if (taken) this.#onChange(answer.value);
      if (failedBefore || (taken && isImportant(before, state.cluster))) waker.wake();
      // A node that may have to take over asks at once: the next change may be the end of the lock.
      else if (answer.value.revision !== after && this.#leads()) await clock.sleepUntil(ms(clock.now() + COALESCE_MS), signal);
    }
  }

  /** Only while another node leads: its mark tells how long its lease may still run. */
  async #followMark(): Promise<void> {
    const { clock, state, store, waker } = this.#context;
    const signal = this.#stop.signal;
    let after: Revision = revision(0);
    while (!signal.aborted) {
      if (this.#leads()) {
        await state.changes.until(() => signal.aborted || !this.#leads(), ms(clock.now() + HOLDER_WAIT_MIN_MS));
        continue;
      }
      const answer = await store.watchLease(after, { deadline: this.#waitEnd(), signal });
      if (signal.aborted) return;
      if (!answer.ok) {
        await clock.sleepUntil(ms(clock.now() + RETRY_MS), signal);
        continue;
      }
      after = answer.value.revision;
      state.applyMark(answer.value.mark, null);
      if (state.cluster?.leader === null) waker.wake();
    }
  }

  #leads(): boolean {
    return this.#context.state.leads();
  }

  #waitEnd(): Ms {
    const { clock, state } = this.#context;
    const wait = this.#leads()
      ? Math.max(HOLDER_WAIT_MIN_MS, state.settings.dynamic.loopWaitMs * 3)
      : Math.max(5000, state.settings.dynamic.loopWaitMs);
    return ms(clock.now() + wait * SLACK);
  }
}

/** Everything but the members' positions wakes the loop. */
function isImportant(before: Cluster | null, after: Cluster | null): boolean {
  if (before === null || after === null) return true;
  if (before.leader?.session !== after.leader?.session || before.leader?.name !== after.leader?.name) return true;
  if (before.failover?.revision !== after.failover?.revision || before.config?.revision !== after.config?.revision) return true;
  if (before.sync.revision !== after.sync.revision || before.initialize !== after.initialize) return true;
  if (before.members.length !== after.members.length) return true;
  return after.members.some((member, index) => {
    const old = before.members[index];
    return (
      old === undefined ||
      old.name !== member.name ||
      old.state !== member.state ||
      old.role !== member.role ||
      old.connUrl !== member.connUrl ||
      old.apiUrl !== member.apiUrl ||
      old.replicationState !== member.replicationState
    );
  });
}
