// Owns that the configuration names each member at the address that it advertises: who comes back under another one is the same
// member, in its own place. The leader alone acts; whether such a change is allowed is the core's business.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { RaftClusterId, RaftMember } from "../../../model/raft.ts";
import { ms } from "../../../model/units.ts";
import { everyMember, findMember } from "../core/configuration.ts";
import type { Configuration } from "../core/types.ts";
import type { Transport } from "../transport/transport.ts";
import type { Admin } from "./admin.ts";
import type { Engine } from "./engine.ts";

/** A commit takes milliseconds; on a machine that is held up, seconds. */
const ENTERED_WITHIN_MS = 10_000;

export interface AddressesOptions {
  readonly self: RaftMember;
  readonly clusterId: RaftClusterId;
  readonly engine: Engine;
  readonly admin: Admin;
  readonly transport: Pick<Transport, "connected">;
  readonly configuration: () => Configuration;
  readonly clock: Clock;
  readonly log: Log;
  /** What was refused, or has not come about, is tried again after so long; two processes with one identity change it no faster either. */
  readonly retryMs: number;
}

export class Addresses {
  readonly #options: AddressesOptions;
  readonly #stop = new AbortController();
  #working = false;
  #told = "";

  constructor(options: AddressesOptions) {
    this.#options = options;
  }

  /** To be called when somebody is connected, the configuration is another one, or this member leads. */
  review(): void {
    if (this.#working || this.#moved().length === 0) return;
    this.#working = true;
    void this.#putRight().finally(() => {
      this.#working = false;
    });
  }

  stop(): void {
    this.#stop.abort();
  }

  async #putRight(): Promise<void> {
    const { admin, clock, retryMs } = this.#options;
    for (let moved = this.#moved(); moved.length > 0; moved = this.#moved()) {
      const answer = await admin.change({ kind: "move", members: moved }, ms(clock.now() + ENTERED_WITHIN_MS));
      if (answer.kind === "done") this.#tellEntered(moved);
      else this.#tellMissing(moved, "reason" in answer ? answer.reason : answer.kind);
      await clock.sleepUntil(ms(clock.now() + retryMs), this.#stop.signal);
    }
  }

  /** Those that were left out for somebody else's address are refused by themselves in the next round. */
  #tellEntered(moved: readonly RaftMember[]): void {
    const { log, configuration } = this.#options;
    for (const { id, address } of moved) {
      if (findMember(configuration(), id)?.address === address) log.info(`raft: member ${id} is at ${address} now`);
    }
  }

  /** Once for the same members and the same reason. */
  #tellMissing(moved: readonly RaftMember[], reason: string): void {
    const who = moved.map(({ id, address }) => `the new address ${address} of member ${id}`).join(", ");
    const text = `raft: not entered yet: ${who}: ${reason}`;
    if (text !== this.#told && !this.#stop.signal.aborted) this.#options.log.warning(text);
    this.#told = text;
  }

  /** Members that say of themselves to be elsewhere than the configuration has them, as they are now; none where another one leads. */
  #moved(): readonly RaftMember[] {
    const { engine, configuration, self, transport, clusterId } = this.#options;
    if (this.#stop.signal.aborted || engine.role.role !== "leader") return [];
    const connected = transport.connected();
    return everyMember(configuration()).flatMap(({ id, address }) => {
      const hello = connected.get(id);
      const said = id === self.id ? self.address : hello?.clusterId === clusterId ? hello.address : address;
      return said !== address && said !== "" ? [{ id, address: said }] : [];
    });
  }
}
