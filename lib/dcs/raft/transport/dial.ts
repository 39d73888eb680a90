// Owns opening a connection and shaking hands on it, for links, questions and clients alike. Retries nothing.

import type { Clock } from "../../../model/clock.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import { Channel, type ChannelEnd } from "./channel.ts";
import type { HandshakeOptions } from "./handshake.ts";
import { type HelloAnswer, NONCE_BYTES, type Role } from "./hello.ts";
import type { ConnectError, Network } from "./network.ts";
import type { Security } from "./security.ts";
import { stretchPassword } from "./session-keys.ts";

/** What every connection of this process needs. */
export interface ChannelContext {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly protection: Security["kind"];
  readonly stretched: Uint8Array | null;
  /** Established: nothing came for so long = gone. Each side says something four times as often. */
  readonly silentMs: number;
}

export function channelContext(
  options: Omit<ChannelContext, "protection" | "stretched"> & { readonly security: Security },
): ChannelContext {
  const { network, clock, random, security, silentMs } = options;
  const stretched = security.kind === "password" ? stretchPassword(security.password) : null;
  return { network, clock, random, protection: security.kind, stretched, silentMs };
}

/** `rejected`: it answered, and one of both sides does not want the other. `message` is about the other side. */
export type DialError = ConnectError | { readonly kind: "rejected"; readonly message: string };

export interface DialOptions {
  readonly address: string;
  readonly role: Role;
  readonly hello: HelloAnswer | null;
  readonly deadline: Ms;
  readonly judge: HandshakeOptions["judge"];
}

/**
 * An established channel, or why there is none. `take` sets its handlers; it is called at once, because the other side's first
 * frames may stand in the same bytes as its HELLO. The signal gives it up.
 */
export async function dial<T>(
  context: ChannelContext,
  options: DialOptions,
  take: (channel: Channel, hello: HelloAnswer) => T,
  signal?: AbortSignal,
): Promise<Result<T, DialError>> {
  const connection = await context.network.connect(options.address, options.deadline);
  if ("kind" in connection) return err(connection);
  if (signal?.aborted === true) {
    connection.close();
    return err({ kind: "timeout", message: "given up" });
  }
  const { address, role, hello, deadline, judge } = options;
  const { clock, silentMs, protection, stretched, random } = context;
  const handshake = { protection, stretched, nonce: random(NONCE_BYTES), address, role, hello, judge };
  const channel = new Channel({ side: "initiator", connection, clock, silentMs, deadline, handshake });
  return new Promise((resolve) => {
    const giveUp = (): void => channel.close(null);
    signal?.addEventListener("abort", giveUp, { once: true });
    const settle = (result: Result<T, DialError>): void => {
      signal?.removeEventListener("abort", giveUp);
      resolve(result);
    };
    channel.onClosed = (end) => settle(err(dialError(end, protection)));
    channel.onEstablished = (_role, answer) => {
      channel.onClosed = () => {};
      // The handshake lets only a member answer.
      if (answer !== null) settle(ok(take(channel, answer)));
    };
  });
}

function dialError(end: ChannelEnd, protection: Security["kind"]): DialError {
  switch (end.kind) {
    case "gone":
      // A server's refusal of our certificate comes when TLS 1.3 already looks done to us.
      return { kind: "unreachable", message: protection === "tls" ? `${end.text} (does it trust this side's certificate?)` : end.text };
    case "silent":
    case "closed":
      return { kind: "timeout", message: end.text };
    case "farewell":
    case "refused":
    case "misfit":
      return { kind: "rejected", message: end.text };
  }
}
