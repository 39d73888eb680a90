// Owns the writing of the key of a restore or an upgrade of the cluster: each change over the one that was seen, so that of two who
// change it at a time one begins again. Decides nothing.

import { type Overhaul, overhaulOf } from "../core/overhaul.ts";
import { describeStoreError, type PostgresError } from "../model/errors.ts";
import type { RestoreRequest } from "../model/restore.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { UpgradeRequest } from "../model/upgrade.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import type { NodeContext } from "./node-context.ts";
import { refreshCluster } from "./perform-dcs.ts";

/** Members that finish their part at one moment write one after the other. */
const NOTE_ATTEMPTS_MAX = 20;

/** Writes the request over the one that was seen. The error is a line for the log. */
export async function changeRestore(
  context: NodeContext,
  seen: RestoreRequest | null,
  changed: Partial<Omit<RestoreRequest, "revision">>,
): Promise<Result<null, string>> {
  if (seen === null) return err("there is no restore");
  const { revision, ...value } = seen;
  const answer = await context.store.values.setRestoreValue({ ...value, ...changed }, revision, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? ok(null) : err(`the restore could not be brought forward: ${describeStoreError(answer.error)}`);
}

/** As changeRestore. */
export async function changeUpgrade(
  context: NodeContext,
  seen: UpgradeRequest | null,
  changed: Partial<Omit<UpgradeRequest, "revision">>,
): Promise<Result<null, string>> {
  if (seen === null) return err("there is no upgrade");
  const { revision, ...value } = seen;
  const answer = await context.store.values.setUpgradeValue({ ...value, ...changed }, revision, { deadline: dcsDeadline(context) });
  await refreshCluster(context);
  return answer.ok ? ok(null) : err(`the upgrade could not be brought forward: ${describeStoreError(answer.error)}`);
}

/**
 * Adds what this member has to say to the upgrade, however many others do so meanwhile; `changed` null: it is said already, or has
 * no place any more. Errors: failed (the DCS is away, or others were always faster).
 */
export async function noteUpgrade(
  context: NodeContext,
  changed: (request: UpgradeRequest) => Partial<Omit<UpgradeRequest, "revision">> | null,
): Promise<Result<null, PostgresError>> {
  return await insist(context, async () => {
    const request = context.state.cluster?.upgrade ?? null;
    const next = request === null ? null : changed(request);
    return next === null ? ok(null) : await changeUpgrade(context, request, next);
  });
}

/** Makes known that this member's data is a copy of the new. Errors: failed (the request is over, or the DCS away). */
export async function noteCopied(context: NodeContext, id: string): Promise<Result<null, PostgresError>> {
  const { name } = context.state.settings.node;
  let isOver = false;
  const noted = await insist(context, async () => {
    const overhaul = overhaulOf(context.state.cluster);
    isOver = overhaul === null || overhaul.request.id !== id || overhaul.request.phase !== "clone";
    if (overhaul === null || isOver || overhaul.request.cloned.includes(name)) return ok(null);
    return await change(context, overhaul, { cloned: [...overhaul.request.cloned, name].sort() });
  });
  return isOver ? err({ kind: "failed", message: `${id} goes on no more` }) : noted;
}

async function change(
  context: NodeContext,
  overhaul: Overhaul,
  changed: { readonly cloned: readonly string[] },
): Promise<Result<null, string>> {
  return overhaul.of === "restore"
    ? await changeRestore(context, overhaul.request, changed)
    : await changeUpgrade(context, overhaul.request, changed);
}

async function insist(context: NodeContext, write: () => Promise<Result<null, string>>): Promise<Result<null, PostgresError>> {
  let last = "";
  for (let attempt = 0; attempt < NOTE_ATTEMPTS_MAX; attempt += 1) {
    if (!(await refreshCluster(context))) return err({ kind: "failed", message: "the DCS does not say how it stands" });
    const written = await write();
    if (written.ok) return ok(null);
    last = written.error;
  }
  return err({ kind: "failed", message: last });
}
