// Owns GET /restore, what keeps this node from restoring the cluster; and GET /backups: what the repository of pgBackRest holds, as this node reads it, and how the scheduled backups of the cluster
// stand.

import { scheduledBackups } from "../core/scheduled-backups.ts";
import { RESTORE_ID } from "../model/restore.ts";
import { jsonAnswer, textAnswer } from "./answers.ts";
import type { ApiApp, ApiContext } from "./context.ts";

export function backupRoutes(app: ApiApp, { service, wallNow }: ApiContext): void {
  app.get("/restore", async ({ req }) => {
    const back = req.query("back") ?? null;
    if (back !== null && !RESTORE_ID.test(back)) return textAnswer(400, "back: not the id of a restore");
    return jsonAnswer({ obstacle: await service.restoreObstacle(back) });
  });
  app.get("/backups", async () => {
    const listing = await service.backups();
    if (listing === null) return textAnswer(502, "pgbackrest is not configured on this node");
    if (!listing.ok) return textAnswer(503, listing.error.message);
    const { cluster, config } = service.factsNow();
    const schedule = config.pgbackrest?.schedule ?? null;
    const scheduled = schedule === null ? null : scheduledBackups(schedule, cluster?.backup ?? null, wallNow());
    return jsonAnswer({ ...listing.value, scheduled });
  });
}
