// Owns the schema of the `pgbouncer` section: the worker that leads a PgBouncer to the leader (docs/pgbouncer.md). What spans its
// options is in rules-pgbouncer.ts.

import { choice, duration, option, optionalSection, text, textWithDefault, wordList } from "./option.ts";
import { USER } from "./schema-postgresql.ts";
import { readPort } from "./value.ts";

export const PGBOUNCER = {
  ...USER,
  name: text("pooler1"),
  host: textWithDefault("127.0.0.1"),
  port: option({ wanted: "a port from 1 to 65535", example: "6432", read: readPort, fallback: 6432 }),
  databases_file: text("/etc/pgbouncer/databases.ini"),
  databases: wordList("[app]"),
  template: text("'app = host={host} port={port}'"),
  users: optionalSection({
    ...USER,
    file: text("/etc/pgbouncer/userlist.txt"),
    database: textWithDefault("postgres"),
    query: text("SELECT usename, passwd FROM pool_users()"),
    interval: duration(60, { min: 1 }),
  }),
  pause: choice(["on", "off"], "on"),
  pause_timeout: duration(3, { min: 0.1 }),
  pause_limit: duration(15, { min: 1 }),
  pause_failed: choice(["proceed", "abandon"], "proceed"),
};
