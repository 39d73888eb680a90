// Owns what the main thread and the Worker with the member say to each other, checked on both sides. Requests and answers are
// the JSON texts of the client protocol; deadlines are absolute, on the boot-time clock that both threads read. What is said in one
// turn of the event loop is posted together: each message to another thread costs as much as a commit.

import * as v from "valibot";
import { type Ms, ms } from "../../../model/units.ts";
import type { RaftMemberConfig } from "../member/config.ts";
import { BODY_MAX_BYTES } from "../transport/frame.ts";

const TEXT_MAX = 64 * 1024;
const ADDRESSES_MAX = 18;
/** Messages that are posted together. */
export const BATCH_MAX = 256;

const duration = v.pipe(v.number(), v.finite(), v.minValue(0));
const instant = v.pipe(
  v.number(),
  v.finite(),
  v.transform((value): Ms => ms(value)),
);
const id = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const body = v.pipe(v.string(), v.maxLength(BODY_MAX_BYTES));
const text = v.pipe(v.string(), v.maxLength(TEXT_MAX));

const configSchema: v.GenericSchema<unknown, RaftMemberConfig> = v.object({
  selfAddress: text,
  bindAddress: text,
  partnerAddresses: v.pipe(v.array(text), v.maxLength(ADDRESSES_MAX)),
  security: v.variant("kind", [
    v.object({ kind: v.literal("plain") }),
    v.object({ kind: v.literal("password"), password: text }),
    v.object({ kind: v.literal("tls"), caFile: text, certFile: text, keyFile: text, keyPassword: v.nullable(text) }),
  ]),
  timings: v.object({ heartbeatMs: duration, electionMinMs: duration, electionMaxMs: duration }),
  connections: v.object({ connectMs: duration, retryMs: duration, helloMs: duration, silentMs: duration }),
  founding: v.picklist(["may", "may-not"]),
  snapshots: v.object({ entries: duration, bytes: duration }),
});

const toMemberSchema = v.variant("kind", [
  v.object({ kind: v.literal("start"), folder: text, config: configSchema }),
  v.object({ kind: v.literal("request"), id, body, deadline: instant }),
  /** Nobody waits for the answer any more. */
  v.object({ kind: v.literal("cancel"), id }),
  v.object({ kind: v.literal("stop"), mode: v.picklist(["clean", "immediate"]) }),
]);
const toMainSchema = v.variant("kind", [
  v.object({ kind: v.literal("started"), error: v.nullable(text) }),
  v.object({ kind: v.literal("answer"), id, body }),
  v.object({ kind: v.literal("log"), level: v.picklist(["debug", "info", "warning", "error", "critical"]), message: text }),
  /** Without having been asked to. */
  v.object({ kind: v.literal("halted"), reason: text }),
  /** As asked; nothing is open any more. */
  v.object({ kind: v.literal("stopped") }),
]);

export type ToMember = v.InferOutput<typeof toMemberSchema>;
export type ToMain = v.InferOutput<typeof toMainSchema>;

/** Posts what is added in one turn of the event loop together, in its order. */
export class Batch<Message> {
  readonly #post: (messages: readonly Message[]) => void;
  #messages: Message[] = [];

  constructor(post: (messages: readonly Message[]) => void) {
    this.#post = post;
  }

  add(message: Message): void {
    if (this.#messages.push(message) === 1) queueMicrotask(() => this.#flush());
    else if (this.#messages.length === BATCH_MAX) this.#flush();
  }

  #flush(): void {
    const messages = this.#messages;
    this.#messages = [];
    if (messages.length > 0) this.#post(messages);
  }
}

/** Null where the value is no batch of such messages. */
export function readBatch<Message>(value: unknown, read: (value: unknown) => Message | null): readonly Message[] | null {
  if (!Array.isArray(value) || value.length > BATCH_MAX) return null;
  const messages: Message[] = [];
  for (const each of value) {
    const message = read(each);
    if (message === null) return null;
    messages.push(message);
  }
  return messages;
}

/** Null where the value is no such message. */
export function readToMember(value: unknown): ToMember | null {
  const parsed = v.safeParse(toMemberSchema, value, { abortEarly: true });
  return parsed.success ? parsed.output : null;
}

/** Null where the value is no such message. */
export function readToMain(value: unknown): ToMain | null {
  const parsed = v.safeParse(toMainSchema, value, { abortEarly: true });
  return parsed.success ? parsed.output : null;
}

/** A text that is certainly short enough to be told. */
export function toldText(value: string): string {
  return value.length <= TEXT_MAX ? value : `${value.slice(0, TEXT_MAX - 1)}…`;
}
