// Owns reading a connection string: a postgres:// URL or libpq's `key=value` form, completed from libpq's environment
// variables. Connects to nothing; its faults never show the text, which may hold a password.

import { err, ok, type Result } from "../model/result.ts";
import type { Environment } from "./environment.ts";

const VARIABLES: Readonly<Record<string, string>> = {
  PGHOST: "host",
  PGHOSTADDR: "hostaddr",
  PGPORT: "port",
  PGUSER: "user",
  PGPASSWORD: "password",
  PGDATABASE: "dbname",
  PGSSLMODE: "sslmode",
  PGSSLCERT: "sslcert",
  PGSSLKEY: "sslkey",
  PGSSLROOTCERT: "sslrootcert",
  PGSSLCRL: "sslcrl",
  PGGSSENCMODE: "gssencmode",
  PGCHANNELBINDING: "channel_binding",
};

/** libpq's options by name. Error: what is wrong with the text. */
export function readDsn(dsn: string | null, env: Environment): Result<ReadonlyMap<string, string>, string> {
  const options = new Map<string, string>();
  for (const [variable, name] of Object.entries(VARIABLES)) {
    const value = env[variable];
    if (value !== undefined && value !== "") options.set(name, value);
  }
  const own = dsn === null ? ok([]) : /^postgres(ql)?:\/\//.test(dsn) ? readUrl(dsn) : readPairs(dsn);
  if (!own.ok) return own;
  for (const [name, value] of own.value) options.set(name, value);
  return ok(options);
}

function readUrl(text: string): Result<readonly (readonly [string, string])[], string> {
  if (!URL.canParse(text)) return err("the DSN is not a valid URL; write postgres://USER@HOST:PORT/DATABASE");
  const url = new URL(text);
  const parts: readonly (readonly [string, string])[] = [
    ["host", url.hostname.replace(/^\[(.*)\]$/, "$1")],
    ["port", url.port],
    ["user", url.username],
    ["password", url.password],
    ["dbname", url.pathname.slice(1)],
  ];
  try {
    const decoded = parts.map(([name, value]) => [name, decodeURIComponent(value)] as const);
    return ok([...decoded.filter(([, value]) => value !== ""), ...url.searchParams]);
  } catch {
    return err("the DSN holds a % that starts no escape; write %25 for it");
  }
}

/** Source: PostgreSQL's manual, "Keyword/Value Connection Strings". */
function readPairs(text: string): Result<readonly (readonly [string, string])[], string> {
  const pairs: (readonly [string, string])[] = [];
  const pattern = /\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\']|\\.)*))(?=\s|$)/gy;
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    pairs.push([match[1] ?? "", (match[2] ?? match[3] ?? "").replace(/\\(.)/g, "$1")]);
    end = match.index + match[0].length;
  }
  return text.slice(end).trim() === "" ? ok(pairs) : err("the DSN is not a list of key=value pairs; write 'host=HOST port=PORT user=USER'");
}
