// Owns the stop of PostgreSQL where nobody is handed anything: what is left of the server is settled, and the callback told.

import type { Ms } from "../model/units.ts";
import { settleStopped } from "./fencing.ts";
import type { NodeContext } from "./node-context.ts";
import { goDown } from "./planned-stop.ts";
import { postgresRole } from "./postgres-words.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";

/** `archive`: the segment with the shutdown checkpoint as well. */
export async function stop(
  context: NodeContext,
  mode: "fast" | "immediate",
  deadline: Ms,
  options: { readonly archive?: true } = {},
): Promise<TaskResult> {
  const { postgres, state } = context;
  const role = state.local.lastRole === "primary" ? "primary" : postgresRole(state);
  // Beside the stop, which waits for nothing: the lock is gone or about to go.
  void state.vip.release();
  // A primary that nobody takes over from is stopped because its lease ends.
  if (mode === "fast" && role !== "primary") await goDown(context, deadline, null);
  const { unservedSince } = state.local;
  const stopped = await postgres.stop({ mode, deadline, ...options });
  if (!stopped.ok) return taskResult(stopped);
  // A server that hung is as good as crashed from then on: its time to come back is counted from there.
  if (unservedSince !== null) state.local.crashedAt ??= unservedSince;
  await settleStopped(context);
  postgres.callback("on_stop", role);
  return DONE;
}
