// Owns the typed `pgbouncer` section from a checked tree. Pure.

import type { PgbouncerConfig } from "../model/pgbouncer.ts";
import { user } from "./build-postgresql.ts";
import type { PgbouncerTree } from "./schema-node.ts";

/** PgBouncer's own name for its console, which it lets the user that it runs as into without a password, over its socket. */
const CONSOLE_USER = "pgbouncer";

export function buildPgbouncer(tree: PgbouncerTree): PgbouncerConfig {
  const { users } = tree;
  return {
    name: tree.name,
    host: tree.host,
    port: tree.port,
    admin: user(tree, CONSOLE_USER),
    databasesFile: tree.databases_file ?? "",
    databases: tree.databases,
    template: tree.template,
    users:
      users === null
        ? null
        : {
            file: users.file ?? "",
            login: user(users, null),
            database: users.database,
            query: users.query,
            intervalMs: users.interval,
          },
    pause: tree.pause,
    pauseTimeoutMs: tree.pause_timeout,
    pauseLimitMs: tree.pause_limit,
    pauseFailed: tree.pause_failed,
  };
}
