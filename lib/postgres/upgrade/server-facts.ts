// Owns what a major upgrade has to know of the server that is to be upgraded, asked of it in one statement. Asks only.

import * as v from "valibot";
import type { Clock } from "../../model/clock.ts";
import type { PostgresqlConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";
import { Connection, localEndpoint } from "../connection.ts";
import type { PostmasterPidFile } from "../data-directory.ts";

/** It walks the files of each database and tablespace. */
const ANSWERS_WITHIN_MS = 120_000;

const flag = v.pipe(v.string(), v.picklist(["on", "off"]));
const whole = v.pipe(v.union([v.string(), v.number(), v.bigint()]), v.transform(Number), v.integer());
const schema = v.object({
  major: whole,
  in_recovery: v.boolean(),
  /** Who ran initdb: pg_upgrade wants the same name in the new cluster. */
  install_user: v.string(),
  encoding: v.string(),
  collate: v.string(),
  ctype: v.string(),
  /** c, or from version 15 on i (ICU), and from 17 on b (builtin). */
  provider: v.string(),
  /** Of ICU or builtin; "" for others, both. */
  locale: v.string(),
  icu_rules: v.string(),
  checksums: flag,
  wal_segment_mb: whole,
  prepared: whole,
  logical_slots: whole,
  tablespaces: whole,
  bytes: whole,
  /** Tablespaces, one a line: size and folder. */
  outside: v.pipe(v.string(), v.transform(tablespaceSizes)),
});
export type ServerFacts = v.InferOutput<typeof schema>;

/** The provider's column is there from version 15 on; read as JSON, so that the statement fits every version. */
const STATEMENT = `select current_setting('server_version_num')::int / 10000 as major,
  pg_is_in_recovery() as in_recovery,
  (select rolname::text from pg_roles where oid = 10) as install_user,
  current_setting('server_encoding') as encoding, d.datcollate::text as "collate", d.datctype::text as ctype,
  coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') as provider,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '') as locale, coalesce(to_jsonb(d) ->> 'daticurules', '') as icu_rules,
  current_setting('data_checksums') as checksums,
  pg_size_bytes(current_setting('wal_segment_size')) / 1048576 as wal_segment_mb,
  (select count(*) from pg_prepared_xacts) as prepared,
  (select count(*) from pg_replication_slots where slot_type = 'logical' and not temporary) as logical_slots,
  (select count(*) from pg_tablespace where oid not in (1663, 1664)) as tablespaces,
  (select sum(pg_database_size(oid)) from pg_database) as bytes,
  (select coalesce(string_agg(pg_tablespace_size(oid) || ' ' || pg_tablespace_location(oid), E'\\n'), '')
    from pg_tablespace where oid not in (1663, 1664)) as outside
  from pg_database d where d.datname = 'template0'`;

/** Errors: one line; the server does not answer, or says something else than was asked. */
export async function readServerFacts(
  config: PostgresqlConfig,
  pidFile: PostmasterPidFile,
  clock: Clock,
): Promise<Result<ServerFacts, string>> {
  const connection = new Connection({ clock, endpoint: async () => localEndpoint(config, pidFile) });
  try {
    const asked = await connection.query(STATEMENT, [], ms(clock.now() + ANSWERS_WITHIN_MS));
    if (!asked.ok) return err(asked.error.message);
    const parsed = v.safeParse(schema, asked.value[0]);
    if (parsed.success) return ok(parsed.output);
    const [issue] = parsed.issues;
    return err(`${v.getDotPath(issue) ?? "the answer"}: ${issue.message}`);
  } finally {
    await connection.close();
  }
}

/** Options of the new version's initdb that make a cluster like this one; `newMajor` knows which defaults have changed. */
export function initdbOptions(facts: ServerFacts, newMajor: number): readonly string[] {
  // From 18 on checksums are on unless refused.
  const checksums = facts.checksums === "on" ? ["--data-checksums"] : newMajor >= 18 ? ["--no-data-checksums"] : [];
  return [
    `--username=${facts.install_user}`,
    `--encoding=${facts.encoding}`,
    `--lc-collate=${facts.collate}`,
    `--lc-ctype=${facts.ctype}`,
    ...(initdbLocale(facts) ?? []),
    `--wal-segsize=${facts.wal_segment_mb}`,
    ...checksums,
  ];
}

/** Words for the locale provider; null where it is one that initdb is not known to take. */
export function initdbLocale({ provider, locale, icu_rules: rules }: ServerFacts): readonly string[] | null {
  if (provider === "c") return [];
  if (provider === "b") return ["--locale-provider=builtin", `--builtin-locale=${locale}`];
  if (provider !== "i") return null;
  return ["--locale-provider=icu", `--icu-locale=${locale}`, ...(rules === "" ? [] : [`--icu-rules=${rules}`])];
}

function tablespaceSizes(text: string): readonly { readonly place: string; readonly bytes: number }[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => ({ bytes: Number(line.slice(0, line.indexOf(" "))), place: line.slice(line.indexOf(" ") + 1) }));
}
