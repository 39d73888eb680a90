// Owns waiting for something to become true of a cluster: it looks again at each change in the DCS, never by a timer alone.

import { clusterView } from "../../core/cluster-view.ts";
import { type Ms, ms } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { orRefuse } from "./context.ts";

/** One blocking request to the DCS; a member may also change without a key changing. */
const ROUND_MS = 5000;

/** The first reading for which it holds; null at the deadline, or where the operator interrupts. Throws CtlRefusal: DCS away. */
export async function awaitCluster(
  context: CtlContext,
  from: ReadCluster,
  holds: (read: ReadCluster) => boolean | Promise<boolean>,
  deadline: Ms,
): Promise<ReadCluster | null> {
  const { clock, signal } = context.terminal;
  let read = from;
  for (;;) {
    if (await holds(read)) return read;
    if (signal.aborted || clock.now() >= deadline) return null;
    const until = ms(Math.min(deadline, clock.now() + ROUND_MS));
    const woken = await read.store.watchCluster(read.cluster.revision, { deadline: until, signal });
    if (signal.aborted) return null;
    const cluster = orRefuse(woken);
    read = { ...read, cluster, view: clusterView(cluster, read.scope) };
  }
}
