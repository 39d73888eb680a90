// Owns the judgement of PgBouncer's own settings: which of them make a change of the leader longer than it has to be, or the worker's
// work void, and what to write instead. Pure; the worker logs what it finds, `--check` and the doctor show it.

import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import type { ShownDatabase } from "./console.ts";
import { linesIn } from "./lines.ts";

/** One setting that matters. */
export interface SettingFinding {
  readonly setting: string;
  /** What it is, and what comes of it. */
  readonly says: string;
  /** What to write in pgbouncer.ini. */
  readonly fix: string;
}

/** Longer than this a client sees the setting and not the failover. */
const LOGIN_RETRY_MAX_S = 1;

export function settingFindings(
  config: PgbouncerConfig,
  settings: ReadonlyMap<string, string>,
  databases: readonly ShownDatabase[],
): readonly SettingFinding[] {
  const findings: SettingFinding[] = [];
  const find = (setting: string, says: string, fix: string) => findings.push({ setting, says, fix });
  const retry = Number(settings.get("server_login_retry"));
  if (retry > LOGIN_RETRY_MAX_S) {
    find(
      "server_login_retry",
      `${retry} s: so long a pool waits after a login that failed, as during a failover`,
      "server_login_retry = 1",
    );
  }
  const sessions = settings.get("pool_mode") === "session" || databases.some(({ poolMode }) => poolMode === "session");
  if (sessions && Number(settings.get("server_fast_close")) === 0) {
    find(
      "server_fast_close",
      "0 with pool_mode session: whoever is connected stays on the former leader's server",
      "server_fast_close = 1",
    );
  }
  const wait = Number(settings.get("query_wait_timeout"));
  if (config.pause === "on" && wait > 0 && wait * 1000 <= config.pauseLimitMs) {
    const limit = config.pauseLimitMs / 1000;
    find(
      "query_wait_timeout",
      `${wait} s runs during a PAUSE too, which may take ${limit} s`,
      `query_wait_timeout = ${Math.ceil(limit) * 2}`,
    );
  }
  if (Number(settings.get("tcp_user_timeout")) === 0 && Number(settings.get("query_timeout")) === 0) {
    find(
      "tcp_user_timeout",
      "0: a query under way to a host that has fallen silent waits for the system's own limits, minutes",
      "tcp_user_timeout = 10000",
    );
  }
  const authFile = settings.get("auth_file") ?? "";
  if (config.users !== null && authFile !== config.users.file) {
    find(
      "auth_file",
      `${authFile === "" ? "not set" : authFile}: the list of users is written elsewhere`,
      `auth_file = ${config.users.file}`,
    );
  }
  return findings;
}

/** The users whose lines in auth_file are PgBouncer's own affair. */
export function ownUsers(config: PgbouncerConfig, settings: ReadonlyMap<string, string>): ReadonlySet<string> {
  const listed = ["admin_users", "stats_users", "auth_user"].flatMap((key) => (settings.get(key) ?? "").split(","));
  return new Set([...listed.map((name) => name.trim()), config.admin.username ?? ""].filter((name) => name !== ""));
}

/** The first line of the text that PgBouncer does not go by, in words; null where it goes by all of them. */
export function strayLine(text: string, databases: readonly ShownDatabase[]): string | null {
  for (const { name, host, port } of linesIn(text)) {
    if (name === "*" || host === null) continue;
    const shown = databases.find((database) => database.name === name);
    if (shown === undefined) return `it has no database ${name}`;
    if (shown.host !== host || (port !== null && shown.port !== port)) return `${name} leads to ${shown.host}:${shown.port}`;
  }
  return null;
}
