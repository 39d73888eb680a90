// Owns libpq connection strings: quoting, and which settings go into which. A password is never in one.

import { resolve } from "node:path";
import type { PostgresUser } from "../model/node-config.ts";
import type { FollowTarget } from "../model/postgres.ts";
import type { PostgresContext } from "./context.ts";

/** Options of a user that a connection string may show; the rest (sslpassword) is secret and goes only into files of mode 0600. */
const SECRET_OPTIONS: ReadonlySet<string> = new Set(["sslpassword", "password"]);

/** First version whose walreceiver uses dbname (slot synchronisation). */
const DBNAME_IN_PRIMARY_CONNINFO_SINCE = 17;

/** `key=value` pairs; a value is quoted where it is empty or holds a space, quote or backslash. */
export function connInfo(settings: Readonly<Record<string, string | number | null>>): string {
  return Object.entries(settings)
    .filter((entry): entry is [string, string | number] => entry[1] !== null)
    .map(([key, value]) => `${key}=${quoteConnInfo(String(value))}`)
    .join(" ");
}

/** Value of primary_conninfo for a standby that follows `target`; it stands in a file of mode 0600, so sslpassword may be in it. */
export function primaryConninfo(context: PostgresContext, target: FollowTarget, majorVersion: number): string {
  const user = context.config.replication;
  return connInfo({
    ...(majorVersion >= DBNAME_IN_PRIMARY_CONNINFO_SINCE ? { dbname: "postgres" } : {}),
    ...userSettings(context, user),
    ...(user.options["sslpassword"] === undefined ? {} : { sslpassword: user.options["sslpassword"] }),
    ...hostSettings(target.host, target.port),
    application_name: context.memberName,
  });
}

/** For programs that take a connection string as an argument (visible to every user of the machine): nothing secret. */
export function programConninfo(
  context: PostgresContext,
  options: { readonly user: PostgresUser; readonly target: FollowTarget; readonly extra?: Readonly<Record<string, string | number>> },
): string {
  return connInfo({
    ...userSettings(context, options.user),
    ...hostSettings(options.target.host, options.target.port),
    ...options.extra,
  });
}

/** As the configuration's own scripts get it: without our password file, which they find in their environment. */
export function scriptConninfo(options: { readonly user: PostgresUser; readonly host: string; readonly port: number | string }): string {
  const { user, host, port } = options;
  return connInfo({ dbname: "postgres", user: user.username, ...hostSettings(host, port), ...visibleOptions(user) });
}

function userSettings(context: PostgresContext, user: PostgresUser): Record<string, string | null> {
  return { user: user.username, passfile: resolve(context.config.pgpass), ...visibleOptions(user) };
}

function visibleOptions(user: PostgresUser): Record<string, string> {
  return Object.fromEntries(Object.entries(user.options).filter(([name]) => !SECRET_OPTIONS.has(name)));
}

/** A remote primary may be named by several hosts: then the writable one is meant. */
function hostSettings(host: string, port: number | string): Record<string, string | number> {
  return { host, port, ...(host.includes(",") ? { target_session_attrs: "read-write" } : {}) };
}

function quoteConnInfo(value: string): string {
  return value !== "" && !/[\s'\\]/.test(value) ? value : `'${value.replace(/(['\\])/g, "\\$1")}'`;
}
