// Owns the callbacks of the configuration: which one runs, and which one gives way. The HA loop never waits for them.

import type { PostgresContext } from "./context.ts";

export const CALLBACK_ACTIONS = ["on_start", "on_stop", "on_restart", "on_reload", "on_role_change"] as const;
export type CallbackAction = (typeof CALLBACK_ACTIONS)[number];

/** Two lanes: on_reload, and everything else. In a lane a newer callback ends the one that runs, except one of the same action: that is let finish first. */
export class CallbackLanes {
  /** Starts the callback beside the caller: `<command> <action> <role> <scope>`. Failures go to the log. */
  call(context: PostgresContext, action: CallbackAction, role: string): void {
    context.log.debug(`not written yet: ${action} ${role}`);
  }

  /** Ends what runs and waits for it. */
  async close(): Promise<void> {}
}
