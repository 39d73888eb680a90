// Owns a client's commands: its registration, their numbers, and THE place where one is repeated. Each command is applied at
// most once, however often it is sent: it keeps its (client, sequence) until an answer has come or its time is over.

import type { Clock } from "../../../model/clock.ts";
import type { StoreError } from "../../../model/errors.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import type { ClientAnswer, ClientRequest } from "../kv/client-protocol.ts";
import type { Command, CommandAnswer, CommandValue } from "../kv/command.ts";
import type { RaftChannel } from "./channel.ts";

/** One attempt at most; a member that does not answer by then is given up for another. */
const ATTEMPT_MAX_MS = 1500;
const RETRY_FIRST_MS = 10;
const RETRY_MAX_MS = 250;
/** Unanswered commands at one time; more wait their turn. Below what the machine keeps answers for (kv/bounds.ts). */
const IN_FLIGHT_MAX = 512;
const NAME_BYTES = 12;

interface Registration {
  readonly client: string;
  lastSequence: number;
  /** Unanswered, in ascending order. */
  readonly open: Set<number>;
}

type Outcome = Result<CommandValue, StoreError>;

export class RaftCommands {
  readonly #channel: RaftChannel;
  readonly #clock: Clock;
  readonly #name: string;
  readonly #lost: AbortSignal | null;
  #current: Registration | null = null;
  /** On its way. */
  #registration: Promise<Result<Registration, StoreError>> | null = null;
  #inFlight = 0;
  readonly #waiting = new Set<() => void>();

  /** `lost`: aborts when no answer is to be waited for any more. */
  constructor(options: {
    readonly channel: RaftChannel;
    readonly clock: Clock;
    readonly random: (bytes: number) => Uint8Array;
    readonly lost?: AbortSignal;
  }) {
    this.#channel = options.channel;
    this.#clock = options.clock;
    this.#lost = options.lost ?? null;
    this.#name = Buffer.from(options.random(NAME_BYTES)).toString("hex");
  }

  /** Repeats until an answer, the deadline, or its loss: then `unavailable` where no attempt can have been applied, else `unknown-outcome`. */
  async run(command: Command, deadline: Ms): Promise<Outcome> {
    // Waited for only where it has to be: what is awaited in vain costs every command a turn of its own.
    if (this.#inFlight < IN_FLIGHT_MAX) this.#inFlight++;
    else if (!(await this.#turn(deadline))) return err({ kind: "unavailable", reason: `${IN_FLIGHT_MAX} requests are under way already` });
    try {
      for (;;) {
        let registration = this.#current;
        if (registration === null) {
          const registered = await this.#registered(deadline);
          // Whoever shared the attempt may have had less time.
          if (!registered.ok && registered.error.kind === "unavailable" && this.#mayTry(deadline)) continue;
          if (!registered.ok) return registered;
          registration = registered.value;
        }
        const sequence = ++registration.lastSequence;
        registration.open.add(sequence);
        const outcome = await this.#repeat(command, registration, sequence, deadline);
        registration.open.delete(sequence);
        if (outcome !== "register") return outcome;
        this.#forget(registration);
      }
    } finally {
      this.#inFlight--;
      if (this.#waiting.size > 0) this.#wakeNext();
    }
  }

  /** `register`: this registration is gone, and the command was certainly not applied. */
  async #repeat(command: Command, registration: Registration, sequence: number, deadline: Ms): Promise<Outcome | "register"> {
    let doubt: string | null = null;
    let reason = "no answer before the deadline";
    for (let wait = RETRY_FIRST_MS; this.#mayTry(deadline); wait = Math.min(wait * 2, RETRY_MAX_MS)) {
      const answer = await this.#attempt(command, registration, sequence, deadline);
      const judged = judge(answer);
      if (judged.kind === "answered") {
        const { answer: value } = judged;
        if (value.ok) return value;
        if (value.error.kind !== "unknown-client") return value as Outcome;
        if (doubt === null) return "register";
        // An attempt before this one may have been applied, and nobody remembers.
        this.#forget(registration);
        return err({ kind: "unknown-outcome", reason: `${doubt}; the registration has ended since` });
      }
      reason = judged.reason;
      if (judged.kind === "doubt") doubt = reason;
      if (judged.kind === "refused") return err({ kind: doubt === null ? "rejected" : "unknown-outcome", reason });
      await this.#pause(wait, deadline);
    }
    return err(doubt === null ? { kind: "unavailable", reason } : { kind: "unknown-outcome", reason: doubt });
  }

  #attempt(command: Command, registration: Registration, sequence: number, deadline: Ms): Promise<ClientAnswer> {
    const { client, open } = registration;
    const [oldest = sequence] = open;
    const envelope = { client, sequence, acknowledged: oldest - 1, command };
    return this.#ask({ kind: "command", envelope }, deadline);
  }

  /** One attempt. What was under way when its loss came may have been applied. */
  #ask(request: ClientRequest, deadline: Ms): Promise<ClientAnswer> {
    const asked = this.#channel.request(request, ms(Math.min(deadline, this.#clock.now() + ATTEMPT_MAX_MS)));
    const lost = this.#lost;
    if (lost === null) return asked;
    return new Promise((resolve) => {
      const giveUp = (): void => resolve({ kind: "unknown-outcome", reason: String(lost.reason) });
      lost.addEventListener("abort", giveUp, { once: true });
      void asked.then((answer) => {
        lost.removeEventListener("abort", giveUp);
        resolve(answer);
      });
    });
  }

  #mayTry(deadline: Ms): boolean {
    return this.#clock.now() < deadline && this.#lost?.aborted !== true;
  }

  #pause(wait: number, deadline: Ms): Promise<void> {
    return this.#clock.sleepUntil(ms(Math.min(deadline, this.#clock.now() + wait)), this.#lost ?? undefined);
  }

  /** Shared by all commands; who comes first registers. */
  async #registered(deadline: Ms): Promise<Result<Registration, StoreError>> {
    this.#registration ??= this.#register(deadline).then((result) => {
      if (result.ok) this.#current = result.value;
      this.#registration = null;
      return result;
    });
    const stop = new AbortController();
    const late = this.#clock
      .sleepUntil(deadline, stop.signal)
      .then(() => err<StoreError>({ kind: "unavailable", reason: "no registration in time" }));
    return Promise.race([this.#registration, late]).finally(() => stop.abort());
  }

  async #register(deadline: Ms): Promise<Result<Registration, StoreError>> {
    const envelope = { client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id: this.#name } } as const;
    let reason = "no answer before the deadline";
    for (let wait = RETRY_FIRST_MS; this.#mayTry(deadline); wait = Math.min(wait * 2, RETRY_MAX_MS)) {
      const answer = await this.#ask({ kind: "command", envelope }, deadline);
      const judged = judge(answer);
      if (judged.kind === "answered" && judged.answer.ok && judged.answer.value.kind === "client") {
        return ok({ client: judged.answer.value.id, lastSequence: 0, open: new Set() });
      }
      if (judged.kind === "refused") return err({ kind: "rejected", reason: judged.reason });
      if (judged.kind === "answered") return err({ kind: "rejected", reason: "the registration was refused" });
      reason = judged.reason;
      await this.#pause(wait, deadline);
    }
    // A registration that nobody uses changes nothing: as good as not sent.
    return err({ kind: "unavailable", reason });
  }

  #wakeNext(): void {
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next);
    next();
  }

  #forget(registration: Registration): void {
    if (this.#current === registration) this.#current = null;
  }

  /** False where the deadline came first. */
  async #turn(deadline: Ms): Promise<boolean> {
    while (this.#inFlight >= IN_FLIGHT_MAX) {
      if (this.#clock.now() >= deadline) return false;
      const stop = new AbortController();
      let wake = (): void => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.#waiting.add(wake);
      await Promise.race([woken, this.#clock.sleepUntil(deadline, stop.signal)]);
      this.#waiting.delete(wake);
      stop.abort();
    }
    this.#inFlight++;
    return true;
  }
}

type Judged =
  | { readonly kind: "answered"; readonly answer: CommandAnswer }
  /** Not applied by this attempt; worth another. */
  | { readonly kind: "not-applied"; readonly reason: string }
  /** May have been applied by this attempt. */
  | { readonly kind: "doubt"; readonly reason: string }
  /** Not applied, and another attempt will not help. */
  | { readonly kind: "refused"; readonly reason: string };

function judge(answer: ClientAnswer): Judged {
  switch (answer.kind) {
    case "command":
      // The machine itself asks to wait (too many answers kept): it applied nothing and remembers nothing.
      if (!answer.answer.ok && answer.answer.error.kind === "unavailable")
        return { kind: "not-applied", reason: answer.answer.error.reason };
      return { kind: "answered", answer: answer.answer };
    case "not-leader":
      return { kind: "not-applied", reason: "there is no leader" };
    case "unavailable":
      return { kind: "not-applied", reason: answer.reason };
    case "unknown-outcome":
      return { kind: "doubt", reason: answer.reason };
    case "refused":
      return { kind: "refused", reason: answer.reason };
    default:
      return { kind: "doubt", reason: `an answer of kind ${answer.kind} to a command` };
  }
}
