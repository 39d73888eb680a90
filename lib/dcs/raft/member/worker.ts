// Owns the member's side of its Worker thread: a member on a real folder and real sockets, driven by messages. The thread has
// nothing else to do, so that a busy main thread cannot delay a heartbeat. The entry is lib/runtime/raft-thread.ts.

import { randomBytes } from "node:crypto";
import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import type { ToMain, ToMember } from "../client/thread-protocol.ts";
import { Batch, readBatch, readToMember, toldText } from "../client/thread-protocol.ts";
import { type ClientAnswer, readClientRequest } from "../kv/client-protocol.ts";
import { openFileDisk } from "../storage/file-disk.ts";
import { tcpNetwork } from "../transport/tcp-network.ts";
import { RaftMemberNode } from "./node.ts";
import { writeShortAnswer } from "./short-answer.ts";

/** Requests that wait at one time; the other side is our own code, so more are its fault. */
const REQUESTS_MAX = 16_384;

export interface ThreadPort {
  postMessage(messages: readonly ToMain[]): void;
}

/** Takes messages of the main thread. Throws Error at what are no such messages: the thread ends, and the main thread sees it. */
export class MemberThread {
  readonly #toMain: Batch<ToMain>;
  readonly #clock: Clock;
  /** By id; only a watch waits long enough that leaving it early is worth anything. */
  readonly #waiting = new Map<number, AbortController | null>();
  #node: RaftMemberNode | null = null;

  constructor(port: ThreadPort, clock: Clock) {
    this.#toMain = new Batch((messages) => port.postMessage(messages));
    this.#clock = clock;
  }

  onMessage(value: unknown): void {
    const messages = readBatch(value, readToMember);
    if (messages === null) throw new Error("the main thread said something that makes no sense");
    for (const message of messages) this.#take(message);
  }

  #take(message: ToMember): void {
    switch (message.kind) {
      case "start":
        void this.#start(message).then((error) => this.#toMain.add({ kind: "started", error: error === null ? null : toldText(error) }));
        return;
      case "request":
        void this.#answer(message);
        return;
      case "cancel":
        this.#waiting.get(message.id)?.abort();
        return;
      case "stop":
        void this.#stop(message.mode);
        return;
    }
  }

  async #start({ folder, config }: Extract<ToMember, { readonly kind: "start" }>): Promise<string | null> {
    if (this.#node !== null) throw new Error("a member is started once in a thread");
    const disk = openFileDisk(folder);
    if (!disk.ok) return disk.error.message;
    const log = this.#log();
    const clock = this.#clock;
    const network = tcpNetwork({ clock, security: config.security, log });
    const node = new RaftMemberNode({ disk: disk.value, network, clock, random: (bytes) => randomBytes(bytes), log, config });
    node.onStopped = (reason) => this.#toMain.add({ kind: "halted", reason: toldText(reason) });
    this.#node = node;
    const started = await node.start();
    return started.ok ? null : started.error;
  }

  async #answer({ id, body, deadline }: Extract<ToMember, { readonly kind: "request" }>): Promise<void> {
    if (this.#waiting.size >= REQUESTS_MAX) return this.#reply(id, { kind: "unavailable", reason: "too many requests wait" });
    const request = readClientRequest(body);
    if (!request.ok) return this.#reply(id, { kind: "refused", reason: request.error });
    if (this.#node === null) return this.#reply(id, { kind: "unavailable", reason: "the member is not started" });
    const gone = request.value.kind === "watch" ? new AbortController() : null;
    this.#waiting.set(id, gone);
    this.#reply(id, await this.#asked(this.#node, request.value, deadline, gone?.signal ?? null));
    this.#waiting.delete(id);
  }

  /** One request that cannot be answered must not end the member. */
  async #asked(node: RaftMemberNode, ...request: Parameters<RaftMemberNode["request"]>): Promise<ClientAnswer> {
    try {
      return await node.request(...request);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      this.#log().error(`raft: a request could not be answered: ${reason}`);
      return { kind: "unknown-outcome", reason: `the member failed to answer: ${reason}` };
    }
  }

  async #stop(mode: "clean" | "immediate"): Promise<void> {
    await this.#node?.stop(mode);
    this.#toMain.add({ kind: "stopped" });
  }

  #reply(id: number, answer: ClientAnswer): void {
    this.#toMain.add({ kind: "answer", id, body: writeShortAnswer(answer) });
  }

  #log(): Log {
    const at = (level: Extract<ToMain, { readonly kind: "log" }>["level"]) => (message: string) =>
      this.#toMain.add({ kind: "log", level, message: toldText(message) });
    return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error"), critical: at("critical") };
  }
}
