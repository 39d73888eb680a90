// Owns GET /explain: for each member whether it could be promoted now and every reason why not. The judgement is lib/core's.

import { jsonAnswer, textAnswer } from "./answers.ts";
import type { ApiApp, ApiContext } from "./context.ts";

export function explainRoutes(app: ApiApp, { service }: ApiContext): void {
  app.get("/explain", async (c) => {
    const explanation = await service.explain();
    const name = c.req.query("member");
    if (name === undefined || name === "") return jsonAnswer(explanation);
    const members = explanation.members.filter((member) => member.name === name);
    return members.length === 0 ? textAnswer(400, `${name} is not a member`) : jsonAnswer({ ...explanation, members });
  });
}
