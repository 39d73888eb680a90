// Owns the program `backrest`: what PostgreSQL's and the supervisor's hooks call. `stanza` makes the repository ready for the
// database, `restore` fills a data directory. Which backup and which step are decided in lib/postgres and lib/model.

import { loadNodeConfig } from "../config/load.ts";
import { backupBefore } from "../model/backup.ts";
import type { Clock } from "../model/clock.ts";
import type { NodeConfig, PgBackRestConfig } from "../model/node-config.ts";
import { ms } from "../model/units.ts";
import { keepStanza, listBackups, type PgBackRest, restoreBackup } from "../postgres/pgbackrest.ts";
import { programRunner } from "../postgres/programs.ts";
import { LISTING_MAX_MS } from "../runtime/backups.ts";
import { EXIT, type ExitCode } from "../runtime/exit-codes.ts";

const USAGE = `usage: backrest NODE.yml stanza [WORD]...
       backrest NODE.yml restore [--before=TIME] [--datadir=FOLDER] [--delta] [--NAME=VALUE]...

  stanza   for bootstrap.post_bootstrap and postgresql.callbacks.on_role_change: pgbackrest check, and stanza-create or
           stanza-upgrade where its exit status asks for it; nothing where the callback's role is not the primary's
  restore  for bootstrap.METHOD.command and postgresql.METHOD.command: the last backup that was complete at TIME (default: the
           last one), without settings of recovery
`;

const CALLBACK_WORDS = 3;
const PRIMARY_ROLES: ReadonlySet<string> = new Set(["primary", "master", "promoted"]);

export interface BackrestSurroundings {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly out: (text: string) => void;
  readonly complain: (text: string) => void;
  readonly signal: AbortSignal;
}

/** Runs one command. Value: the exit status; 0 also where there was nothing to do. */
export async function runBackrest(words: readonly string[], around: BackrestSurroundings): Promise<ExitCode> {
  const [path, command, ...rest] = words;
  if (path === undefined || (command !== "stanza" && command !== "restore")) {
    around.complain(USAGE);
    return EXIT.usage;
  }
  const loaded = await loadNodeConfig({ path, env: around.env });
  if (!loaded.ok) {
    for (const fault of loaded.error) around.complain(`${fault.path}: ${fault.message}\n`);
    return EXIT.failed;
  }
  const node = loaded.value.config;
  if (node.pgbackrest === null) {
    around.complain(`pgbackrest: ${path} has no such section; write \`pgbackrest: {stanza: ${node.scope}}\`\n`);
    return EXIT.failed;
  }
  const parts = partsOf(node, node.pgbackrest, around.clock);
  return command === "stanza" ? await stanza(parts, rest, around) : await restore(parts, node, rest, around);
}

function partsOf(node: NodeConfig, config: PgBackRestConfig, clock: Clock): PgBackRest {
  return { config, run: programRunner(node.postgresql, clock), clock };
}

async function stanza(parts: PgBackRest, words: readonly string[], around: BackrestSurroundings): Promise<ExitCode> {
  // As post_bootstrap it gets one word, the connection string; by hand none.
  const role = words.length === CALLBACK_WORDS ? words[1] : undefined;
  if (role !== undefined && !PRIMARY_ROLES.has(role)) return EXIT.ok;
  const done = await keepStanza(parts, (text) => around.out(`${text}\n`));
  if (done.ok) {
    around.out(`stanza ${parts.config.stanza}: ${done.value}\n`);
    return EXIT.ok;
  }
  around.complain(`${done.error.message}\n`);
  return EXIT.failed;
}

async function restore(parts: PgBackRest, node: NodeConfig, words: readonly string[], around: BackrestSurroundings): Promise<ExitCode> {
  const given = new Map(words.map((word) => [word.split("=", 1)[0] ?? "", word.slice(word.indexOf("=") + 1)] as const));
  const time = given.get("--before");
  const before = time === undefined ? null : Date.parse(time);
  if (before !== null && Number.isNaN(before)) {
    around.complain(`--before=${time}: not a time; write it as 2026-01-31T12:00:00+00:00\n`);
    return EXIT.usage;
  }
  const listing = await listBackups(parts, ms(parts.clock.now() + LISTING_MAX_MS));
  if (!listing.ok) {
    around.complain(`${listing.error.message}\n`);
    return EXIT.failed;
  }
  const chosen = backupBefore(listing.value.backups, before);
  if (chosen === null) {
    const { status, backups } = listing.value;
    around.complain(`no backup to restore: ${backups.length === 0 ? status.message : `none was complete at ${time}`}\n`);
    return EXIT.failed;
  }
  around.out(`restoring ${chosen.label}\n`);
  const done = await restoreBackup(parts, {
    dataDir: given.get("--datadir") ?? node.postgresql.dataDir,
    label: chosen.label,
    delta: given.has("--delta"),
    signal: around.signal,
    say: (text) => around.out(`${text}\n`),
  });
  if (!done.ok) around.complain(`${done.error.message}\n`);
  return done.ok ? EXIT.ok : EXIT.failed;
}
