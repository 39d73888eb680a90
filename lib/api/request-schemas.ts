// Owns what the bodies of requests may hold: their names, types and the words of a refusal. What a value means for the
// cluster is judged by the routes. The document of GET /openapi.json is made from these schemas.

import * as v from "valibot";
import { restartVersionFault } from "../core/restart-filters.ts";
import { type Lsn, lsn, type Ms, ms } from "../model/units.ts";
import { PROMISE_MAX_MS } from "../runtime/failsafe.ts";

/** What is named must say something, except for `role`: an empty value, or null, is a fault, not "any". */
export const RESTART_BODY = v.strictObject(
  {
    schedule: v.optional(filter("schedule", "ISO 8601 with a time zone; left out: now")),
    role: v.pipe(
      v.nullish(
        v.picklist(["primary", "standby_leader", "replica", ""], "PostgreSQL role should be either primary, standby_leader, or replica"),
        null,
      ),
      v.transform((role) => (role === "" ? null : role)),
      v.description("restart only where the node has this role"),
    ),
    postgres_version: v.optional(
      v.pipe(
        filter("postgres_version", "restart only where PostgreSQL is older than this, such as 15.4"),
        v.check(
          (version) => restartVersionFault(version) === null,
          ({ input }) => restartVersionFault(input) ?? "",
        ),
      ),
    ),
    timeout: v.optional(
      v.pipe(
        filter("timeout", "seconds, or with a unit such as 5min: how long the answer waits for PostgreSQL"),
        v.check((written) => readTimeout(written) !== null, "Timeout should be a positive number of seconds"),
        v.transform(readTimeout),
      ),
    ),
    restart_pending: condition("restart_pending", "restart only where a restart is pending"),
  },
  ({ input }) => `Unknown filter for the scheduled restart: ${String(input)}`,
);

export const REINITIALIZE_BODY = v.object({
  force: flag("force", "although something else is in progress"),
  from_leader: flag("from_leader", "copy from the leader, not from a replica"),
  "from-leader": flag("from-leader", "the same"),
});

export const SWITCHOVER_BODY = v.object({
  leader: text("leader", "the member that leads now"),
  candidate: text("candidate", "the member that is to lead; left out: the best of them"),
  member: text("member", "an older name of candidate"),
  scheduled_at: text("scheduled_at", "ISO 8601 with a time zone; left out: now"),
});

/** Positions by slot name. What is no position is left out: the promise does not depend on it. */
const SLOTS = v.pipe(
  v.nullish(v.unknown(), {}),
  v.transform((value) => readSlots(value)),
  v.description("positions of the primary's logical slots, by name"),
);

export const FAILSAFE_BODY = v.object(
  {
    name: needed("name", "the primary"),
    conn_url: needed("conn_url", "how to reach its PostgreSQL"),
    api_url: needed("api_url", "how to reach its API"),
    slots: SLOTS,
    ttl: v.pipe(
      v.nullish(v.number(ttlWanted()), null),
      v.check((ttl) => ttl === null || (ttl > 0 && ttl * 1000 <= PROMISE_MAX_MS), ttlWanted()),
      v.transform((ttl): Ms | null => (ttl === null ? null : ms(ttl * 1000))),
      v.description("seconds for which the promise is asked"),
    ),
  },
  ({ expected }) => `${String(expected).replaceAll('"', "")}: a text is needed`,
);

export const CONFIG_BODY = v.record(v.string(), v.unknown());

function ttlWanted(): string {
  return `ttl: seconds, at most ${PROMISE_MAX_MS / 1000}`;
}

/** Text, or a number as text (a cluster may well have a node called 5); null where it is missing or empty. */
function text(name: string, description: string) {
  return v.pipe(
    v.nullish(v.union([v.string(), v.number(), v.bigint()], `${name}: a text is needed`), null),
    v.transform((value) => (value === null || value === "" ? null : String(value))),
    v.description(description),
  );
}

function needed(name: string, description: string) {
  const wanted = `${name}: a text is needed`;
  return v.pipe(
    v.union([v.string(), v.number(), v.bigint()], wanted),
    v.transform(String),
    v.check((value) => value !== "", wanted),
    v.description(description),
  );
}

/** Text, or a number as text; null is as empty as "". */
function filter(name: string, description: string) {
  return v.pipe(
    v.nullable(v.union([v.string(), v.number(), v.bigint()], `${name}: a text is needed`)),
    v.transform((value) => (value === null ? "" : String(value))),
    v.description(description),
  );
}

/** A condition that is named holds back unless it clearly says no: a word that we do not know must not widen what is asked for. */
function condition(name: string, description: string) {
  return v.pipe(
    v.nullish(v.union([v.boolean(), v.string(), v.number(), v.bigint()], `${name}: a boolean is needed`), false),
    v.transform((value) => !["false", "off", "no", "0", ""].includes(String(value).toLowerCase())),
    v.description(description),
  );
}

/** Booleans may come as text: "True", "on", "yes", "1". Any other text is false. */
function flag(name: string, description: string) {
  return v.pipe(
    v.nullish(v.union([v.boolean(), v.string(), v.number(), v.bigint()], `${name}: a boolean is needed`), false),
    v.transform((value) => (typeof value === "string" ? ["true", "on", "yes", "1"].includes(value.toLowerCase()) : Number(value) === 1)),
    v.description(description),
  );
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { "": 1000, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Seconds, or a PostgreSQL time such as `5min`; null when it is neither. */
function readTimeout(written: string): Ms | null {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(written);
  const unit = match === null ? undefined : TIME_UNITS_MS[match[2] ?? ""];
  if (match === null || unit === undefined) return null;
  const timeout = Math.round(Number(match[1]) * unit);
  return timeout > 0 && Number.isSafeInteger(timeout) ? ms(timeout) : null;
}

function readSlots(value: unknown): Readonly<Record<string, Lsn>> {
  if (typeof value !== "object" || value === null) return {};
  const slots: [string, Lsn][] = [];
  for (const [name, position] of Object.entries(value)) {
    const whole = typeof position === "bigint" || (typeof position === "number" && Number.isSafeInteger(position));
    if (whole && position >= 0) slots.push([name, lsn(position)]);
  }
  return Object.fromEntries(slots);
}
