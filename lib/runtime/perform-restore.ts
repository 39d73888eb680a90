// Owns the effects of a restore of the whole cluster: its phases in the DCS, each written over the one that was seen, and the work on the
// disk. None of them decides what comes next (lib/core/rules/restore.ts).

import type { Outcome } from "../core/observation.ts";
import type { PostgresError } from "../model/errors.ts";
import { type RestorePhase, type RestoreRequest, wayBackStanding } from "../model/restore.ts";
import type { PostgresContext } from "../postgres/context.ts";
import { programRunner } from "../postgres/programs.ts";
import { finishWayBack, keepRestored, takeRestoreBack, whyNoWayBack } from "../postgres/restore-back.ts";
import { finishRestore, putBack, restoreAside } from "../postgres/restore-directory.ts";
import type { NodeContext } from "./node-context.ts";
import { changeRestore } from "./overhaul.ts";
import { refreshCluster } from "./perform-dcs.ts";
import { DONE, type TaskResult, taskResult } from "./task-result.ts";

/** The next phase, as the holder of the lock. */
export async function writeRestore(context: NodeContext, phase: RestorePhase): Promise<Outcome> {
  const written = await changeRestore(context, context.state.cluster?.restore ?? null, { phase });
  return { kind: "write-restore", ok: written.ok, message: written.ok ? "" : written.error };
}

export async function restoreCluster(context: NodeContext, step: "forward" | "back", signal: AbortSignal): Promise<TaskResult> {
  const { log, state } = context;
  // What was seen when it was decided may be old: an operator may have said otherwise meanwhile.
  if (!(await refreshCluster(context))) return { ok: false, message: "the DCS does not say how the restore stands" };
  const request = state.cluster?.restore ?? null;
  if (request === null || request.node !== state.settings.node.name) return { ok: false, message: "this node is not to restore anything" };
  // Nothing that runs here meanwhile serves anybody.
  state.local.lastRole = "replica";
  state.local.control = null;
  try {
    if (step === "back") return request.direction === "back" ? await stay(context, request) : await goBack(context, request);
    if (request.phase === "clone") return taskResult(await finishRestore(placeOf(context)));
    if (request.phase !== "restore") return { ok: false, message: `the restore is in phase ${request.phase}` };
    const options = { ...request, ...known(context), signal, progress: (text: string) => log.info(text) };
    const isBack = request.direction === "back";
    const done = isBack ? await takeRestoreBack(placeOf(context), options) : await restoreAside(placeOf(context), options);
    if (!done.ok) return await failedWith(context, request, done.error);
    const noted = await changeRestore(context, request, { phase: "clone", timeline: done.value.timeline, cloned: [], message: null });
    // Not in force before everybody can see it: what was restored stays half-made, and is found so by the next attempt.
    if (!noted.ok) return { ok: false, message: noted.error };
    return taskResult(isBack ? await finishWayBack(placeOf(context)) : await finishRestore(placeOf(context)));
  } finally {
    forget(context);
  }
}

/** What a crash, or the loss of this node, has left of a way back: the data from before is in force, or what was restored is in its place again. */
export async function settleWayBack(context: NodeContext): Promise<TaskResult> {
  const { log, state } = context;
  const id = state.local.wayBack;
  if (id === null) return DONE;
  if (!(await refreshCluster(context))) return { ok: false, message: "the DCS does not say how the restore stands" };
  const standing = wayBackStanding(state.cluster?.restore ?? null, id);
  if (standing === "under-way") return { ok: false, message: `the way back from restore ${id} goes on` };
  try {
    if (standing === "in-force") return taskResult(await finishWayBack(placeOf(context)));
    log.warning(
      `the way back from restore ${id} was given up: what was restored is put in its place again, the data from before it beside it`,
    );
    return taskResult(await keepRestored(placeOf(context), id));
  } finally {
    forget(context);
  }
}

/** What keeps this node from the way back of that restore; null where nothing does. Changes nothing. */
export async function wayBackObstacle(context: NodeContext, id: string): Promise<string | null> {
  return await whyNoWayBack(placeOf(context), id, known(context));
}

/** What was remembered of the server that ran in this directory before. */
function forget({ state }: NodeContext): void {
  state.local.control = null;
  state.local.rewindFailed = false;
  state.local.historyPublished = null;
}

async function goBack(context: NodeContext, request: RestoreRequest): Promise<TaskResult> {
  const back = await putBack(placeOf(context), request.id);
  if (!back.ok) return taskResult(back);
  const noted = await changeRestore(context, request, { phase: "done", message: "undone: the data is what it was before" });
  return noted.ok ? DONE : { ok: false, message: noted.error };
}

/** The way back is given up: everybody goes on with what was restored. */
async function stay(context: NodeContext, request: RestoreRequest): Promise<TaskResult> {
  const kept = await keepRestored(placeOf(context), request.id);
  if (!kept.ok) return taskResult(kept);
  const noted = await changeRestore(context, request, { phase: "done", direction: "forward", message: null });
  return noted.ok ? DONE : { ok: false, message: noted.error };
}

/** What was ended on purpose is tried again; whatever else went wrong waits for an operator. */
async function failedWith(context: NodeContext, request: RestoreRequest, error: PostgresError): Promise<TaskResult> {
  if (error.kind !== "cancelled") {
    const noted = await changeRestore(context, request, { phase: "failed", message: error.message });
    if (!noted.ok) return { ok: false, message: `${error.message}; and ${noted.error}` };
  }
  return { ok: false, message: error.message };
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
