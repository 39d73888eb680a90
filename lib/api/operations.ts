// Owns POST and DELETE /restart, POST /reload, /reinitialize, /mpp and /citus: checks the request, passes it to the node.

import type * as v from "valibot";
import { parseAppointment } from "../core/appointment.ts";
import { restartFiltersMatch } from "../core/restart-filters.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { OperatorAnswer, RestartRequest } from "../runtime/node-service.ts";
import { shownRole } from "../runtime/role-facts.ts";
import { bodyRefusal, textAnswer } from "./answers.ts";
import { readBody, readJsonObject } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { REINITIALIZE_BODY, RESTART_BODY } from "./request-schemas.ts";

/** A restart or a reinitialization may keep silent this long (seconds; the largest that the listener knows). */
export const LONG_ANSWER_SECONDS = 255;

type RestartBody = v.InferOutput<typeof RESTART_BODY>;

export function operationRoutes(app: ApiApp, context: ApiContext): void {
  app.post("/restart", async (c) => {
    const body = await readBody(c.req.raw, RESTART_BODY, { empty: "allowed" });
    if (!body.ok) return bodyRefusal(body.error);
    c.env.allowSilence(LONG_ANSWER_SECONDS);
    const answer = await restart(context, body.value);
    return textAnswer(answer.status, answer.text);
  });

  app.delete("/restart", async () =>
    (await context.service.deleteScheduledRestart())
      ? textAnswer(200, "scheduled restart deleted")
      : textAnswer(404, "no restarts are scheduled"),
  );

  app.post("/reload", () => {
    context.service.reload();
    return textAnswer(202, "reload scheduled");
  });

  app.post("/reinitialize", async (c) => {
    const body = await readBody(c.req.raw, REINITIALIZE_BODY, { empty: "allowed" });
    if (!body.ok) return bodyRefusal(body.error);
    if (context.service.factsNow().holdsLock) return textAnswer(503, "I am the leader, can not reinitialize");
    c.env.allowSilence(LONG_ANSWER_SECONDS);
    const fromLeader = body.value.from_leader || body.value["from-leader"];
    const answer = await context.service.reinitialize({ force: body.value.force, fromLeader });
    return textAnswer(answer.status, answer.text);
  });

  for (const path of ["/mpp", "/citus"]) {
    app.post(path, async (c) => {
      const body = await readJsonObject(c.req.raw, { empty: "refused" });
      if (!body.ok) return bodyRefusal(body.error);
      // Whoever is about to stop waits here until its queries are held.
      c.env.allowSilence(LONG_ANSWER_SECONDS);
      const answer = await context.service.mppEvent(body.value);
      return textAnswer(answer.status, answer.text);
    });
  }
}

async function restart(context: ApiContext, body: RestartBody): Promise<OperatorAnswer> {
  const request: RestartRequest = {
    role: body.role,
    postgresVersion: body.postgres_version ?? null,
    timeoutMs: body.timeout ?? null,
    restartPending: body.restart_pending,
  };
  if (body.schedule !== undefined) return scheduleRestart(context, body.schedule, request);
  const facts = await context.service.facts();
  const matches = restartFiltersMatch(request, {
    role: shownRole(facts),
    serverVersion: facts.postgres?.serverVersion ?? null,
    pendingRestart: Object.keys(facts.pendingRestart).length > 0,
  });
  if (!matches) return { status: 503, text: "restart conditions are not satisfied" };
  return context.service.restart(request);
}

async function scheduleRestart(context: ApiContext, text: string, request: RestartRequest): Promise<OperatorAnswer> {
  if (context.service.factsNow().paused) return { status: 500, text: "Can't schedule restart in the paused state" };
  const appointment = readAppointment(text, "restart", context.wallNow());
  return appointment.ok ? context.service.scheduleRestart(appointment.value, request) : appointment.error;
}

/** The appointment as it is written into the DCS. Errors: 400 without a time zone, 422 unreadable or in the past. */
export function readAppointment(text: string, action: "restart" | "switchover", wallNow: number): Result<string, OperatorAnswer> {
  const appointment = parseAppointment(text);
  switch (appointment.kind) {
    case "unreadable":
      return err({ status: 422, text: "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601" });
    case "no-time-zone":
      return err({ status: 400, text: `Timezone information is mandatory for the scheduled ${action}` });
    case "ok":
      if (appointment.epochMs < wallNow) return err({ status: 422, text: `Cannot schedule ${action} in the past` });
      return ok(appointment.text);
  }
}
