// Owns what stands in pg_hba.conf and pg_ident.conf for a role. It writes nothing itself.

import type { PostgresqlConfig } from "../model/node-config.ts";

export type ServerRole = "primary" | "replica" | "standby_leader";

/** Lines of pg_hba.conf: those of the role where there are any, else the common ones; null = the file that is there stays. */
export function hbaLines(config: PostgresqlConfig, role: ServerRole): readonly string[] | null {
  return config.pgHbaByRole[role] ?? config.pgHba;
}

/** Lines of pg_ident.conf, chosen in the same way. */
export function identLines(config: PostgresqlConfig, role: ServerRole): readonly string[] | null {
  return config.pgIdentByRole[role] ?? config.pgIdent;
}

export function accessFileContent(lines: readonly string[]): string {
  return `${GENERATED_HEADER}\n${lines.join("\n")}\n`;
}

/** First line of every file that we generate: tells ours from one that an administrator wrote. */
export const GENERATED_HEADER = "# Written by Matriarch from its configuration: a change made here is overwritten.";
