// Owns the translation between changes and Consul's transactions (`PUT /v1/txn`). Pure: sends nothing.

import type * as v from "valibot";
import type { StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Revision, revision } from "../../model/units.ts";
import type { Change, Condition } from "../store.ts";
import { saysSessionGone, type TxnAnswer } from "./answers.ts";

/** A change needs at most two operations, and Consul takes 64 in one transaction. */
export const CHANGES_MAX = 32;
/** Consul's default `txn_max_req_len`. */
export const TXN_BODY_MAX_BYTES = 512 * 1024;

type Verb = "set" | "cas" | "lock" | "delete" | "check-index" | "check-not-exists" | "check-session";

export interface KvOperation {
  readonly Verb: Verb;
  readonly Key: string;
  /** base64 */
  readonly Value?: string;
  readonly Session?: string;
  readonly Index?: number;
}

/** Whether an operation leaves a line in the transaction's results (measured on Consul 1.8). */
const HAS_RESULT: Readonly<Record<Verb, boolean>> = {
  set: true,
  cas: true,
  lock: true,
  "check-index": true,
  "check-session": true,
  "check-not-exists": false,
  delete: false,
};

/**
 * The operations of one change, at most two. Consul keeps the revision of a key that is written with the value it has: to
 * make every put a change, as a heartbeat needs it, another value is written first in the same transaction, which nobody
 * can see. `delete-cas` is not used: it succeeds on an absent key.
 */
export function operationsOf(change: Change): readonly KvOperation[] {
  switch (change.kind) {
    case "put":
      return putOperations(change);
    case "delete":
      return [...checkOf(change.key, change.condition), { Verb: "delete", Key: change.key }];
    case "check-owner":
      return [{ Verb: "check-session", Key: change.key, Session: change.session }];
  }
}

function putOperations(change: Extract<Change, { kind: "put" }>): readonly KvOperation[] {
  const write = (value: string): KvOperation => {
    const Value = base64(value);
    return change.session === undefined
      ? { Verb: "set", Key: change.key, Value }
      : { Verb: "lock", Key: change.key, Value, Session: change.session };
  };
  const other = change.value === "" ? "-" : "";
  switch (change.condition?.kind) {
    case undefined:
    case "none":
      return [write(other), write(change.value)];
    case "absent":
      return [...checkOf(change.key, change.condition), write(change.value)];
    case "revision":
      // No key has revision 0, and for `cas` it would mean "absent".
      if (change.condition.revision === 0) return [...checkOf(change.key, change.condition), write(change.value)];
      return [{ Verb: "cas", Key: change.key, Value: base64(other), Index: change.condition.revision }, write(change.value)];
  }
}

export function transactionBody(changes: readonly Change[]): string {
  return JSON.stringify(changes.flatMap(operationsOf).map((KV) => ({ KV })));
}

/** The revision after each change, in order; 0 for deletes and checks. Null where the results do not fit the operations. */
export function readRevisions(changes: readonly Change[], results: v.InferOutput<typeof TxnAnswer>["Results"]): readonly Revision[] | null {
  const rows = [...(results ?? [])];
  const revisions: Revision[] = [];
  for (const change of changes) {
    let last = revision(0);
    for (const operation of operationsOf(change)) {
      if (!HAS_RESULT[operation.Verb]) continue;
      const row = rows.shift()?.KV;
      if (row === undefined || row.Key !== operation.Key) return null;
      if (operation.Value !== undefined) last = revision(row.ModifyIndex);
    }
    revisions.push(last);
  }
  return rows.length === 0 ? revisions : null;
}

/**
 * The one error of a refused transaction (status 409; nothing was applied). A dead session comes first: with it the whole
 * request was void. A text that is not known (ACL, size) is `rejected`.
 */
export function readErrors(changes: readonly Change[], errors: readonly { readonly OpIndex: number; readonly What: string }[]): StoreError {
  const operations = changes.flatMap(operationsOf);
  for (const error of errors) {
    if (!saysSessionGone(error.What)) continue;
    return { kind: "session-gone", session: operations[error.OpIndex]?.Session ?? "" };
  }
  const refused = errors.find((error) => !saysCondition(error.What));
  if (errors.length === 0 || refused !== undefined) {
    return { kind: "rejected", reason: refused?.What ?? "the transaction was rolled back without a reason" };
  }
  return { kind: "condition-failed" };
}

function saysCondition(what: string): boolean {
  return (
    /^failed (session|index) check for key/.test(what) ||
    /^failed to check (session|index), key .* doesn't exist$/.test(what) ||
    /^key .* exists$/.test(what) ||
    /^failed to set key .*, index is stale$/.test(what) ||
    /^failed to lock key .*, lock is already held$/.test(what) ||
    saysLockDelay(what)
  );
}

/**
 * True where the lock-delay of a session that was invalidated is all that refused the transaction: for that long nobody
 * may lock the keys that it owned.
 */
export function onlyLockDelay(errors: readonly { readonly What: string }[]): boolean {
  return errors.length > 0 && errors.every((error) => saysLockDelay(error.What));
}

function saysLockDelay(what: string): boolean {
  return /^failed to lock key .* due to lock delay$/.test(what);
}

function checkOf(key: string, condition: Condition | undefined): readonly KvOperation[] {
  switch (condition?.kind) {
    case undefined:
    case "none":
      return [];
    case "absent":
      return [{ Verb: "check-not-exists", Key: key }];
    case "revision":
      return [{ Verb: "check-index", Key: key, Index: condition.revision }];
  }
}

function base64(text: string): string {
  return Buffer.from(text, "utf8").toString("base64");
}

/** Refuses what no transaction can hold, before anything is sent. */
export function checkSize(changes: readonly Change[]): Result<null, StoreError> {
  if (changes.length <= CHANGES_MAX) return ok(null);
  return err({ kind: "rejected", reason: `${changes.length} changes in one transaction, at most ${CHANGES_MAX} are possible` });
}
