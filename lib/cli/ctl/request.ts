// Owns what the requests to restore or to upgrade a cluster have in common on the operator's side: their name, and the wait for their end.

import type { Cluster } from "../../model/cluster.ts";
import { seconds } from "../../model/units.ts";
import { timestamp } from "./appointment.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { CtlRefusal } from "./refusal.ts";
import { awaitCluster } from "./watch-cluster.ts";

/** A large cluster takes its time; the operator can interrupt the wait, and nothing else. */
const FOLLOWED_WITHIN = seconds(7 * 24 * 3600);

export interface Followed {
  /** How it stands, in one line; null where the request is gone. */
  readonly line: (cluster: Cluster) => string | null;
  readonly isOver: (cluster: Cluster) => boolean;
  /** The command that tells how it stands. */
  readonly status: string;
}

/** `20260131-120000`, which is a part of directories' names. */
export function requestId(epochMs: number): string {
  return new Date(epochMs).toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
}

/** Tells each change until it is over. Throws CtlRefusal where nobody waits any longer. */
export async function followRequest(context: CtlContext, from: ReadCluster, { line, isOver, status }: Followed): Promise<Cluster> {
  const { terminal } = context;
  let told = "";
  const end = await awaitCluster(
    context,
    await context.readGroup(from.scope, from.group),
    ({ cluster }) => {
      const now = line(cluster) ?? "the request is gone from the DCS";
      if (now !== told) terminal.out(`${timestamp(terminal.clock.wallNow())} ${now}\n`);
      told = now;
      return isOver(cluster);
    },
    context.within(FOLLOWED_WITHIN),
  );
  if (end === null) throw new CtlRefusal(`no longer waiting; it goes on without us (${status})`);
  return end.cluster;
}
