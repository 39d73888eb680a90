// Owns what this member asks of the leader on behalf of those that asked it, and the way back of what others ask of it: one frame
// there, one frame back. It repeats nothing and chooses nobody.

import { type LogIndex, logIndex, type MemberId } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import type { Deadlines } from "../deadlines.ts";
import {
  type ClientAnswer,
  type ClientRequest,
  readClientAnswer,
  readClientRequest,
  writeClientAnswer,
  writeClientRequest,
} from "../kv/client-protocol.ts";
import type { PeerFrame } from "../transport/frame.ts";

/** Questions that wait for the leader's answer; more are refused. */
const FORWARDED_MAX = 16_384;
const ID_MODULUS = 2 ** 32;

/** What a member asks of the leader: a client's request, or from which index on a read may be answered here. */
export type Forwarded =
  | { readonly kind: "request"; readonly request: ClientRequest; readonly withinMs: number }
  | { readonly kind: "read-index" };
export type ForwardedAnswer =
  | { readonly kind: "request"; readonly answer: ClientAnswer }
  | { readonly kind: "read-index"; readonly index: LogIndex }
  | { readonly kind: "not-leader" };

/** `not-sent`: it certainly did not leave. `unknown`: it may have arrived. */
export interface ForwardError {
  readonly kind: "not-sent" | "unknown";
  readonly reason: string;
}

interface Pending {
  readonly to: MemberId;
  readonly settle: (result: Result<ForwardedAnswer, ForwardError>) => void;
  readonly cancel: () => void;
}

export class Forwarder {
  readonly #send: (to: MemberId, frame: PeerFrame) => void;
  readonly #deadlines: Deadlines;
  /** Each connection has a number of its own. */
  readonly #connected = new Map<MemberId, number>();
  #lastConnection = 0;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  constructor(options: { readonly send: (to: MemberId, frame: PeerFrame) => void; readonly deadlines: Deadlines }) {
    this.#send = options.send;
    this.#deadlines = options.deadlines;
  }

  isConnected(id: MemberId): boolean {
    return this.#connected.has(id);
  }

  up(id: MemberId): void {
    this.#connected.set(id, ++this.#lastConnection);
  }

  /** What was on its way there will not be answered. `back`: it is connected again already. */
  lost(id: MemberId, connection: "gone" | "back"): void {
    if (connection === "gone") this.#connected.delete(id);
    else this.up(id);
    for (const [number, pending] of [...this.#pending]) {
      if (pending.to === id) this.#settle(number, err({ kind: "unknown", reason: "the connection to the leader was lost" }));
    }
  }

  /** Who is asked is not the leader any more: its answer may never come. */
  leaderChanged(leader: MemberId | null): void {
    for (const [number, pending] of [...this.#pending]) {
      if (pending.to !== leader) this.#settle(number, err({ kind: "unknown", reason: "the leader has changed" }));
    }
  }

  ask(to: MemberId, question: Forwarded, deadline: Ms): Promise<Result<ForwardedAnswer, ForwardError>> {
    if (!this.#connected.has(to)) return Promise.resolve(err({ kind: "not-sent", reason: "no connection to the leader" }));
    if (this.#pending.size >= FORWARDED_MAX) return Promise.resolve(err({ kind: "not-sent", reason: "too much waits for the leader" }));
    const id = this.#nextId();
    return new Promise((settle) => {
      const cancel = this.#deadlines.add(deadline, () =>
        this.#settle(id, err({ kind: "unknown", reason: "no answer from the leader in time" })),
      );
      this.#pending.set(id, { to, settle, cancel });
      this.#send(to, { kind: "forward", id, body: writeForwarded(question) });
    });
  }

  /** An answer that nobody waits for came too late; one that makes no sense counts as none. */
  answered(from: MemberId, id: number, body: string): void {
    if (this.#pending.get(id)?.to !== from) return;
    const answer = readForwardedAnswer(body);
    this.#settle(id, answer === null ? err({ kind: "unknown", reason: "the leader's answer makes no sense" }) : ok(answer));
  }

  /**
   * For a question that has just come: its answer leaves over the connection that it came over, or not at all. Another run of the
   * asker's process counts its questions anew and would take it for the answer to one of its own.
   */
  answerer(to: MemberId, id: number): (answer: ForwardedAnswer) => void {
    const connection = this.#connected.get(to);
    return (answer) => {
      if (connection === this.#connected.get(to)) this.#send(to, { kind: "forward-answer", id, body: writeForwardedAnswer(answer) });
    };
  }

  close(): void {
    for (const id of [...this.#pending.keys()]) this.#settle(id, err({ kind: "unknown", reason: "this member stops" }));
  }

  #settle(id: number, result: Result<ForwardedAnswer, ForwardError>): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    pending.cancel();
    pending.settle(result);
  }

  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) % ID_MODULUS;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }
}

/** A word, a number where it needs one, and behind a line end the client's own JSON text as it is. */
function writeForwarded(question: Forwarded): string {
  return question.kind === "request" ? `request ${question.withinMs}\n${writeClientRequest(question.request)}` : "read-index";
}

/** Null where the text is no question. */
export function readForwarded(text: string): Forwarded | null {
  if (text === "read-index") return { kind: "read-index" };
  const head = HEAD.exec(text);
  if (head?.[1] !== "request") return null;
  const request = readClientRequest(text.slice(head[0].length));
  return request.ok ? { kind: "request", withinMs: Number(head[2]), request: request.value } : null;
}

export function writeForwardedAnswer(answer: ForwardedAnswer): string {
  switch (answer.kind) {
    case "request":
      return `answer 0\n${writeClientAnswer(answer.answer)}`;
    case "read-index":
      return `index ${answer.index}\n`;
    case "not-leader":
      return "not-leader";
  }
}

function readForwardedAnswer(text: string): ForwardedAnswer | null {
  if (text === "not-leader") return { kind: "not-leader" };
  const head = HEAD.exec(text);
  if (head?.[1] === "index") return { kind: "read-index", index: logIndex(Number(head[2])) };
  if (head?.[1] !== "answer") return null;
  const answer = readClientAnswer(text.slice(head[0].length));
  return answer.ok ? { kind: "request", answer: answer.value } : null;
}

const HEAD = /^(request|answer|index) (\d{1,15}(?:\.\d{1,20})?)\n/;
