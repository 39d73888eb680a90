// Owns the main thread's side of a member in a Worker: starting it, asking it, stopping it, and noticing that it is gone. It
// repeats nothing and decides nothing.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import { Deadlines } from "../deadlines.ts";
import { type ClientAnswer, type ClientRequest, readClientAnswer, writeClientRequest } from "../kv/client-protocol.ts";
import type { RaftMemberConfig } from "../member/config.ts";
import { fitsFrame } from "../transport/frame.ts";
import type { RaftChannel } from "./channel.ts";
import { Batch, readBatch, readToMain, type ToMain, type ToMember } from "./thread-protocol.ts";

/** The member answers at the deadline by itself; a thread that does not is stuck, and its answer is given here. */
const OVERDUE_MS = 500;
/** A clean stop hands over the lead first, which takes half a second at most; whoever takes longer is ended. */
const STOP_MAX_MS = 5000;

export interface LocalMemberOptions {
  /** The module that runs in the Worker: lib/runtime/raft-thread.ts. */
  readonly entry: URL;
  readonly clock: Clock;
  readonly log: Log;
}

export class LocalMember implements RaftChannel {
  /** Once, when the member stops without having been asked to, or its thread dies. */
  onStopped: (reason: string) => void = () => {};
  readonly #worker: Worker;
  readonly #toMember: Batch<ToMember>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #deadlines: Deadlines;
  readonly #waiting = new Map<number, (answer: ClientAnswer) => void>();
  #lastId = 0;
  #started: (result: Result<null, string>) => void = () => {};
  #stopped: () => void = () => {};
  #state: "running" | "stopping" | "over" = "running";

  constructor(options: LocalMemberOptions) {
    this.#clock = options.clock;
    this.#deadlines = new Deadlines(options.clock);
    this.#log = options.log;
    this.#worker = new Worker(options.entry);
    this.#toMember = new Batch((messages) => this.#worker.postMessage(messages));
    this.#worker.onmessage = (event: MessageEvent) => this.#onMessages(event.data);
    this.#worker.onerror = (event: ErrorEvent) => {
      event.preventDefault();
      this.#over(`its thread failed: ${firstError(event.message)}`);
    };
    this.#worker.addEventListener("close", () => this.#over("its thread has ended"));
  }

  /** The error says why it cannot start, and what to do. */
  start(folder: string, config: RaftMemberConfig): Promise<Result<null, string>> {
    return new Promise((resolve) => {
      this.#started = resolve;
      this.#post({ kind: "start", folder, config });
    });
  }

  request(request: ClientRequest, deadline: Ms, gone: AbortSignal | null = null): Promise<ClientAnswer> {
    if (this.#state !== "running") return Promise.resolve(STOPPED);
    if (gone?.aborted === true) return Promise.resolve(GONE);
    const body = writeClientRequest(request);
    if (!fitsFrame(body)) return Promise.resolve(TOO_LONG);
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const cancel = this.#deadlines.add(ms(deadline + OVERDUE_MS), () => this.#settle(id, OVERDUE));
      const leave = (): void => {
        this.#post({ kind: "cancel", id });
        this.#settle(id, GONE);
      };
      gone?.addEventListener("abort", leave, { once: true });
      this.#waiting.set(id, (answer) => {
        cancel();
        gone?.removeEventListener("abort", leave);
        resolve(answer);
      });
      this.#post({ kind: "request", id, body, deadline });
    });
  }

  /** Resolves when nothing of it is left. */
  async stop(mode: "clean" | "immediate"): Promise<void> {
    if (this.#state !== "running") return;
    this.#state = "stopping";
    const late = new AbortController();
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
      this.#post({ kind: "stop", mode });
    });
    await Promise.race([stopped, this.#clock.sleepUntil(ms(this.#clock.now() + STOP_MAX_MS), late.signal)]);
    late.abort();
    this.#over(null);
  }

  #post(message: ToMember): void {
    this.#toMember.add(message);
  }

  #onMessages(value: unknown): void {
    const messages = readBatch(value, readToMain);
    if (messages === null) this.#over("its thread said something that makes no sense");
    else for (const message of messages) this.#onMessage(message);
  }

  #onMessage(message: ToMain): void {
    switch (message.kind) {
      case "started":
        this.#started(message.error === null ? ok(null) : err(message.error));
        if (message.error !== null) this.#over(null);
        return;
      case "answer": {
        const answer = readClientAnswer(message.body);
        this.#settle(message.id, answer.ok ? answer.value : { kind: "unknown-outcome", reason: answer.error });
        return;
      }
      case "log":
        this.#log[message.level](message.message);
        return;
      case "halted":
        this.#over(message.reason);
        return;
      case "stopped":
        this.#stopped();
        return;
    }
  }

  #settle(id: number, answer: ClientAnswer): void {
    const settle = this.#waiting.get(id);
    this.#waiting.delete(id);
    settle?.(answer);
  }

  /** Null: as asked. Whatever still waits may have been applied. */
  #over(reason: string | null): void {
    if (this.#state === "over") return;
    const wasRunning = this.#state === "running";
    this.#state = "over";
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { kind: "unknown-outcome", reason: reason ?? "the member was stopped" });
    this.#deadlines.close();
    this.#started(err(reason ?? "the member was stopped"));
    this.#stopped();
    this.#worker.terminate();
    if (reason !== null && wasRunning) this.onStopped(reason);
  }
}

/** The message alone: the runtime shows the source around it. */
function firstError(text: string): string {
  return /^error: (.*)$/m.exec(text)?.[1] ?? text.trim().split("\n", 1)[0] ?? "";
}

const STOPPED: ClientAnswer = { kind: "unavailable", reason: "the member of this process is stopped" };
const TOO_LONG: ClientAnswer = { kind: "refused", reason: "the request is too long" };
const GONE: ClientAnswer = { kind: "unavailable", reason: "nobody waits for it" };
const OVERDUE: ClientAnswer = { kind: "unknown-outcome", reason: "the member of this process does not answer" };
