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

/**
 * A file that we generated and do not manage any more: as it is, without the claim that a change would be overwritten. null where it
 * is not one of ours. What it lets in stays in force: the server's own file of before would shut the other members out.
 */
export function releasedAccessFile(content: string): string | null {
  if (!content.startsWith(`${GENERATED_HEADER}\n`)) return null;
  return `${RELEASED_HEADER}\n${content.slice(GENERATED_HEADER.length + 1)}`;
}

const RELEASED_HEADER = "# Left by Matriarch when its configuration stopped naming these lines: from here on this file is yours.";

/** First line of every file that we generate: tells ours from one that an administrator wrote. */
export const GENERATED_HEADER = "# Written by Matriarch from its configuration: a change made here is overwritten.";
