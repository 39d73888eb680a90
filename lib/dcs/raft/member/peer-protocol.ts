// Owns what members ask each other before they are members of one cluster: founding and joining, as JSON texts that are checked
// here. The texts travel as requests of a client, because there is no link yet between those that do not know each other.

import * as v from "valibot";
import { type MemberId, memberId, type RaftClusterId, type RaftMember, raftClusterId } from "../../../model/raft.ts";
import { VOTERS_MAX } from "../core/configuration.ts";
import type { FoundingPromise, Standing } from "../core/founding.ts";

export type PeerRequest =
  | { readonly kind: "founding-ask"; readonly from: RaftMember }
  | { readonly kind: "founding-promise"; readonly from: RaftMember; readonly token: string; readonly promise: FoundingPromise }
  /** Wants to belong, or wants to know whether it still does. `voter`: it has been one. */
  | { readonly kind: "join"; readonly from: RaftMember; readonly clusterId: RaftClusterId; readonly was: "newcomer" | "voter" };

export type JoinAnswer =
  /** Is in the configuration; the leader will be heard. */
  | { readonly kind: "member" }
  /** Was in the configuration once and is not any more. */
  | { readonly kind: "removed" }
  | { readonly kind: "ask-leader"; readonly address: string | null }
  | { readonly kind: "wait"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

/** So that a text of this kind is told from a client's request without reading it twice. */
const PREFIX = '{"peer":';
/** A list of addresses, not of voters: it may name newcomers. */
const LIST_MAX = 2 * VOTERS_MAX;
const TEXT_MAX = 300;
const TOKEN_MAX = 64;

export function isPeerRequest(text: string): boolean {
  return text.startsWith(PREFIX);
}

export function writePeerRequest(request: PeerRequest): string {
  return `${PREFIX}${JSON.stringify(request)}}`;
}

/** Null where the text is no such request. */
export function readPeerRequest(text: string): PeerRequest | null {
  return read(v.object({ peer: requestSchema }), text)?.peer ?? null;
}

export function writeStanding(standing: Standing): string {
  return JSON.stringify(standing);
}

export function readStanding(text: string): Standing | null {
  return read(standingSchema, text);
}

export function writeJoinAnswer(answer: JoinAnswer): string {
  return JSON.stringify(answer);
}

export function readJoinAnswer(text: string): JoinAnswer | null {
  return read(joinAnswerSchema, text);
}

function read<T>(schema: v.GenericSchema<unknown, T>, text: string): T | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const parsed = v.safeParse(schema, json, { abortEarly: true });
  return parsed.success ? parsed.output : null;
}

const shortText = v.pipe(v.string(), v.maxLength(TEXT_MAX));
/** Stands in log lines: nothing that could forge one. */
const address = v.pipe(v.string(), v.maxLength(TEXT_MAX), v.regex(/^[\x21-\x7e]+$/));
const id: v.GenericSchema<unknown, MemberId> = v.pipe(
  v.string(),
  v.check((text) => memberId(text) !== null),
  v.transform((text) => text as MemberId),
);
const clusterId: v.GenericSchema<unknown, RaftClusterId> = v.pipe(
  v.string(),
  v.check((text) => raftClusterId(text) !== null),
  v.transform((text) => text as RaftClusterId),
);
const token = v.pipe(v.string(), v.maxLength(TOKEN_MAX));
const member = v.object({ id, address });
const promise = v.object({ clusterId, members: v.pipe(v.array(member), v.minLength(1), v.maxLength(LIST_MAX)) });

const requestSchema: v.GenericSchema<unknown, PeerRequest> = v.variant("kind", [
  v.object({ kind: v.literal("founding-ask"), from: member }),
  v.object({ kind: v.literal("founding-promise"), from: member, token, promise }),
  v.object({ kind: v.literal("join"), from: member, clusterId, was: v.picklist(["newcomer", "voter"]) }),
]);
const standingSchema: v.GenericSchema<unknown, Standing> = v.object({
  id,
  address,
  list: v.pipe(v.array(address), v.maxLength(LIST_MAX)),
  state: v.variant("kind", [
    v.object({
      kind: v.literal("empty"),
      founding: v.picklist(["may", "may-not"]),
      readiness: v.picklist(["ready", "asking"]),
      token,
    }),
    v.object({ kind: v.literal("promised"), promise }),
    v.object({ kind: v.literal("member"), clusterId }),
  ]),
});
const joinAnswerSchema: v.GenericSchema<unknown, JoinAnswer> = v.variant("kind", [
  v.object({ kind: v.literal("member") }),
  v.object({ kind: v.literal("removed") }),
  v.object({ kind: v.literal("ask-leader"), address: v.nullable(address) }),
  v.object({ kind: v.literal("wait"), reason: shortText }),
  v.object({ kind: v.literal("refused"), reason: shortText }),
]);
