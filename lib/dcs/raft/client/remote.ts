// Owns the way to the members over the network: one connection at a time, to any of several addresses; follows the leader where
// an answer names it, goes on to the next address where one does not answer. Repeats no command: commands.ts does.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import { type ClientAnswer, type ClientRequest, readClientAnswer, writeClientRequest } from "../kv/client-protocol.ts";
import { ClientDialer, type ClientDialerOptions, type ClientLink } from "../transport/client-link.ts";
import { fitsFrame } from "../transport/frame.ts";
import type { RaftChannel } from "./channel.ts";

/** One attempt to connect, so that an address that is silent does not use up the time of the others. */
const CONNECT_MAX_MS = 1000;
/** Between rounds over all addresses. */
const ROUND_WAIT_MS = 50;

export interface RemoteOptions extends ClientDialerOptions {
  /** `host:port`; at least one. */
  readonly addresses: readonly string[];
  readonly log: Log;
}

export class RemoteMembers implements RaftChannel {
  readonly #addresses: readonly string[];
  readonly #dialer: ClientDialer;
  readonly #clock: Clock;
  readonly #log: Log;
  #link: ClientLink | null = null;
  /** How many requests wait on each connection. */
  readonly #asking = new Map<ClientLink, number>();
  #connecting: Promise<Result<ClientLink, string>> | null = null;
  /** Where to connect next. */
  #next: number;
  /** Named by an answer; tried once before the others. */
  #hint: string | null = null;
  #closed = false;

  constructor(options: RemoteOptions) {
    if (options.addresses.length === 0) throw new Error("a client needs the address of a member");
    this.#addresses = options.addresses;
    this.#dialer = new ClientDialer(options);
    this.#clock = options.clock;
    this.#log = options.log;
    // Spread over the members, or all clients would lean on the first.
    this.#next = (options.random(1)[0] ?? 0) % options.addresses.length;
  }

  async request(request: ClientRequest, deadline: Ms, gone: AbortSignal | null = null): Promise<ClientAnswer> {
    const body = writeClientRequest(request);
    if (!fitsFrame(body)) return TOO_LONG;
    let reason = "no member could be reached";
    const isGone = (): boolean => gone?.aborted === true;
    while (!this.#closed && !isGone()) {
      const link = await abandonable(this.#connected(deadline), gone);
      if (link === null) break;
      if (!link.ok) return { kind: "unavailable", reason: link.error };
      // While the connection was waited for: a signal that was given before it is listened to is given to nobody.
      if (isGone()) break;
      const answered = await abandonable(this.#ask(link.value, body, deadline), gone);
      if (answered === null) break;
      if (answered.ok) return this.#read(answered.value, link.value);
      reason = answered.error.reason;
      // Refused here, for too much that waits: the connection is as good as before.
      if (answered.error.kind === "not-sent" && link.value.open) break;
      this.#drop(link.value);
      if (answered.error.kind === "unknown") return { kind: "unknown-outcome", reason };
      if (this.#clock.now() >= deadline) break;
    }
    return {
      kind: "unavailable",
      reason: this.#closed ? "this client is closed" : isGone() ? "nobody waits for it" : reason,
    };
  }

  close(): void {
    this.#closed = true;
    this.#link?.close();
    this.#link = null;
  }

  async #ask(link: ClientLink, body: string, deadline: Ms): ReturnType<ClientLink["request"]> {
    this.#asking.set(link, (this.#asking.get(link) ?? 0) + 1);
    const answer = await link.request(body, deadline);
    const left = (this.#asking.get(link) ?? 1) - 1;
    this.#asking.set(link, left);
    if (left === 0) this.#asking.delete(link);
    if (left === 0 && link !== this.#link) link.close();
    return answer;
  }

  #read(text: string, link: ClientLink): ClientAnswer {
    const answer = readClientAnswer(text);
    if (!answer.ok) return { kind: "unknown-outcome", reason: `the answer makes no sense: ${answer.error}` };
    // Without a leader in sight, or cut off from it, or not yet serving: another member may know better.
    if (answer.value.kind === "not-leader") this.#hint = answer.value.leader?.address ?? null;
    if (answer.value.kind === "not-leader" || answer.value.kind === "unavailable") {
      if (this.#hint !== null || this.#addresses.length > 1) this.#leave(link);
    }
    return answer.value;
  }

  /** All share one attempt, and nobody waits for it beyond his own deadline: a watch may have begun it, which has half a minute. */
  async #connected(deadline: Ms): Promise<Result<ClientLink, string>> {
    if (this.#link?.open === true) return ok(this.#link);
    this.#connecting ??= this.#connect(deadline).finally(() => {
      this.#connecting = null;
    });
    const over = new AbortController();
    const late = this.#clock.sleepUntil(deadline, over.signal).then(() => err("no member could be reached in time"));
    try {
      return await Promise.race([this.#connecting, late]);
    } finally {
      over.abort();
    }
  }

  async #connect(deadline: Ms): Promise<Result<ClientLink, string>> {
    let failures: string[] = [];
    for (let attempt = 1; !this.#closed && this.#clock.now() < deadline; attempt++) {
      const hint = this.#hint;
      this.#hint = null;
      const address = hint ?? (this.#addresses[this.#next++ % this.#addresses.length] as string);
      const dialled = await this.#dialer.connect(address, ms(Math.min(deadline, this.#clock.now() + CONNECT_MAX_MS)));
      if (dialled.ok) return this.#take(dialled.value, address);
      failures = [...failures, `${address}: ${dialled.error.message}`].slice(-this.#addresses.length);
      if (attempt % this.#addresses.length === 0) await this.#clock.sleepUntil(ms(Math.min(deadline, this.#clock.now() + ROUND_WAIT_MS)));
    }
    return err(failures.length === 0 ? "no time was left to connect" : failures.join("; "));
  }

  #take(link: ClientLink, address: string): Result<ClientLink, string> {
    if (this.#closed) {
      link.close();
      return err("this client is closed");
    }
    this.#log.debug(`raft: asking the member at ${address}`);
    this.#link = link;
    link.onClosed = () => this.#forget(link);
    return ok(link);
  }

  /** It did not answer: whatever else waits there will be repeated elsewhere. */
  #drop(link: ClientLink): void {
    this.#forget(link);
    link.close();
  }

  /** New requests go elsewhere; those that wait there may still be answered, the last of them closes it. */
  #leave(link: ClientLink): void {
    this.#forget(link);
    if (!this.#asking.has(link)) link.close();
  }

  #forget(link: ClientLink): void {
    if (this.#link === link) this.#link = null;
  }
}

const TOO_LONG: ClientAnswer = { kind: "refused", reason: "the request is too long" };

/** Null where nobody waits any more. */
async function abandonable<T>(answer: Promise<T>, gone: AbortSignal | null): Promise<T | null> {
  if (gone === null) return answer;
  return new Promise((resolve) => {
    const leave = (): void => resolve(null);
    gone.addEventListener("abort", leave, { once: true });
    void answer.then((value) => {
      gone.removeEventListener("abort", leave);
      resolve(value);
    });
  });
}
