// Owns the change of a running standby's source by a reload, seen to have taken effect. It does not choose the source.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import type { Connection } from "./connection.ts";
import { pollUntil } from "./poll.ts";

/** A reload reaches a backend when it next reads a command: milliseconds, unless the machine is very busy. */
const RELOAD_SEEN_MAX_MS = 5_000;
export const POLL_MS = 4;

/** Until when a reload must have been seen: absolute, not after `deadline`. */
export function seenBy(clock: Clock, deadline: Ms): Ms {
  return ms(Math.min(deadline, clock.now() + RELOAD_SEEN_MAX_MS));
}

/** Settings that a reload is waited for: name → value as SHOW prints it. */
export type ExpectedSettings = Readonly<Record<string, string>>;

/** Resolves when the server shows all of these values. Errors: unreachable, timeout (which setting shows what). */
export async function untilShown(
  on: { readonly connection: Connection; readonly clock: Clock },
  expected: ExpectedSettings,
  deadline: Ms,
): Promise<Result<null, PostgresError>> {
  const names = Object.keys(expected);
  const until = seenBy(on.clock, deadline);
  const columns = names.map((_, index) => `current_setting($${index + 1}) AS s${index}`).join(", ");
  let different: readonly string[] = names;
  const outcome = await pollUntil<Result<null, PostgresError>>({ clock: on.clock, deadline: until, intervalMs: POLL_MS }, async () => {
    const rows = await on.connection.query(`SELECT ${columns}`, names, deadline);
    if (!rows.ok) return rows;
    different = names.filter((name, index) => rows.value[0]?.[`s${index}`] !== expected[name]);
    return different.length === 0 ? ok(null) : null;
  });
  return outcome ?? err({ kind: "timeout", message: `reloaded, but ${different.join(", ")} did not take effect` });
}

/**
 * The source named by a primary_conninfo that the server runs with, for a supervisor that adopted it; null where there is
 * none. The member's name is not in it.
 */
export function sourceOf(primaryConninfo: string, primarySlotName: string): FollowTarget | null {
  const settings = parseConnInfo(primaryConninfo);
  const host = settings.get("host") ?? settings.get("hostaddr");
  if (host === undefined || host === "") return null;
  const text = settings.get("port") ?? "";
  const port = Number(text === "" ? 5432 : text);
  return {
    name: null,
    host,
    port: text.includes(",") ? text : Number.isInteger(port) && port > 0 ? port : 5432,
    slotName: primarySlotName === "" ? null : primarySlotName,
  };
}

/** Parses libpq's `key = 'value'` form; what cannot be parsed ends the result. Source: PostgreSQL manual, "Keyword/Value Connection Strings". */
export function parseConnInfo(text: string): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  const pair = /\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))/y;
  for (let match = pair.exec(text); match !== null; match = pair.exec(text)) {
    const [, key = "", quoted, bare] = match;
    settings.set(key, (quoted ?? bare ?? "").replace(/\\(.)/gs, "$1"));
  }
  return settings;
}
