// Owns the connections to one other member: dials it while it is wanted, takes what it dials, and settles which one is used.
// Knows no frame's meaning.
//
// Both sides dial, so that a member that starts again is connected at once whoever notices first. Everything that arrives on any
// connection counts; the newest one is used for sending. Where both dialled at the same time, both send on the one that the side
// with the smaller id dialled; the other side closes its own after a moment, in which what was sent on it still arrives. A connection from another run of the process,
// or one more that the same side dialled, replaces the old ones at once: they are dead there.

import type { Log } from "../../../model/log.ts";
import type { MemberId } from "../../../model/raft.ts";
import { type Ms, ms } from "../../../model/units.ts";
import type { Channel, ChannelEnd } from "./channel.ts";
import { type ChannelContext, type DialError, type DialOptions, dial } from "./dial.ts";
import type { Frame } from "./frame.ts";
import type { HelloAnswer } from "./hello.ts";

/** The first wait after a failed attempt; each further one twice as long, up to `retryMs`. */
const RETRY_FIRST_MS = 50;
/** How long the connection that is not needed is kept after both sides dialled at once. */
const LINGER_MS = 1000;

/**
 * - `gone`: reset, or nobody listens at its address: as far as can be seen from here, its process is gone. - `silent`: nothing comes from it any more.
 * - `replaced`: it came back on another connection (an `up` follows at once). - `restarted`: the same, and it is another process by now.
 * - `closed`: one side closed on purpose.
 */
export type LostCause = "gone" | "silent" | "replaced" | "restarted" | "closed";

export interface LinkOptions {
  readonly context: ChannelContext;
  readonly log: Log;
  readonly own: MemberId;
  readonly peer: MemberId;
  readonly connectMs: number;
  readonly retryMs: number;
  readonly hello: () => HelloAnswer;
  readonly judge: DialOptions["judge"];
  readonly onFrame: (channel: Channel, frame: Parameters<Channel["onFrame"]>[0]) => void;
  readonly onUp: (hello: HelloAnswer) => void;
  readonly onLost: (cause: LostCause) => void;
}

interface Held {
  readonly channel: Channel;
  readonly hello: HelloAnswer;
  readonly dialledBy: "self" | "peer";
  readonly since: Ms;
}

export class Link {
  readonly #options: LinkOptions;
  /** Newest last; at most one that each side dialled. */
  #held: readonly Held[] = [];
  #address: string | null = null;
  #dialling: AbortController | null = null;
  #failure: string | null = null;
  /** Nobody listens there: told once, until somebody does. */
  #goneTold = false;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  /** The HELLO of the connection in use; null: there is none. */
  get hello(): HelloAnswer | null {
    return this.#used()?.hello ?? null;
  }

  /** Nobody needs it: not wanted, not connected. */
  get idle(): boolean {
    return this.#address === null && this.#held.length === 0;
  }

  /** Where to dial from now on; null: not at all. What is connected stays. */
  want(address: string | null): void {
    if (address === this.#address) return;
    this.#address = address;
    this.#failure = null;
    this.#stopDialling();
    this.#startDialling();
  }

  /** Dropped where there is no connection. */
  send(frame: Frame): void {
    this.#used()?.channel.send(frame);
  }

  /** Takes an established channel that the other side dialled. */
  accept(channel: Channel, hello: HelloAnswer): void {
    this.#hold({ channel, hello, dialledBy: "peer", since: this.#options.context.clock.now() });
  }

  /** A channel that was accepted has ended. */
  ended(channel: Channel, end: ChannelEnd): void {
    const held = this.#held.find((one) => one.channel === channel);
    if (held === undefined) return;
    this.#held = this.#held.filter((one) => one !== held);
    if (this.#held.length > 0) return;
    if (end.kind !== "closed") this.#options.log.warning(`raft: lost the connection to ${this.#name(held.hello.address)}: ${end.text}`);
    this.#lost(end.kind === "gone" ? "gone" : end.kind === "silent" ? "silent" : "closed");
    this.#stopDialling();
    this.#startDialling();
  }

  /** Closes what is connected; dials again where it is wanted. */
  reset(): void {
    for (const { channel } of [...this.#held]) channel.close("other-cluster");
  }

  close(): void {
    this.#address = null;
    this.#stopDialling();
    for (const { channel } of [...this.#held]) channel.close(null);
  }

  /**
   * The newest. Where both dialled at once, the one that stays: what is sent on the other one could still be under way when it is
   * closed. An old one beside a newer one may be dead without our knowing.
   */
  #used(): Held | undefined {
    const [older, newer] = this.#held;
    if (older === undefined || newer === undefined || newer.since - older.since > this.#options.connectMs) return newer ?? older;
    const { own, peer } = this.#options;
    return older.dialledBy === (own < peer ? "self" : "peer") ? older : newer;
  }

  #hold(held: Held): void {
    const replaced = this.#held.filter((one) => one.hello.run !== held.hello.run || one.dialledBy === held.dialledBy);
    const beside = this.#held.filter((one) => !replaced.includes(one));
    const wasUp = this.#held.length > 0;
    const restarted = this.#held.some((one) => one.hello.run !== held.hello.run);
    this.#held = [...beside, held];
    for (const { channel } of replaced) channel.close("superseded");
    this.#failure = null;
    this.#goneTold = false;
    if (wasUp && beside.length === 0) this.#options.onLost(restarted ? "restarted" : "replaced");
    if (beside.length > 0) return void this.#settle();
    this.#options.log.info(`raft: connected to ${this.#name(held.hello.address)}`);
    this.#options.onUp(held.hello);
  }

  /** Both dialled: whose id is greater closes its own, where the other one is still there. */
  async #settle(): Promise<void> {
    const { own, peer, context } = this.#options;
    if (own < peer) return;
    await context.clock.sleepUntil(ms(context.clock.now() + LINGER_MS));
    const mine = this.#held.find((one) => one.dialledBy === "self");
    if (mine !== undefined && this.#held.length > 1) mine.channel.close("superseded");
  }

  #lost(cause: LostCause): void {
    this.#goneTold = cause === "gone";
    this.#options.onLost(cause);
  }

  #stopDialling(): void {
    this.#dialling?.abort();
    this.#dialling = null;
  }

  #startDialling(): void {
    if (this.#dialling !== null || this.#address === null || this.#held.length > 0) return;
    this.#dialling = new AbortController();
    void this.#dialUntilUp(this.#address, this.#dialling);
  }

  async #dialUntilUp(address: string, dialling: AbortController): Promise<void> {
    const { context, connectMs, retryMs } = this.#options;
    const { clock } = context;
    for (let wait = Math.min(RETRY_FIRST_MS, retryMs); this.#dialling === dialling; wait = Math.min(wait * 2, retryMs)) {
      const begun = clock.now();
      const deadline = ms(begun + connectMs);
      const judge: DialOptions["judge"] = (hello, role) => this.#judge(hello) ?? this.#options.judge(hello, role);
      const options: DialOptions = { address, role: "link", hello: this.#options.hello(), deadline, judge };
      const result = await dial(context, options, (channel, hello) => this.#take(channel, hello), dialling.signal);
      if (this.#dialling !== dialling) return;
      if (result.ok || this.#held.length > 0) {
        this.#dialling = null;
        return;
      }
      this.#failed(address, result.error);
      // From one beginning to the next: who waited for an answer in vain has waited. Up to a quarter less, so that members that
      // lost each other do not go on dialling at the same instants.
      const jitter = (context.random(1)[0] ?? 0) / 1024;
      await clock.sleepUntil(ms(begun + wait * (1 - jitter)), dialling.signal);
      if (this.#held.length > 0 && this.#dialling === dialling) this.#dialling = null;
    }
  }

  /** Not after `want` or `close` gave the attempt up: that has closed the channel. */
  #take(channel: Channel, hello: HelloAnswer): void {
    channel.onFrame = (frame) => this.#options.onFrame(channel, frame);
    channel.onClosed = (end) => this.ended(channel, end);
    this.#hold({ channel, hello, dialledBy: "self", since: this.#options.context.clock.now() });
  }

  #judge(hello: HelloAnswer | null): ReturnType<DialOptions["judge"]> {
    if (hello === null || hello.memberId === this.#options.peer) return null;
    return { kind: "refused", farewell: "other-member", text: `another member (${hello.memberId}) answers there` };
  }

  #failed(address: string, error: DialError): void {
    if (error.message !== this.#failure) {
      this.#failure = error.message;
      this.#options.log.warning(`raft: no connection to ${this.#name(address)}: ${error.message}`);
    }
    if (error.kind === "refused" && !this.#goneTold) this.#lost("gone");
  }

  #name(address: string): string {
    return `member ${this.#options.peer} at ${address}`;
  }
}
