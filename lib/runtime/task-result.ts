// Owns how a task beside the HA loop ends, in words.

import type { RejoinPlan } from "../core/observation.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Result } from "../model/result.ts";

export interface TaskResult {
  readonly ok: boolean;
  readonly message: string;
  readonly plan?: RejoinPlan;
}

export const DONE: TaskResult = { ok: true, message: "" };

export function taskResult(result: Result<null, PostgresError>): TaskResult {
  return result.ok ? DONE : { ok: false, message: result.error.message };
}
