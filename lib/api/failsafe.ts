// Owns GET and POST /failsafe: the topology of failsafe mode, and the primary's heartbeat while the DCS is away.

import { jsonAnswer, textAnswer } from "./answers.ts";
import { readJsonObject, textField } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";

export function failsafeRoutes(app: ApiApp, context: ApiContext): void {
  app.get("/failsafe", () => {
    const facts = context.service.factsNow();
    const members = facts.dynamic.failsafeMode ? (facts.cluster?.failsafe ?? null) : null;
    return members === null ? textAnswer(502, "failsafe mode is not enabled") : jsonAnswer(members);
  });

  app.post("/failsafe", async (c) => {
    const body = await readJsonObject(c.req.raw, { empty: "refused" });
    if (!body.ok) return textAnswer(body.error.status, body.error.text);
    if (!context.service.factsNow().dynamic.failsafeMode) return textAnswer(502, "failsafe mode is not enabled");
    for (const name of ["name", "conn_url", "api_url"]) {
      if (textField(body.value, name) === null) return textAnswer(400, `${name}: a text is needed`);
    }
    const answer = await context.service.failsafe(body.value);
    return textAnswer(answer.status, answer.text, answer.lsn === null ? {} : { lsn: answer.lsn.toString() });
  });
}
