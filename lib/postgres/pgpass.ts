// Owns the password file that libpq reads: how passwords reach walreceivers, pg_basebackup, pg_rewind and scripts.

import { chmod, stat } from "node:fs/promises";
import type { PostgresqlConfig, PostgresUser } from "../model/node-config.ts";
import { replaceFile } from "./atomic-file.ts";

/** libpq ignores a file that others may read. */
const PGPASS_MODE = 0o600;

/** One line per configured user with a password, for every host: all members share these users. "" where none has one. */
export function pgpassContent(config: PostgresqlConfig): string {
  const users = new Map<string, PostgresUser>();
  for (const user of [config.superuser, config.replication, config.rewind]) {
    if (user.username !== null && user.password !== null && !users.has(user.username)) users.set(user.username, user);
  }
  return [...users].map(([name, user]) => `*:*:*:${escapePgpass(name)}:${escapePgpass(user.password ?? "")}\n`).join("");
}

/** Brings `postgresql.pgpass` up to date; true where it changed. Throws the system's error. */
export async function writePgpass(config: PostgresqlConfig): Promise<boolean> {
  const changed = await replaceFile(config.pgpass, pgpassContent(config), PGPASS_MODE);
  if (((await stat(config.pgpass)).mode & 0o077) !== 0) await chmod(config.pgpass, PGPASS_MODE);
  return changed;
}

function escapePgpass(text: string): string {
  return text.replace(/[\\:]/g, "\\$&");
}
