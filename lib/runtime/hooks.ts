// Owns telling hooks of events: for each hook one after the other, in order, each until it is delivered or given up. Never waits in the
// loop's way, and never lets a hook's headers or address be seen.

import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { HookConfig } from "../model/node-config.ts";
import { type Ms, ms } from "../model/units.ts";
import type { RunProgram } from "../postgres/context.ts";
import { lastLines } from "../postgres/program-output.ts";
import { shellWords } from "../postgres/shell-words.ts";
import type { EventSource, KeptEvent } from "./event-log.ts";

/** Events that wait for one hook; beyond it the oldest is dropped, and counted. */
export const HOOK_WAITING_MAX = 256;
/** Between attempts: 1 s, 2 s, 4 s … */
const BACKOFF_MS = 1000;
const BACKOFF_MAX_MS = 60_000;

export type HookOutcome = "delivered" | "failed" | "dropped";

/** Sends one event by POST. Value: null where it was taken, else why not, without the address. */
export type PostEvent = (hook: HookConfig, event: KeptEvent, signal: AbortSignal) => Promise<string | null>;

export interface HookParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly run: RunProgram;
  readonly post: PostEvent;
  readonly counted: (hook: string, outcome: HookOutcome) => void;
}

export class Hooks {
  readonly #parts: HookParts;
  readonly #ignore: () => void;
  #lanes: readonly Lane[] = [];
  /** Of lanes that a reload took away. */
  #ending: Promise<unknown> = Promise.resolve();

  constructor(source: EventSource, parts: HookParts) {
    this.#parts = parts;
    this.#ignore = source.listen((event) => {
      for (const lane of this.#lanes) lane.add(event);
    });
  }

  /** A hook that stays as it was keeps what waits for it; any other begins anew. */
  configure(hooks: readonly HookConfig[]): void {
    const kept = hooks.map((hook) => this.#lanes.find((lane) => JSON.stringify(lane.hook) === JSON.stringify(hook)));
    const gone = this.#lanes.filter((lane) => !kept.includes(lane));
    this.#ending = Promise.all([this.#ending, ...gone.map((lane) => lane.abandon())]);
    this.#lanes = hooks.map((hook, index) => kept[index] ?? new Lane(hook, this.#parts));
  }

  /** Takes no more, and lets what waits be delivered until the deadline; then it is given up. */
  async close(deadline: Ms): Promise<void> {
    this.#ignore();
    const { clock } = this.#parts;
    const over = new AbortController();
    const idle = Promise.all(this.#lanes.map((lane) => lane.idle)).then(() => over.abort());
    await clock.sleepUntil(deadline, over.signal);
    await Promise.all(this.#lanes.map((lane) => lane.abandon()));
    await Promise.all([idle, this.#ending]);
  }
}

class Lane {
  readonly hook: HookConfig;
  idle: Promise<void> = Promise.resolve();
  readonly #parts: HookParts;
  readonly #kinds: ReadonlySet<string>;
  readonly #waiting: KeptEvent[] = [];
  readonly #end = new AbortController();
  #working = false;
  #dropping = false;

  constructor(hook: HookConfig, parts: HookParts) {
    this.hook = hook;
    this.#parts = parts;
    this.#kinds = new Set(hook.events);
  }

  add(event: KeptEvent): void {
    if (!this.#kinds.has(event.kind) || this.#end.signal.aborted) return;
    this.#waiting.push(event);
    if (this.#waiting.length > HOOK_WAITING_MAX) this.#drop();
    if (!this.#working) this.idle = this.#work();
  }

  /** Ends what runs. */
  async abandon(): Promise<void> {
    this.#waiting.length = 0;
    this.#end.abort();
    await this.idle;
  }

  #drop(): void {
    this.#waiting.shift();
    this.#parts.counted(this.hook.name, "dropped");
    if (!this.#dropping)
      this.#parts.log.error(`hook ${this.hook.name}: more than ${HOOK_WAITING_MAX} events wait for it: the oldest are dropped`);
    this.#dropping = true;
  }

  async #work(): Promise<void> {
    this.#working = true;
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) await this.#deliver(event);
    this.#working = false;
    this.#dropping = false;
  }

  /** Nothing follows before this one is delivered or given up. */
  async #deliver(event: KeptEvent): Promise<void> {
    const { clock, counted, log } = this.#parts;
    const { name, retries } = this.hook;
    for (let attempt = 0; !this.#end.signal.aborted; attempt += 1) {
      // Nothing that goes wrong with a hook may end the lane, let alone the supervisor.
      const fault = await this.#attempt(event).catch((error: unknown) => String(error));
      if (fault === null) return counted(name, "delivered");
      if (this.#end.signal.aborted) break;
      if (attempt >= retries) {
        log.error(`hook ${name}: event ${event.id} (${event.kind}) is given up after ${attempt + 1} attempts: ${fault}`);
        return counted(name, "failed");
      }
      log.warning(`hook ${name}: event ${event.id} (${event.kind}): ${fault}; tried again`);
      await clock.sleepUntil(ms(clock.now() + Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempt)), this.#end.signal);
    }
    counted(name, "dropped");
  }

  /** Value: null where it was taken, else why not. */
  async #attempt(event: KeptEvent): Promise<string | null> {
    const { hook } = this;
    const { clock, post, run } = this.#parts;
    if (hook.command === null) {
      const signal = AbortSignal.any([this.#end.signal, AbortSignal.timeout(hook.timeoutMs)]);
      return await post(hook, event, signal);
    }
    const argv = shellWords(hook.command);
    if (argv === null) return "its command has a quote that is not closed";
    const deadline = ms(clock.now() + hook.timeoutMs);
    const outcome = await run({ argv, stdin: `${event.json}\n`, withoutSecrets: true, signal: this.#end.signal, deadline });
    if (!outcome.ok) return outcome.error.message;
    const { exitCode, stderr } = outcome.value;
    return exitCode === 0 ? null : `exit status ${exitCode ?? "of a signal"}: ${lastLines(stderr)}`;
  }
}
