// Owns the requests of commands to members' REST APIs: whom to ask, how long to wait, and what to say when nobody
// answers. A request that may have been applied is never sent to a second member.

import type { MemberView } from "../../core/cluster-view.ts";
import { readFlag } from "../../core/cluster-view.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import type { PeerAnswer } from "../../runtime/peer-client.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { leaderFirst } from "./member-choice.ts";
import { CtlRefusal } from "./refusal.ts";

/** For an answer that comes at once. */
export const ANSWERS_WITHIN = seconds(10);
const DEFAULT_LOOP_WAIT_SECONDS = 10;

export interface MemberRequest {
  readonly method: "POST" | "PATCH" | "DELETE";
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>> | null;
  readonly within: Ms;
  /** The member to ask first; default: the leader. */
  readonly first?: string | null;
}

/**
 * - `answered`: `by` is the member that did.
 * - `nobody`: certainly nothing was done; `reasons` has one line for each member tried.
 */
export type MembersAnswer =
  | { readonly kind: "answered"; readonly by: MemberView; readonly answer: PeerAnswer }
  | { readonly kind: "nobody"; readonly reasons: readonly string[] };

/** Asks one member, and the next one where it cannot be reached. Throws CtlRefusal where the outcome is not known. */
export async function askAnyMember(context: CtlContext, read: ReadCluster, request: MemberRequest): Promise<MembersAnswer> {
  const reasons: string[] = [];
  await refuseBadCertificates(context);
  const usual = leaderFirst(read.view.members);
  const ordered = [...usual.filter(({ name }) => name === request.first), ...usual.filter(({ name }) => name !== request.first)];
  for (const member of ordered) {
    if (member.api_url === undefined) continue;
    const { method, path, body, within } = request;
    const answer = await context.peers.send(method, member.api_url, path, body, context.within(within));
    if (answer.ok) return { kind: "answered", by: member, answer: answer.value };
    if (answer.error.kind !== "unreachable") {
      throw new CtlRefusal(
        `${member.name} gave no answer to ${method} ${path} (${answer.error.message}); it may or may not have been done`,
      );
    }
    reasons.push(`${member.name}: ${answer.error.message}`);
  }
  return { kind: "nobody", reasons };
}

/** Asks this member. The error is a line for the operator. */
export async function askMember(
  context: CtlContext,
  member: MemberView,
  request: MemberRequest,
): Promise<{ readonly ok: true; readonly answer: PeerAnswer } | { readonly ok: false; readonly reason: string }> {
  await refuseBadCertificates(context);
  if (member.api_url === undefined) return { ok: false, reason: "it publishes no api_url" };
  const answer = await context.peers.send(request.method, member.api_url, request.path, request.body, context.within(request.within));
  return answer.ok ? { ok: true, answer: answer.value } : { ok: false, reason: answer.error.message };
}

export function failureLine(action: string, member: MemberView, answer: PeerAnswer): string {
  return `Failed: ${action} for member ${member.name}, status code=${answer.status}, (${answer.text})\n`;
}

/** `loop_wait` as the dynamic configuration has it, or its default. */
export function loopWait(read: ReadCluster): Ms {
  const value = Number(read.cluster.config?.data["loop_wait"]);
  return Number.isFinite(value) && value >= 1 ? ms(value * 1000) : seconds(DEFAULT_LOOP_WAIT_SECONDS);
}

export function isPaused(read: ReadCluster): boolean {
  return readFlag(read.cluster.config?.data["pause"]);
}

async function refuseBadCertificates(context: CtlContext): Promise<void> {
  const fault = await context.peers.fault();
  if (fault !== null) throw new CtlRefusal(`${fault.path}: ${fault.message}`);
}
