// Owns POST and DELETE /restart, POST /reload, /reinitialize, /mpp and /citus: checks the request, passes it to the node.

import { parseAppointment } from "../core/appointment.ts";
import { parsePostgresVersion, restartFiltersMatch } from "../core/restart-filters.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { OperatorAnswer, RestartRequest } from "../runtime/node-service.ts";
import { textAnswer } from "./answers.ts";
import { type BodyFault, flag, type JsonObject, readJsonObject, textField } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { shownRole } from "./status-document.ts";

/** A restart or a reinitialization may keep silent this long (seconds; the largest that the listener knows). */
export const LONG_ANSWER_SECONDS = 255;

type Refusal = BodyFault | OperatorAnswer;

export function operationRoutes(app: ApiApp, context: ApiContext): void {
  app.post("/restart", async (c) => {
    const body = await readJsonObject(c.req.raw, { empty: "allowed" });
    if (!body.ok) return textAnswer(body.error.status, body.error.text);
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
    const body = await readJsonObject(c.req.raw, { empty: "allowed" });
    if (!body.ok) return textAnswer(body.error.status, body.error.text);
    if (context.service.factsNow().holdsLock) return textAnswer(503, "I am the leader, can not reinitialize");
    c.env.allowSilence(LONG_ANSWER_SECONDS);
    const fromLeader = flag(body.value["from_leader"]) || flag(body.value["from-leader"]);
    const answer = await context.service.reinitialize({ force: flag(body.value["force"]), fromLeader });
    return textAnswer(answer.status, answer.text);
  });

  for (const path of ["/mpp", "/citus"]) {
    app.post(path, async (c) => {
      const body = await readJsonObject(c.req.raw, { empty: "refused" });
      return body.ok ? textAnswer(200, "OK") : textAnswer(body.error.status, body.error.text);
    });
  }
}

async function restart(context: ApiContext, body: JsonObject): Promise<Refusal> {
  const request = readRestart(body);
  if (!request.ok) return request.error;
  const schedule = body["schedule"];
  if (schedule !== undefined && schedule !== null && schedule !== "") return scheduleRestart(context, String(schedule), request.value);
  const facts = await context.service.facts();
  const matches = restartFiltersMatch(request.value, {
    role: shownRole(facts),
    serverVersion: facts.postgres?.serverVersion ?? null,
    pendingRestart: Object.keys(facts.pendingRestart).length > 0,
  });
  if (!matches) return { status: 503, text: "restart conditions are not satisfied" };
  return context.service.restart(request.value);
}

async function scheduleRestart(context: ApiContext, text: string, request: RestartRequest): Promise<Refusal> {
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

const RESTART_FIELDS: readonly string[] = ["schedule", "role", "postgres_version", "timeout", "restart_pending"];
const RESTART_ROLES: readonly string[] = ["primary", "standby_leader", "replica"];

function readRestart(body: JsonObject): Result<RestartRequest, OperatorAnswer> {
  const unknown = Object.keys(body).find((name) => !RESTART_FIELDS.includes(name));
  if (unknown !== undefined) return err({ status: 400, text: `Unknown filter for the scheduled restart: ${unknown}` });
  const role = textField(body, "role");
  if (role !== null && !RESTART_ROLES.includes(role)) {
    return err({ status: 400, text: "PostgreSQL role should be either primary, standby_leader, or replica" });
  }
  const postgresVersion = textField(body, "postgres_version");
  if (postgresVersion !== null && parsePostgresVersion(postgresVersion) === null) {
    return err({ status: 400, text: `Invalid PostgreSQL version: ${postgresVersion}` });
  }
  const timeoutMs = readTimeout(body["timeout"]);
  if (timeoutMs === "unreadable") return err({ status: 400, text: "Timeout should be a positive number of seconds" });
  return ok({ role, postgresVersion, timeoutMs, restartPending: flag(body["restart_pending"]) });
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { "": 1000, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Seconds, or a PostgreSQL time such as `5min`; null when not given. */
function readTimeout(value: unknown): Ms | null | "unreadable" {
  if (value === undefined || value === null || value === "") return null;
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(String(value));
  const unit = match === null ? undefined : TIME_UNITS_MS[match[2] ?? ""];
  if (match === null || unit === undefined) return "unreadable";
  const timeout = Math.round(Number(match[1]) * unit);
  return timeout > 0 && Number.isSafeInteger(timeout) ? ms(timeout) : "unreadable";
}
