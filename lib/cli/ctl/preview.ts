// Owns telling beforehand what a switchover or failover would do: asks the members, changes nothing. The rules are lib/core's.

import { readFlag, synchronousModeOf } from "../../core/cluster-view.ts";
import type { PeerAnswer } from "../../core/observation.ts";
import type { SwitchoverPlan } from "../../core/switchover-check.ts";
import { type CandidatePreview, previewSwitchover, type SwitchoverPreview } from "../../core/switchover-preview.ts";
import { formatLsn } from "../../model/lsn.ts";
import { seconds } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { type Format, formatListing } from "./formats.ts";
import { ROLE_WORDS } from "./member-table.ts";

/** A member that takes longer would be no candidate for the leader either. */
const ANSWERS_WITHIN = seconds(5);

/** Asks every member at once; one that does not answer counts as silent. */
export async function previewChange(
  context: CtlContext,
  read: ReadCluster,
  { plan, scheduled }: { readonly plan: SwitchoverPlan; readonly scheduled: boolean },
): Promise<SwitchoverPreview> {
  const [{ corePeerStatus }, { acceptDynamic }, { PATRONI_LIMITS }] = await Promise.all([
    import("../../runtime/peer-document.ts"),
    import("../../config/dynamic.ts"),
    import("../../model/dynamic-config.ts"),
  ]);
  const deadline = context.within(ANSWERS_WITHIN);
  const answers = await Promise.all(
    read.cluster.members.map(async ({ name, apiUrl }): Promise<PeerAnswer> => {
      const askedAt = context.terminal.clock.now();
      const answer = apiUrl === null ? null : await context.peers.status(apiUrl, deadline);
      return { name, askedAt, status: answer?.ok ? corePeerStatus(answer.value) : null };
    }),
  );
  const data = read.cluster.config?.data ?? {};
  const { maximumLagOnFailoverBytes, checkTimeline } = acceptDynamic(data, PATRONI_LIMITS).config;
  const limits = {
    synchronousMode: synchronousModeOf(data),
    maximumLagOnFailoverBytes,
    checkTimeline,
    paused: readFlag(data["pause"]),
  };
  return previewSwitchover({ plan, cluster: read.cluster, limits, scheduled, answers });
}

/** A row for each candidate, and below, who would lead (pretty only). */
export function previewText(
  read: ReadCluster,
  { plan, preview, format }: { readonly plan: SwitchoverPlan; readonly preview: SwitchoverPreview; readonly format: Format },
): string {
  const rows = preview.candidates.map((candidate) => rowOf(read, candidate, preview));
  const from = plan.leader ?? read.cluster.leader?.name ?? "nobody";
  const title = `Dry run: ${plan.action} of ${read.scope} from ${from} to ${plan.candidate ?? "the best candidate"}`;
  const text = formatListing({ title, columns: COLUMNS, rows }, format);
  return format === "pretty" ? `${text} ${outcomeText(preview)}\n Nothing was changed.\n` : text;
}

/** What the request would come to, as a sentence. */
export function outcomeText({ refusal, wouldLead }: SwitchoverPreview): string {
  if (refusal !== null) return `It would be refused: ${refusal}`;
  const [first = "", ...others] = wouldLead;
  if (others.length === 0) return `${first} would lead.`;
  return `${[first, ...others.slice(0, -1)].join(", ")} or ${others.at(-1)} would lead: equals, whichever takes the lock first. --candidate decides.`;
}

const COLUMNS = [
  { title: "Member", align: "left" },
  { title: "Role", align: "left" },
  { title: "Priority", align: "right" },
  { title: "LSN", align: "right" },
  { title: "Behind", align: "right" },
  { title: "May lead", align: "left" },
  { title: "Why not", align: "left" },
] as const;

function rowOf(read: ReadCluster, candidate: CandidatePreview, preview: SwitchoverPreview): Readonly<Record<string, unknown>> {
  const { name, position, behindBytes, reasons, priority } = candidate;
  const role = read.view.members.find((member) => member.name === name)?.role ?? "replica";
  return {
    Member: name,
    Role: ROLE_WORDS[role] ?? role,
    Priority: priority,
    ...(position === null ? {} : { LSN: formatLsn(position) }),
    ...(behindBytes === null ? {} : { Behind: Number(behindBytes) }),
    "May lead": reasons.length > 0 ? "no" : preview.wouldLead.includes(name) ? "yes, would" : "yes",
    ...(reasons.length === 0 ? {} : { "Why not": reasons.join("\n") }),
  };
}
