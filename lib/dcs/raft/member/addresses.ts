// Owns that the configuration names each member at the address that it advertises: who comes back under another one is the same
// member, in its own place. The leader alone acts; whether such a change is allowed is the core's business.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { RaftClusterId, RaftMember } from "../../../model/raft.ts";
import { ms } from "../../../model/units.ts";
import { everyMember } from "../core/configuration.ts";
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
  readonly transport: Transport;
  readonly configuration: () => Configuration;
  readonly clock: Clock;
  readonly log: Log;
  /** What was refused, or has not come about, is tried again after so long. */
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
    if (this.#working || this.#moved() === null) return;
    this.#working = true;
    void this.#putRight().finally(() => {
      this.#working = false;
    });
  }

  stop(): void {
    this.#stop.abort();
  }

  async #putRight(): Promise<void> {
    const { admin, clock, log, retryMs } = this.#options;
    for (let member = this.#moved(); member !== null; member = this.#moved()) {
      const answer = await admin.change({ kind: "move", member }, ms(clock.now() + ENTERED_WITHIN_MS));
      if (answer.kind === "done") {
        log.info(`raft: member ${member.id} is at ${member.address} now`);
        continue;
      }
      const text = `raft: the new address ${member.address} of member ${member.id} is not entered yet: ${"reason" in answer ? answer.reason : answer.kind}`;
      if (text !== this.#told && !this.#stop.signal.aborted) log.warning(text);
      this.#told = text;
      await clock.sleepUntil(ms(clock.now() + retryMs), this.#stop.signal);
    }
  }

  /** A member that says of itself to be elsewhere than the configuration has it, as it is now; null where there is none, or another one leads. */
  #moved(): RaftMember | null {
    const { engine, configuration, self, transport, clusterId } = this.#options;
    if (this.#stop.signal.aborted || engine.role.role !== "leader") return null;
    const connected = transport.connected();
    for (const { id, address } of everyMember(configuration())) {
      const hello = connected.get(id);
      const said = id === self.id ? self.address : hello?.clusterId === clusterId ? hello.address : address;
      if (said !== address && said !== "") return { id, address: said };
    }
    return null;
  }
}
