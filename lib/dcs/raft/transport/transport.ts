// Owns the traffic of one member: its listening port, a link to each other member, questions to addresses, and clients. It
// moves frames and says who is there; what they mean is decided by lib/dcs/raft/member.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { MemberId, RaftMember } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import type { Channel, ChannelEnd } from "./channel.ts";
import { type ChannelContext, channelContext, type DialOptions, dial } from "./dial.ts";
import type { Frame, PeerFrame } from "./frame.ts";
import type { HandshakeOptions } from "./handshake.ts";
import type { HelloAnswer, Role, TransportIdentity } from "./hello.ts";
import { Link, type LostCause } from "./link.ts";
import type { Listener, Network } from "./network.ts";
import { Reception } from "./reception.ts";
import { RefusalLog } from "./refusal-log.ts";
import type { Security } from "./security.ts";

/** In ms. */
export interface TransportTimings {
  /** One attempt to connect, handshake included. */
  readonly connectMs: number;
  /** Between attempts at most (raft.connection_retry_time); the first ones come sooner. */
  readonly retryMs: number;
  /** For who connects to us, until its HELLO. */
  readonly helloMs: number;
  /** A connection on which nothing came for so long is given up, so that a new one can be made. */
  readonly silentMs: number;
}

export const DEFAULT_TRANSPORT_TIMINGS: TransportTimings = { connectMs: 2000, retryMs: 1000, helloMs: 5000, silentMs: 2000 };

export interface TransportOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly log: Log;
  /** What the HELLO says, asked anew for each connection. The member id never changes. */
  readonly identity: () => TransportIdentity;
  readonly security: Security;
  readonly timings: TransportTimings;
}

/** A client's request. Its answer is dropped once the client is gone. */
export interface ClientRequestFrame {
  /** The client's own number for it; unique on its connection while unanswered. */
  readonly id: number;
  /** JSON text, unchecked. */
  readonly body: string;
  /** The client gives up then. */
  readonly deadline: Ms;
  /** `host:port` of the client, for log lines. */
  readonly remote: string;
  /** Aborts when its connection ends: whoever waits for it (a watch) may stop. */
  readonly gone: AbortSignal;
}

/** Members that are connected and not wanted (newcomers, the removed) at one time. */
const UNWANTED_LINKS_MAX = 32;
/** Unanswered requests of one client; a client link keeps below it (client-link.ts). */
export const REQUESTS_MAX = 1024;
/** A client that asks for more than an hour is answered within it. */
const REQUEST_MAX_MS = 3_600_000;
const RUN_BYTES = 16;

export class Transport {
  onPeerFrame: (from: MemberId, frame: PeerFrame) => void = () => {};
  onPeerUp: (id: MemberId, hello: HelloAnswer) => void = () => {};
  /** Only `gone` says that its process is not there. Frames on their way are lost with every cause. */
  onPeerLost: (id: MemberId, cause: LostCause) => void = () => {};
  /** `answer` takes JSON text, once. */
  onClientRequest: (request: ClientRequestFrame, answer: (body: string) => void) => void = () => {};
  readonly #options: TransportOptions;
  readonly #context: ChannelContext;
  readonly #run: string;
  readonly #links = new Map<MemberId, Link>();
  readonly #wanted = new Set<MemberId>();
  readonly #refusals: RefusalLog;
  readonly #reception: Reception;
  readonly #clients = new Map<Channel, { readonly gone: AbortController; waiting: number }>();
  readonly #asking = new AbortController();
  #listener: Listener | null = null;
  #closed = false;

  constructor(options: TransportOptions) {
    const { network, clock, random, security, log, timings } = options;
    this.#options = options;
    this.#context = channelContext({ network, clock, random, security, silentMs: timings.silentMs });
    this.#run = Buffer.from(random(RUN_BYTES)).toString("hex");
    this.#refusals = new RefusalLog(log, clock);
    this.#reception = new Reception({
      context: this.#context,
      helloMs: timings.helloMs,
      refusals: this.#refusals,
      hello: () => this.#hello(),
      judge: (hello, role) => this.#judge(hello, role),
      onArrived: (channel, role, hello) => this.#onArrived(channel, role, hello),
      onLeft: (channel, end) => this.#onLeft(channel, end),
    });
  }

  /** Once. The error says why the address cannot be bound. */
  async listen(bindAddress: string): Promise<Result<Listener, string>> {
    try {
      const listener = await this.#options.network.listen(bindAddress, (connection) => {
        if (this.#closed) connection.close();
        else this.#reception.accept(connection);
      });
      this.#listener = listener;
      if (this.#closed) listener.close();
      return ok(listener);
    } catch (error) {
      return err(`cannot listen on ${bindAddress}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Whom to stay connected to (self is left out). Who is not named any more is not dialled; what is connected stays. */
  setPeers(members: readonly RaftMember[]): void {
    if (this.#closed) return;
    const own = this.#options.identity().memberId;
    const wanted = new Map(members.filter(({ id }) => id !== own).map(({ id, address }) => [id, address]));
    for (const id of [...this.#wanted]) {
      if (wanted.has(id)) continue;
      this.#wanted.delete(id);
      this.#links.get(id)?.want(null);
      this.#forget(id);
    }
    for (const [id, address] of wanted) {
      this.#wanted.add(id);
      this.#link(id).want(address);
    }
  }

  /** Dropped where there is no connection: whoever sends repeats what matters. Throws RangeError above FRAME_MAX_BYTES. */
  send(to: MemberId, frame: PeerFrame): void {
    this.#links.get(to)?.send(frame);
  }

  /** Who is connected, and what each last said of itself. */
  connected(): ReadonlyMap<MemberId, HelloAnswer> {
    const connected = new Map<MemberId, HelloAnswer>();
    for (const [id, link] of this.#links) if (link.hello !== null) connected.set(id, link.hello);
    return connected;
  }

  /** Who answers at the address: whatever its cluster, itself included. The error says why nobody does. */
  async ask(address: string, deadline: Ms): Promise<Result<HelloAnswer, string>> {
    const options: DialOptions = { address, role: "ask", hello: this.#hello(), deadline, judge: () => null };
    const answer = await dial(this.#context, options, takeAnswer, this.#asking.signal);
    return answer.ok ? answer : err(answer.error.message);
  }

  /** To be called when this member's cluster id has changed: who belongs to another cluster is let go. */
  identityChanged(): void {
    const { clusterId } = this.#options.identity();
    for (const link of [...this.#links.values()]) {
      const other = link.hello?.clusterId ?? null;
      if (clusterId !== null && other !== null && other !== clusterId) link.reset();
    }
  }

  /** Ends every connection; no handler is called after it. */
  close(): void {
    this.#closed = true;
    this.#asking.abort();
    this.#listener?.close();
    for (const link of [...this.#links.values()]) link.close();
    this.#reception.closeAll();
  }

  #hello(): HelloAnswer {
    return { ...this.#options.identity(), run: this.#run };
  }

  #link(id: MemberId): Link {
    const { log, timings, identity } = this.#options;
    const known = this.#links.get(id);
    if (known !== undefined) return known;
    const link = new Link({
      context: this.#context,
      log,
      own: identity().memberId,
      peer: id,
      connectMs: timings.connectMs,
      retryMs: timings.retryMs,
      hello: () => this.#hello(),
      judge: (hello, role) => this.#judge(hello, role),
      onFrame: (channel, frame) => this.#onPeerFrame(id, channel, frame),
      onUp: (hello) => this.onPeerUp(id, hello),
      onLost: (cause) => {
        this.#forget(id);
        if (!this.#closed) this.onPeerLost(id, cause);
      },
    });
    this.#links.set(id, link);
    return link;
  }

  #forget(id: MemberId): void {
    if (!this.#wanted.has(id) && this.#links.get(id)?.idle === true) this.#links.delete(id);
  }

  #judge(hello: HelloAnswer | null, role: Role): ReturnType<HandshakeOptions["judge"]> {
    if (hello === null || role !== "link") return null;
    const { memberId, clusterId } = this.#options.identity();
    if (hello.memberId === memberId) return { kind: "refused", farewell: "other-member", text: "it has this member's own identity" };
    if (clusterId !== null && hello.clusterId !== null && hello.clusterId !== clusterId) {
      return { kind: "refused", farewell: "other-cluster", text: `it belongs to another cluster (${hello.clusterId})` };
    }
    if (!this.#links.has(hello.memberId) && this.#links.size - this.#wanted.size >= UNWANTED_LINKS_MAX) {
      return { kind: "refused", farewell: "full", text: "too many members that belong to no configuration are connected" };
    }
    return null;
  }

  #onArrived(channel: Channel, role: Role, hello: HelloAnswer | null): void {
    if (hello === null) {
      this.#clients.set(channel, { gone: new AbortController(), waiting: 0 });
      channel.onFrame = (frame) => this.#onClientFrame(channel, frame);
    } else if (role === "ask") {
      channel.onFrame = () => channel.refuse("protocol", "it sent a frame where it only wanted to ask");
    } else {
      const id = hello.memberId;
      channel.onFrame = (frame) => this.#onPeerFrame(id, channel, frame);
      this.#link(id).accept(channel, hello);
    }
  }

  #onLeft(channel: Channel, end: ChannelEnd): void {
    this.#clients.get(channel)?.gone.abort();
    this.#clients.delete(channel);
    for (const link of [...this.#links.values()]) link.ended(channel, end);
  }

  #onPeerFrame(from: MemberId, channel: Channel, frame: Exclude<Frame, { readonly kind: "ping" | "farewell" }>): void {
    if (frame.kind === "request" || frame.kind === "answer") {
      channel.refuse("protocol", "it sent a client's frame as a member");
      return;
    }
    this.onPeerFrame(from, frame);
  }

  #onClientFrame(channel: Channel, frame: Exclude<Frame, { readonly kind: "ping" | "farewell" }>): void {
    const client = this.#clients.get(channel);
    if (client === undefined) return;
    if (frame.kind !== "request") {
      channel.refuse("protocol", "it sent a member's frame as a client");
      return;
    }
    if (client.waiting === REQUESTS_MAX) {
      channel.refuse("too-much", `more than ${REQUESTS_MAX} requests of it wait for an answer`);
      return;
    }
    client.waiting++;
    const { id, body, withinMs } = frame;
    const deadline = ms(this.#options.clock.now() + Math.min(withinMs, REQUEST_MAX_MS));
    let answered = false;
    this.onClientRequest({ id, body, deadline, remote: channel.remote, gone: client.gone.signal }, (text) => {
      if (answered) throw new Error(`request ${id} of ${channel.remote} was answered twice`);
      answered = true;
      client.waiting--;
      channel.send({ kind: "answer", id, body: text });
    });
  }
}

/** Whoever only asks leaves with the answer. */
function takeAnswer(channel: Channel, hello: HelloAnswer): HelloAnswer {
  channel.close(null);
  return hello;
}
