// Owns the callbacks of the configuration: which one runs, and which one gives way. The HA loop never waits for them.

import type { PostgresContext } from "./context.ts";
import { lastLines } from "./program-output.ts";
import { shellWords } from "./shell-words.ts";

export const CALLBACK_ACTIONS = ["on_start", "on_stop", "on_restart", "on_reload", "on_role_change"] as const;
export type CallbackAction = (typeof CALLBACK_ACTIONS)[number];

/** How long the end of the supervisor waits for what it has just called; Patroni's callbacks outlive it. Less than service managers wait. */
export const CALLBACKS_END_MS = 10_000;

interface Call {
  readonly context: PostgresContext;
  readonly action: CallbackAction;
  readonly role: string;
}

interface Running {
  readonly call: Call;
  readonly abort: AbortController;
}

/** One lane runs one callback at a time; the newest waiting one is kept, older waiting ones are forgotten. */
class Lane {
  private running: Running | null = null;
  private next: Call | null = null;
  private idle: Promise<void> = Promise.resolve();

  add(call: Call): void {
    if (this.running === null) {
      this.idle = this.work(call);
      return;
    }
    this.next = call;
    // One of the same action is let finish: it may be half-way through the very same work.
    if (this.running.call.action !== call.action) this.running.abort.abort();
  }

  /** Resolves where nothing is left to run. */
  get done(): Promise<void> {
    return this.idle;
  }

  async end(): Promise<void> {
    this.next = null;
    this.running?.abort.abort();
    await this.idle;
  }

  private async work(first: Call): Promise<void> {
    for (let call: Call | null = first; call !== null; call = this.takeNext()) {
      const abort = new AbortController();
      this.running = { call, abort };
      await runCallback(call, abort.signal);
    }
    this.running = null;
  }

  private takeNext(): Call | null {
    const call = this.next;
    this.next = null;
    return call;
  }
}

/** Two lanes: on_reload, and everything else. In a lane a newer callback ends the one that runs, except one of the same action: that is let finish first. */
export class CallbackLanes {
  private readonly reload = new Lane();
  private readonly others = new Lane();

  /** Starts the callback beside the caller: `<command> <action> <role> <scope>`. Failures go to the log. */
  call(context: PostgresContext, action: CallbackAction, role: string): void {
    if ((context.config.callbacks[action] ?? "").trim() === "") return;
    const lane = action === "on_reload" ? this.reload : this.others;
    lane.add({ context, action, role });
  }

  /** Lets what was called come to its end, on_stop above all, for `withinMs`; ends what has not by then. */
  async close(withinMs: number = CALLBACKS_END_MS): Promise<void> {
    const lanes = [this.reload, this.others];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, withinMs);
    });
    await Promise.race([late, Promise.all(lanes.map((lane) => lane.done))]);
    clearTimeout(timer);
    await Promise.all(lanes.map((lane) => lane.end()));
  }
}

async function runCallback(call: Call, signal: AbortSignal): Promise<void> {
  const { context, action, role } = call;
  const words = shellWords(context.config.callbacks[action] ?? "");
  if (words === null) {
    context.log.error(`postgresql.callbacks.${action}: a quote is not closed`);
    return;
  }
  const outcome = await context.run({ argv: [...words, action, role, context.scope], signal });
  if (!outcome.ok) {
    const text = `callback ${action} ${role}: ${outcome.error.message}`;
    if (outcome.error.kind === "cancelled") context.log.info(text);
    else context.log.error(text);
  } else if (outcome.value.exitCode !== 0) {
    context.log.warning(`callback ${action} ${role} ended with exit status ${outcome.value.exitCode}: ${lastLines(outcome.value.stderr)}`);
  }
}
