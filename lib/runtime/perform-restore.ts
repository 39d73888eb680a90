// Owns the effects of a restore of the whole cluster: its phases in the DCS, each written over the one that was seen, and the work on the
// disk. None of them decides what comes next (lib/core/rules/restore.ts).

import type { Outcome } from "../core/observation.ts";
import { describeStoreError, type PostgresError } from "../model/errors.ts";
import type { RestorePhase, RestoreRequest } from "../model/restore.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { PostgresContext } from "../postgres/context.ts";
import { programRunner } from "../postgres/programs.ts";
import { finishRestore, putBack, restoreAside } from "../postgres/restore-directory.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";
import { refreshCluster } from "./perform-dcs.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";

/** Members that finish their copies at one moment write one after the other. */
const NOTE_ATTEMPTS_MAX = 20;

type Changed = Partial<Pick<RestoreRequest, "phase" | "node" | "timeline" | "cloned" | "message">>;

/** The next phase, as the holder of the lock. */
export async function writeRestore(context: NodeContext, phase: RestorePhase): Promise<Outcome> {
  const written = await change(context, context.state.cluster?.restore ?? null, { phase });
  return { kind: "write-restore", ok: written.ok, message: written.ok ? "" : written.error };
}

export async function restore(context: NodeContext, step: "forward" | "back", signal: AbortSignal): Promise<TaskResult> {
  const { log, state } = context;
  // What was seen when it was decided may be old: an operator may have said otherwise meanwhile.
  if (!(await refreshCluster(context))) return { ok: false, message: "the DCS does not say how the restore stands" };
  const request = state.cluster?.restore ?? null;
  if (request === null || request.node !== state.settings.node.name) return { ok: false, message: "this node is not to restore anything" };
  // Nothing that runs here meanwhile serves anybody.
  state.local.lastRole = "replica";
  state.local.control = null;
  try {
    if (step === "back") return await goBack(context, request);
    if (request.phase === "clone") return taskResult(await finishRestore(placeOf(context)));
    if (request.phase !== "restore") return { ok: false, message: `the restore is in phase ${request.phase}` };
    const done = await restoreAside(placeOf(context), { ...request, ...known(context), signal, progress: (text) => log.info(text) });
    if (!done.ok) return await failedWith(context, request, done.error);
    const noted = await change(context, request, { phase: "clone", timeline: done.value.timeline, cloned: [], message: null });
    // Not in force before everybody can see it: what was restored stays half-made, and is found so by the next attempt.
    return noted.ok ? taskResult(await finishRestore(placeOf(context))) : { ok: false, message: noted.error };
  } finally {
    state.local.control = null;
    state.local.rewindFailed = false;
    state.local.historyPublished = null;
  }
}

/** Makes known that this member's data is a copy of the restored cluster's. Errors: failed (the restore is over, or the DCS away). */
export async function noteCopied(context: NodeContext, id: string): Promise<Result<null, PostgresError>> {
  const { name } = context.state.settings.node;
  let last = "";
  for (let attempt = 0; attempt < NOTE_ATTEMPTS_MAX; attempt += 1) {
    if (!(await refreshCluster(context))) return err({ kind: "failed", message: "the DCS does not say how the restore stands" });
    const request = context.state.cluster?.restore ?? null;
    if (request === null || request.id !== id || request.phase !== "clone")
      return err({ kind: "failed", message: `restore ${id} goes on no more` });
    if (request.cloned.includes(name)) return ok(null);
    const written = await change(context, request, { cloned: [...request.cloned, name].sort() });
    if (written.ok) return ok(null);
    last = written.error;
  }
  return err({ kind: "failed", message: last });
}

async function goBack(context: NodeContext, request: RestoreRequest): Promise<TaskResult> {
  const back = await putBack(placeOf(context), request.id);
  if (!back.ok) return taskResult(back);
  const noted = await change(context, request, { phase: "done", message: "undone: the data is what it was before" });
  return noted.ok ? DONE : { ok: false, message: noted.error };
}

/** What was ended on purpose is tried again; whatever else went wrong waits for an operator. */
async function failedWith(context: NodeContext, request: RestoreRequest, error: PostgresError): Promise<TaskResult> {
  if (error.kind !== "cancelled") {
    const noted = await change(context, request, { phase: "failed", message: error.message });
    if (!noted.ok) return { ok: false, message: `${error.message}; and ${noted.error}` };
  }
  return { ok: false, message: error.message };
}

/** Writes the request over the one that was seen. The error is a line for the log. */
async function change(context: NodeContext, seen: RestoreRequest | null, changed: Changed): Promise<Result<null, string>> {
  if (seen === null) return err("there is no restore");
  const { revision, ...value } = seen;
  const answer = await context.store.setRestoreValue({ ...value, ...changed }, revision, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? ok(null) : err(`the restore could not be brought forward: ${describeStoreError(answer.error)}`);
}

/** What the restored cluster has to be: of this identifier, and on a timeline that nobody has used. */
function known({ state }: NodeContext): { readonly systemIdentifier: string | null; readonly timelineAbove: number } {
  const { cluster } = state;
  const timelines = [
    ...(cluster?.history ?? []).map(({ timeline }) => timeline + 1),
    ...(cluster?.members ?? []).map(({ timeline }) => timeline ?? 0),
    0,
  ];
  return { systemIdentifier: cluster?.initialize || null, timelineAbove: Math.max(...timelines) };
}

function placeOf({
  clock,
  log,
  state,
}: NodeContext): PostgresContext & { readonly pgbackrest: NodeContext["state"]["settings"]["node"]["pgbackrest"] } {
  const { name, pgbackrest, postgresql, scope } = state.settings.node;
  return { config: postgresql, scope, memberName: name, log, clock, run: programRunner(postgresql, clock), pgbackrest };
}
