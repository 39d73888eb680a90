// Owns one connection of a client to one member: requests out, answers in, matched by number. It repeats nothing and follows
// no hint: that is the client's (lib/dcs/raft/client).

import type { Clock } from "../../../model/clock.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import { Deadlines } from "../deadlines.ts";
import type { Channel, ChannelEnd } from "./channel.ts";
import { type ChannelContext, channelContext, type DialError, type DialOptions, dial } from "./dial.ts";
import { BODY_MAX_BYTES } from "./frame.ts";
import type { HelloAnswer } from "./hello.ts";
import type { Network } from "./network.ts";
import type { Security } from "./security.ts";
import { REQUESTS_MAX } from "./transport.ts";

export interface ClientDialerOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: (bytes: number) => Uint8Array;
  readonly security: Security;
  /** As TransportTimings.silentMs. */
  readonly silentMs: number;
}

/** `not-sent`: the request certainly did not leave. `unknown`: it may have arrived, and no answer will come here any more. */
export interface RequestError {
  readonly kind: "not-sent" | "unknown";
  /** About the other side: "it …". */
  readonly reason: string;
}

/** Opens connections of one client. One for each process: a password is stretched once, which takes a moment. */
export class ClientDialer {
  readonly #context: ChannelContext;

  constructor(options: ClientDialerOptions) {
    this.#context = channelContext(options);
  }

  /** Connected, mutually recognised and ready, or why not. */
  connect(address: string, deadline: Ms): Promise<Result<ClientLink, DialError>> {
    const { clock } = this.#context;
    const options: DialOptions = { address, role: "client", hello: null, deadline, judge: () => null };
    return dial(this.#context, options, (channel, hello) => new ClientLink(clock, channel, hello));
  }
}

interface Waiting {
  readonly settle: (result: Result<string, RequestError>) => void;
  /** Of the deadline. */
  readonly cancel: () => void;
}

export class ClientLink {
  /** Once, when no further request is possible; requests that wait have their error before it. Not after `close`. */
  onClosed: (reason: string) => void = () => {};
  /** Who answers here. */
  readonly hello: HelloAnswer;
  readonly #clock: Clock;
  readonly #channel: Channel;
  readonly #deadlines: Deadlines;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;

  constructor(clock: Clock, channel: Channel, hello: HelloAnswer) {
    this.#clock = clock;
    this.#channel = channel;
    this.#deadlines = new Deadlines(clock);
    this.hello = hello;
    channel.onFrame = (frame) => {
      if (frame.kind === "answer") this.#onAnswer(frame.id, frame.body);
      else channel.refuse("protocol", "it sent a frame that no client gets");
    };
    channel.onClosed = (end) => this.#onChannelClosed(end);
  }

  get open(): boolean {
    return this.#channel.established;
  }

  /** The answer's JSON text, unchecked, to the request's JSON text. Rejects never. */
  request(body: string, deadline: Ms): Promise<Result<string, RequestError>> {
    const now = this.#clock.now();
    const refusal = this.#refusal(body, deadline, now);
    if (refusal !== null) return Promise.resolve(err({ kind: "not-sent", reason: refusal }));
    const id = this.#nextId();
    return new Promise((settle) => {
      const cancel = this.#deadlines.add(deadline, () => this.#settle(id, err(LATE)));
      this.#waiting.set(id, { settle, cancel });
      this.#channel.send({ kind: "request", id, withinMs: deadline - now, body });
    });
  }

  close(): void {
    this.onClosed = () => {};
    this.#channel.close(null);
  }

  #refusal(body: string, deadline: Ms, now: Ms): string | null {
    if (!this.open) return "the connection is closed";
    if (deadline <= now) return "no time is left for it";
    if (this.#waiting.size >= REQUESTS_MAX) return `${REQUESTS_MAX} requests wait for an answer already`;
    return body.length > BODY_MAX_BYTES || Buffer.byteLength(body) > BODY_MAX_BYTES ? `it is longer than ${BODY_MAX_BYTES} bytes` : null;
  }

  /** Numbers come round; one that still waits is passed over. */
  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0;
    while (this.#waiting.has(this.#lastId));
    return this.#lastId;
  }

  /** An answer that nobody waits for came after its deadline. */
  #onAnswer(id: number, body: string): void {
    this.#settle(id, ok(body));
  }

  #settle(id: number, result: Result<string, RequestError>): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    waiting.cancel();
    waiting.settle(result);
  }

  #onChannelClosed(end: ChannelEnd): void {
    for (const id of [...this.#waiting.keys()]) this.#settle(id, err({ kind: "unknown", reason: end.text }));
    this.#deadlines.close();
    this.onClosed(end.text);
  }
}

const LATE: RequestError = { kind: "unknown", reason: "it did not answer in time" };
