// Owns the raft commands' connections to members: one for each address, made when it is first asked. Repeats nothing.

import { randomBytes } from "node:crypto";
import { type ClientRequest, readClientAnswer, writeClientRequest } from "../../dcs/raft/kv/client-protocol.ts";
import { securityOf } from "../../dcs/raft/section.ts";
import { ClientDialer, type ClientLink } from "../../dcs/raft/transport/client-link.ts";
import { tcpNetwork } from "../../dcs/raft/transport/tcp-network.ts";
import { DEFAULT_TRANSPORT_TIMINGS } from "../../dcs/raft/transport/transport.ts";
import type { Clock } from "../../model/clock.ts";
import type { ConfigFault } from "../../model/errors.ts";
import type { Log } from "../../model/log.ts";
import type { RaftConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { Heard, MembersLink } from "./conversation.ts";

/** Errors: the section does not say how connections are protected, or names a file that cannot be used. */
export function openMembersLink(config: RaftConfig, parts: { readonly clock: Clock; readonly log: Log }): Result<MembersLink, ConfigFault> {
  const security = securityOf(config);
  if (!security.ok) return security;
  try {
    const network = tcpNetwork({ ...parts, security: security.value });
    const { silentMs } = DEFAULT_TRANSPORT_TIMINGS;
    const dialer = new ClientDialer({ network, clock: parts.clock, random: randomBytes, security: security.value, silentMs });
    return ok(new DialledMembers(dialer, { clock: parts.clock, connectMs: config.connectionTimeoutMs }));
  } catch (error) {
    return err({ path: "raft", message: error instanceof Error ? error.message : String(error) });
  }
}

class DialledMembers implements MembersLink {
  readonly #dialer: ClientDialer;
  readonly #clock: Clock;
  readonly #connectMs: Ms;
  readonly #links = new Map<string, Promise<Result<ClientLink, string>>>();

  constructor(dialer: ClientDialer, options: { readonly clock: Clock; readonly connectMs: Ms }) {
    this.#dialer = dialer;
    this.#clock = options.clock;
    this.#connectMs = options.connectMs;
  }

  async ask(address: string, request: ClientRequest, deadline: Ms): Promise<Heard> {
    const link = await this.#connected(address, deadline);
    if (!link.ok) return { kind: "silent", reason: link.error };
    const text = await link.value.request(writeClientRequest(request), deadline);
    if (!text.ok)
      return text.error.kind === "unknown" ? unconfirmed(request, text.error.reason) : { kind: "silent", reason: text.error.reason };
    const answer = readClientAnswer(text.value);
    return answer.ok ? answer.value : { kind: "silent", reason: `its answer cannot be read: ${answer.error}` };
  }

  async close(): Promise<void> {
    for (const link of await Promise.all(this.#links.values())) if (link.ok) link.value.close();
    this.#links.clear();
  }

  #connected(address: string, deadline: Ms): Promise<Result<ClientLink, string>> {
    const known = this.#links.get(address);
    if (known !== undefined) return known;
    const within = ms(Math.min(deadline, this.#clock.now() + this.#connectMs));
    const made = this.#dialer.connect(address, within).then((link) => (link.ok ? link : err(link.error.message)));
    this.#links.set(address, made);
    return made;
  }
}

/** A question changes nothing, so no answer is no answer; anything else may have been done. */
function unconfirmed(request: ClientRequest, reason: string): Heard {
  const asks = request.kind === "status" || request.kind === "members";
  return asks ? { kind: "silent", reason } : { kind: "unknown-outcome", reason };
}
