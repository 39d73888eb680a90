// Owns GET and POST /failsafe: the topology of failsafe mode, and the primary's heartbeat while the DCS is away.

import type { FailsafeHeartbeat } from "../model/failsafe.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, lsn, type Ms, ms } from "../model/units.ts";
import { PROMISE_MAX_MS } from "../runtime/failsafe.ts";
import { jsonAnswer, textAnswer } from "./answers.ts";
import { type JsonObject, readJsonObject, textField } from "./body.ts";
import type { ApiApp, ApiContext } from "./context.ts";

const NOT_ENABLED = "Failsafe mode is not enabled";

export function failsafeRoutes(app: ApiApp, context: ApiContext): void {
  app.get("/failsafe", () => {
    const members = context.service.factsNow().cluster?.failsafe ?? null;
    return members === null ? textAnswer(502, NOT_ENABLED) : jsonAnswer(members);
  });

  app.post("/failsafe", async (c) => {
    const body = await readJsonObject(c.req.raw, { empty: "refused" });
    if (!body.ok) return textAnswer(body.error.status, body.error.text);
    if (!context.service.factsNow().dynamic.failsafeMode) return textAnswer(502, NOT_ENABLED);
    const beat = readHeartbeat(body.value);
    if (!beat.ok) return textAnswer(400, beat.error);
    const answer = await context.service.failsafe(beat.value);
    return textAnswer(answer.status, answer.text, answer.lsn === null ? {} : { lsn: answer.lsn.toString() });
  });
}

/** Errors: one line that names the field. */
function readHeartbeat(body: JsonObject): Result<FailsafeHeartbeat, string> {
  const [name, connUrl, apiUrl] = ["name", "conn_url", "api_url"].map((field) => textField(body, field));
  if (name == null) return err("name: a text is needed");
  if (connUrl == null) return err("conn_url: a text is needed");
  if (apiUrl == null) return err("api_url: a text is needed");
  const ttl = readTtl(body["ttl"]);
  if (ttl === "unreadable") return err(`ttl: seconds, at most ${PROMISE_MAX_MS / 1000}`);
  return ok({ name, connUrl, apiUrl, slots: readSlots(body["slots"]), ttl });
}

function readTtl(value: unknown): Ms | null | "unreadable" {
  if (value === undefined || value === null) return null;
  return typeof value === "number" && value > 0 && value * 1000 <= PROMISE_MAX_MS ? ms(value * 1000) : "unreadable";
}

/** What is no position is left out: the promise does not depend on it. */
function readSlots(value: unknown): Readonly<Record<string, Lsn>> {
  if (typeof value !== "object" || value === null) return {};
  const slots: [string, Lsn][] = [];
  for (const [name, position] of Object.entries(value)) {
    const whole = typeof position === "bigint" || (typeof position === "number" && Number.isSafeInteger(position));
    if (whole && position >= 0) slots.push([name, lsn(position)]);
  }
  return Object.fromEntries(slots);
}
