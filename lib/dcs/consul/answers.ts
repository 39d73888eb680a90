// Owns the reading of Consul's answers: JSON shapes, and which failure an answer means. Sends nothing.

import * as v from "valibot";
import type { StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, revision } from "../../model/units.ts";
import type { Entry } from "../store.ts";
import type { HttpAnswer, NoAnswer } from "./http.ts";

/** `read` changes nothing: a lost answer is just `unavailable`. `write` may have been applied. */
export type Purpose = "read" | "write";

/** How much of Consul's own words goes into a reason. */
const REASON_MAX_CHARS = 200;

/**
 * Texts of a status 5xx after which a write was certainly not applied: no server took it, or the one that did refused before its log.
 * Everything else ("leadership lost while committing log", "rpc error making call: EOF" …) leaves the outcome open.
 */
const NOT_APPLIED = [
  "No cluster leader",
  "No known Consul servers",
  "node is not the leader",
  "leadership transfer in progress",
  "timed out enqueuing operation",
  "rpc error getting client",
];

export function noAnswerError(failure: NoAnswer, purpose: Purpose): StoreError {
  if (failure.sent && purpose === "write") return { kind: "unknown-outcome", reason: failure.reason };
  return { kind: "unavailable", reason: failure.reason };
}

/** What a status other than the expected ones means. */
export function statusError(answer: HttpAnswer, purpose: Purpose): StoreError {
  const text = answer.text.trim().slice(0, REASON_MAX_CHARS);
  const reason = `HTTP status ${answer.status}${text === "" ? "" : `: ${text}`}`;
  if (answer.status === 429) return { kind: "unavailable", reason };
  if (answer.status < 500) return { kind: "rejected", reason };
  if (purpose === "read" || NOT_APPLIED.some((known) => answer.text.includes(known))) return { kind: "unavailable", reason };
  return { kind: "unknown-outcome", reason };
}

/** True where Consul says that it does not know the session (or that the text cannot be one). */
export function saysSessionGone(text: string): boolean {
  return /invalid session "|failed session lookup|^Session id '.*' not found/i.test(text);
}

/** An answer with status 200 that cannot be read: something else answers on this port, or the write's result is lost. */
export function unreadable(what: string, purpose: Purpose): StoreError {
  const reason = `${what} in a form that is not Consul's`;
  return purpose === "write" ? { kind: "unknown-outcome", reason } : { kind: "rejected", reason };
}

/** Parses JSON through a schema; null where either fails. */
export function parseJson<TSchema extends v.GenericSchema>(schema: TSchema, text: string): v.InferOutput<TSchema> | null {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return null; // The caller turns null into an error of its own.
  }
  const parsed = v.safeParse(schema, data);
  return parsed.success ? parsed.output : null;
}

const KvEntry = v.object({
  Key: v.string(),
  Value: v.nullish(v.string(), null),
  Session: v.optional(v.string()),
  ModifyIndex: v.number(),
});
const KvEntries = v.array(KvEntry);

/** The keys of a `GET /v1/kv/…` answer, sorted; null where it is not Consul's. */
export function readEntries(text: string): readonly Entry[] | null {
  const parsed = parseJson(KvEntries, text);
  if (parsed === null) return null;
  return parsed.map(toEntry).sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
}

function toEntry(entry: v.InferOutput<typeof KvEntry>): Entry {
  return {
    key: entry.Key,
    value: entry.Value === null ? "" : Buffer.from(entry.Value, "base64").toString("utf8"),
    revision: revision(entry.ModifyIndex),
    session: entry.Session === undefined || entry.Session === "" ? null : entry.Session,
  };
}

export const TxnAnswer = v.object({
  Results: v.nullish(v.array(v.object({ KV: v.optional(KvEntry) })), null),
  Errors: v.nullish(v.array(v.object({ OpIndex: v.number(), What: v.string() })), null),
});

export const SessionList = v.array(
  v.object({
    ID: v.string(),
    Node: v.string(),
    TTL: v.optional(v.string(), ""),
    NodeChecks: v.nullish(v.array(v.string()), null),
    ServiceChecks: v.nullish(v.array(v.object({ ID: v.string() })), null),
  }),
);

export const CreatedSession = v.object({ ID: v.string() });

export const AgentSelf = v.object({ DebugConfig: v.object({ SessionTTLMin: v.string() }) });

/** The answer of a boolean endpoint. Error where it is neither true nor false. */
export function readBoolean(text: string): Result<boolean, null> {
  const word = text.trim();
  return word === "true" ? ok(true) : word === "false" ? ok(false) : err(null);
}

const DURATION_UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 };

/** Reads a duration as Consul writes it (`7.5s`, `1m0s`, `24h0m0s`); null where it is none. */
export function parseDuration(text: string): Ms | null {
  if (!/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(text)) return null;
  let total = 0;
  for (const match of text.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g)) {
    total += Number(match[1]) * (DURATION_UNIT_MS[match[2] as string] as number);
  }
  return ms(total);
}
