// Owns GET /cluster and GET /history.

import { clusterView } from "../core/cluster-view.ts";
import type { HistoryLine } from "../model/history.ts";
import { jsonAnswer, textAnswer } from "./answers.ts";
import type { ClusterSource } from "./cluster-source.ts";
import type { ApiApp, ApiContext } from "./context.ts";

export function clusterRoutes(app: ApiApp, context: ApiContext, source: ClusterSource): void {
  app.get("/cluster", async () => {
    const cluster = await source.latest();
    if (cluster === null) return textAnswer(503, "the DCS has not been read yet");
    return jsonAnswer(clusterView(cluster, context.service.factsNow().config.scope));
  });

  app.get("/history", async () => {
    const cluster = await source.latest();
    if (cluster === null) return textAnswer(503, "the DCS has not been read yet");
    return jsonAnswer(cluster.history.map(historyRow));
  });
}

/** `[tl, lsn, reason, time, new leader]`; what is not known at the end is left out. */
function historyRow(line: HistoryLine): readonly unknown[] {
  const row: unknown[] = [line.timeline, line.lsn, line.reason];
  if (line.time !== null) row.push(line.time);
  if (line.time !== null && line.newLeader !== null) row.push(line.newLeader);
  return row;
}
