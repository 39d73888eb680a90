// Owns what the quickstart sees of its cluster: the nodes' own REST answers, read with a deadline. It must not ask the
// store or PostgreSQL: what a person sees here is what every other tool sees.

import * as v from "valibot";
import { host } from "./node-file.ts";
import type { QuickstartNode, QuickstartState } from "./state.ts";

const MemberSchema = v.looseObject({
  name: v.string(),
  role: v.string(),
  state: v.string(),
  host: v.optional(v.string()),
  port: v.optional(v.number()),
  timeline: v.optional(v.number()),
  receive_lsn: v.optional(v.string()),
  receive_lag: v.optional(v.union([v.number(), v.string()])),
  replay_lsn: v.optional(v.string()),
  replay_lag: v.optional(v.union([v.number(), v.string()])),
});
const ClusterSchema = v.looseObject({ members: v.array(MemberSchema), scope: v.optional(v.string()), pause: v.optional(v.boolean()) });
const StatusSchema = v.looseObject({ state: v.string(), role: v.optional(v.string()), database_system_identifier: v.optional(v.string()) });

export type MemberView = v.InferOutput<typeof MemberSchema>;
export type ClusterView = v.InferOutput<typeof ClusterSchema>;
export type StatusView = v.InferOutput<typeof StatusSchema>;

/** An answer from the same machine that takes longer is none. */
const answerWithinMs = 1_500;

export function apiUrl(node: QuickstartNode): string {
  return `http://${host}:${node.apiPort}`;
}

/** The first good `/cluster` of any node, all asked at once; null when nobody answers. */
export async function readCluster(state: QuickstartState, signal: AbortSignal): Promise<ClusterView | null> {
  const answers = state.nodes.map(async (node) => {
    const view = await readJson(`${apiUrl(node)}/cluster`, ClusterSchema, signal);
    if (view === null) throw new Error("no answer");
    return view;
  });
  // It fails only where every node has: that nobody answers is the answer.
  return Promise.any(answers).catch(() => null);
}

/** A node's own status document; null when it does not answer. */
export function readStatus(node: QuickstartNode, signal: AbortSignal): Promise<StatusView | null> {
  return readJson(`${apiUrl(node)}/patroni`, StatusSchema, signal);
}

/** Every node is a member; one leads and runs, all others stream from it. */
export function isComplete(view: ClusterView | null, state: QuickstartState): boolean {
  if (view === null) return false;
  const members = state.nodes.map((node) => view.members.find((member) => member.name === node.name));
  const leaders = members.filter((member) => member?.role === "leader" && member.state === "running");
  const streaming = members.filter((member) => member !== undefined && member.role !== "leader" && member.state === "streaming");
  return leaders.length === 1 && streaming.length === members.length - 1;
}

/** Null for anything but a good answer of that shape: while nodes start, all of these are expected. */
async function readJson<Schema extends v.GenericSchema>(
  url: string,
  schema: Schema,
  signal: AbortSignal,
): Promise<v.InferOutput<Schema> | null> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(answerWithinMs)]) });
    const parsed = v.safeParse(schema, await response.json());
    return response.ok && parsed.success ? parsed.output : null;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof Error) return null;
    throw error;
  }
}
