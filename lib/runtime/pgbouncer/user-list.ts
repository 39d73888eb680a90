// Owns PgBouncer's list of users (auth_file): read from the leader's PostgreSQL, written beside those that only PgBouncer knows. A
// password leaves this file for PgBouncer's alone; no message holds one.

import type { Clock } from "../../model/clock.ts";
import type { PoolerUsersConfig } from "../../model/pgbouncer.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms } from "../../model/units.ts";
import { reasonOf } from "../../postgres/atomic-file.ts";
import { Connection, type Row } from "../../postgres/connection.ts";
import type { Target } from "./lines.ts";
import { readPoolFile, writePoolFile } from "./pool-file.ts";

/** Every user with a password that has not expired; who has none cannot log in through a list. */
const QUERY =
  "SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE passwd IS NOT NULL AND (valuntil IS NULL OR valuntil > pg_catalog.now()) ORDER BY usename";
/** For a connection, a login and the answer. */
const QUERY_WITHIN_MS = 5000;
/** PgBouncer looks a user up in memory: more than this is a case for its auth_query. */
const USERS_MAX = 10_000;
/** Source: PgBouncer 1.18, the longest that it takes from its list. */
const NAME_MAX_BYTES = 127;
const PASSWORD_MAX_BYTES = 2047;

/** Name → password or its verifier, as PgBouncer's file has it. */
export type UserMap = ReadonlyMap<string, string>;

export interface UserListOptions {
  readonly config: PoolerUsersConfig;
  readonly clock: Clock;
}

export class UserList {
  readonly #config: PoolerUsersConfig;
  readonly #clock: Clock;
  readonly #connection: Connection;
  #target: Target | null = null;

  constructor({ config, clock }: UserListOptions) {
    this.#config = config;
    this.#clock = clock;
    this.#connection = new Connection({
      clock,
      endpoint: async () => {
        const target = this.#target;
        if (target === null) return null;
        return { at: { kind: "tcp", host: target.host }, port: target.port, user: config.login, database: config.database };
      },
    });
  }

  /**
   * Asks the leader and writes what it says. `kept`: whose lines stay as the file has them, whatever the leader says. Value: whether the
   * file changed. Where the leader does not answer, or answers with nobody, the file stays as it is.
   */
  async refresh(target: Target, kept: ReadonlySet<string>): Promise<Result<boolean, string>> {
    this.#target = target;
    const deadline: Ms = ms(this.#clock.now() + QUERY_WITHIN_MS);
    const rows = await this.#connection.query(this.#config.query ?? QUERY, [], deadline);
    if (!rows.ok) return err(rows.error.message);
    const users = usersOf(rows.value);
    if (!users.ok) return users;
    if (users.value.size === 0) return err("the query names no user with a password: the list stays as it is");
    const { file } = this.#config;
    try {
      const own = parseUserList((await readPoolFile(file)) ?? "");
      return await writePoolFile(file, userListText(users.value, own, kept));
    } catch (error) {
      return err(`${file}: ${reasonOf(error)}`);
    }
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

/** Users in the order of their names; of those that are kept, the line that the file has. */
export function userListText(users: UserMap, own: UserMap, kept: ReadonlySet<string>): string {
  const staying = [...own].filter(([name]) => kept.has(name));
  const all = new Map([...users, ...staying]);
  const lines = [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, password]) => `${quoted(name)} ${quoted(password)}\n`);
  return lines.join("");
}

/** What PgBouncer reads in such a text: a name and a password in double quotes on each line. */
export function parseUserList(text: string): UserMap {
  const users = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"/.exec(line);
    if (match !== null) users.set(unquoted(match[1] ?? ""), unquoted(match[2] ?? ""));
  }
  return users;
}

/** Who cannot stand in the file is left out: PgBouncer would read the rest of it wrongly. */
export function usersOf(rows: readonly Row[]): Result<UserMap, string> {
  if (rows.length > USERS_MAX) return err(`more than ${USERS_MAX} users: write a query that names those of the pool`);
  const users = new Map<string, string>();
  for (const { usename, passwd } of rows) {
    if (typeof usename !== "string" || (passwd !== null && typeof passwd !== "string"))
      return err("the query has to answer with usename and passwd");
    if (passwd !== null && fits(usename, NAME_MAX_BYTES) && fits(passwd, PASSWORD_MAX_BYTES)) users.set(usename, passwd);
  }
  return ok(users);
}

function fits(text: string, maxBytes: number): boolean {
  return text !== "" && !/[\r\n\0]/.test(text) && Buffer.byteLength(text) <= maxBytes;
}

function quoted(text: string): string {
  return `"${text.replaceAll('"', '""')}"`;
}

function unquoted(text: string): string {
  return text.replaceAll('""', '"');
}
