// Owns GET /backups: what the repository of pgBackRest holds, as this node reads it.

import { jsonAnswer, textAnswer } from "./answers.ts";
import type { ApiApp, ApiContext } from "./context.ts";

export function backupRoutes(app: ApiApp, { service }: ApiContext): void {
  app.get("/backups", async () => {
    const listing = await service.backups();
    if (listing === null) return textAnswer(502, "pgbackrest is not configured on this node");
    return listing.ok ? jsonAnswer(listing.value) : textAnswer(503, listing.error.message);
  });
}
