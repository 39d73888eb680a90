// Owns the connections that others open until each is known: who may come in, how many, how long they may take. What becomes
// of a channel whose handshake is done is decided by transport.ts.

import { type Ms, ms } from "../../../model/units.ts";
import { Channel } from "./channel.ts";
import type { ChannelContext } from "./dial.ts";
import type { HandshakeOptions } from "./handshake.ts";
import { type HelloAnswer, NONCE_BYTES, type Role } from "./hello.ts";
import type { Connection } from "./network.ts";
import type { RefusalLog } from "./refusal-log.ts";

/**
 * Connections without a HELLO at one time. One more ends the oldest: a member needs a few round trips and gets through
 * a crowd of silent ones, which would otherwise hold every place until their deadline.
 */
export const HANDSHAKES_MAX = 128;
/** Clients at one time: every node without a member keeps a connection or two. */
export const CLIENTS_MAX = 512;
/** Links and questions of members at one time: nine members, as many newcomers, each twice while connections are replaced. */
export const MEMBER_CONNECTIONS_MAX = 64;

export interface ReceptionOptions {
  readonly context: ChannelContext;
  readonly helloMs: number;
  readonly refusals: RefusalLog;
  readonly hello: () => HelloAnswer;
  readonly judge: HandshakeOptions["judge"];
  /** A channel whose handshake is done. Sets its onFrame; its end is told to `onLeft`. */
  readonly onArrived: (channel: Channel, role: Role, hello: HelloAnswer | null) => void;
  readonly onLeft: (channel: Channel, end: Parameters<Channel["onClosed"]>[0]) => void;
}

export class Reception {
  readonly #options: ReceptionOptions;
  /** Oldest first. */
  readonly #waiting = new Set<Channel>();
  readonly #inside = new Map<Channel, "client" | "member">();

  constructor(options: ReceptionOptions) {
    this.#options = options;
  }

  /** Takes a new connection. */
  accept(connection: Connection): void {
    const { context, helloMs, hello } = this.#options;
    const [oldest] = this.#waiting;
    if (this.#waiting.size >= HANDSHAKES_MAX) oldest?.refuse("full", "too many connections were waiting to say HELLO");
    const own = hello();
    const channel = new Channel({
      side: "responder",
      connection,
      clock: context.clock,
      silentMs: context.silentMs,
      deadline: this.#deadline(helloMs),
      handshake: {
        protection: context.protection,
        stretched: context.stretched,
        nonce: context.random(NONCE_BYTES),
        address: own.address,
        hello: own,
        role: "link",
        judge: (other, role) => this.#judge(other, role),
      },
    });
    this.#waiting.add(channel);
    channel.onEstablished = (role, other) => this.#onEstablished(channel, role, other);
    channel.onClosed = (end) => this.#onClosed(channel, end);
  }

  closeAll(): void {
    for (const channel of [...this.#waiting, ...this.#inside.keys()]) channel.close(null);
  }

  #judge(other: HelloAnswer | null, role: Role): ReturnType<HandshakeOptions["judge"]> {
    const kind = role === "client" ? "client" : "member";
    const most = kind === "client" ? CLIENTS_MAX : MEMBER_CONNECTIONS_MAX;
    let count = 0;
    for (const inside of this.#inside.values()) if (inside === kind) count++;
    if (count >= most) return { kind: "refused", farewell: "full", text: `${count} connections of ${kind}s are open already` };
    return this.#options.judge(other, role);
  }

  #onEstablished(channel: Channel, role: Role, hello: HelloAnswer | null): void {
    this.#waiting.delete(channel);
    this.#inside.set(channel, role === "client" ? "client" : "member");
    this.#options.onArrived(channel, role, hello);
  }

  #onClosed(channel: Channel, end: Parameters<Channel["onClosed"]>[0]): void {
    const known = this.#inside.delete(channel);
    this.#waiting.delete(channel);
    // Whoever connects and leaves without a word (a port check) did nothing wrong; a farewell is logged where it was said.
    const cutShort = !known && (end.kind === "silent" || (end.kind === "gone" && channel.heard));
    if (end.kind === "misfit") this.#options.refusals.refused(channel.remote, end.text, "misfit");
    else if (end.kind === "refused" || cutShort) this.#options.refusals.refused(channel.remote, end.text);
    if (known) this.#options.onLeft(channel, end);
  }

  #deadline(afterMs: number): Ms {
    return ms(this.#options.context.clock.now() + afterMs);
  }
}
