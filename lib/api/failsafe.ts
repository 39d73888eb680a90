// Owns GET and POST /failsafe: the topology of failsafe mode, and the primary's heartbeat while the DCS is away.

import { bodyRefusal, jsonAnswer, textAnswer } from "./answers.ts";
import { readBody } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { FAILSAFE_BODY } from "./request-schemas.ts";

const NOT_ENABLED = "Failsafe mode is not enabled";

export function failsafeRoutes(app: ApiApp, context: ApiContext): void {
  app.get("/failsafe", () => {
    const members = context.service.factsNow().cluster?.failsafe ?? null;
    return members === null ? textAnswer(502, NOT_ENABLED) : jsonAnswer(members);
  });

  app.post("/failsafe", async (c) => {
    if (!context.service.factsNow().dynamic.failsafeMode) return textAnswer(502, NOT_ENABLED);
    const body = await readBody(c.req.raw, FAILSAFE_BODY, { empty: "refused" });
    if (!body.ok) return bodyRefusal(body.error);
    const { name, conn_url: connUrl, api_url: apiUrl, slots, ttl } = body.value;
    const answer = await context.service.failsafe({ name, connUrl, apiUrl, slots, ttl });
    return textAnswer(answer.status, answer.text, answer.lsn === null ? {} : { lsn: answer.lsn.toString() });
  });
}
