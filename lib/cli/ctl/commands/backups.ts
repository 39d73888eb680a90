// Owns `ctl backups`: what pgBackRest's repository holds for the cluster, and how its scheduled backups stand.

import type { Command } from "commander";
import type { ScheduledBackups } from "../../../core/scheduled-backups.ts";
import type { Backup, BackupListing } from "../../../model/backup.ts";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { type BackupsRead, readBackups } from "../backup-listing.ts";
import { type Format, formatListing, type Listing } from "../formats.ts";
import type { CommandHost } from "../program.ts";
import { formatOption } from "./list.ts";

export function addBackups({ command, run }: CommandHost): void {
  command("backups [cluster]", "show the backups in pgBackRest's repository")
    .addOption(formatOption("pretty"))
    .action((cluster: string | undefined, flags: { readonly format: Format }, self: Command) =>
      run(self, async (context) => {
        const listing = await readBackups(context, await context.read(context.scopeOf(cluster)));
        context.terminal.out(formatListing(backupTable(listing), flags.format));
        if (flags.format === "pretty") context.terminal.out(remarks(listing));
        return EXIT.ok;
      }),
    );
}

/** A row for each backup, the oldest first. */
export function backupTable(listing: BackupListing): Listing {
  return { title: `Stanza: ${listing.stanza}`, columns: COLUMNS, rows: listing.backups.map(row) };
}

function row(backup: Backup): Readonly<Record<string, unknown>> {
  return {
    Backup: backup.label,
    Type: backup.type,
    // The time from which on it can be restored.
    Stop: stamp(backup.stoppedAt),
    Seconds: backup.stoppedAt - backup.startedAt,
    "Database MB": megabytes(backup.databaseBytes),
    "Added MB": megabytes(backup.repositoryBytes),
    "WAL start": backup.walStart ?? undefined,
    "WAL stop": backup.walStop ?? undefined,
    Remark: backup.damaged ? "pages with wrong checksums" : undefined,
  };
}

function megabytes(bytes: number): number {
  return Math.round(bytes / (1024 * 102.4)) / 10;
}

export function remarks({ status, running, archive, scheduled }: BackupsRead): string {
  const lines = [
    archive === null ? "The archive is empty." : `The archive holds WAL from ${archive.first} to ${archive.last}.`,
    ...(status.code === 0 ? [] : [`pgBackRest says: ${status.message}`]),
    ...(running ? ["A backup is running."] : []),
    ...(scheduled === null ? [] : scheduleLines(scheduled)),
  ];
  return lines.map((line) => ` ${line}\n`).join("");
}

function scheduleLines({ timezone, types, running }: ScheduledBackups): readonly string[] {
  const lines = types.map(({ type, time, due, done, failed }) => {
    const words = [
      `Scheduled ${type} '${time}' (${timezone}): ${due === null ? "not known to the cluster yet" : `next ${stamp(due)}`}`,
      done === null
        ? "none was taken yet"
        : `last ${done.label ?? "(unknown label)"} on ${done.node} at ${stamp(done.at)}, ${done.seconds} s`,
    ];
    if (failed !== null) {
      const then = failed.final ? "it is left until the next" : "it is tried again";
      words.push(`attempt ${failed.attempt} failed on ${failed.node} at ${stamp(failed.at)}, ${then}: ${failed.message}`);
    }
    return words.join("; ");
  });
  if (running === null) return lines;
  const { attempt, beganAt, node, type } = running;
  return [...lines, `${node} takes a scheduled ${type} backup since ${stamp(beganAt)} (attempt ${attempt}).`];
}

function stamp(epochSeconds: number): string {
  return new Date(epochSeconds * 1000).toISOString().replace(".000Z", "Z");
}

const COLUMNS = [
  { title: "Backup", align: "left" },
  { title: "Type", align: "left" },
  { title: "Stop", align: "left" },
  { title: "Seconds", align: "right" },
  { title: "Database MB", align: "right" },
  { title: "Added MB", align: "right" },
  { title: "WAL start", align: "left" },
  { title: "WAL stop", align: "left" },
  { title: "Remark", align: "left" },
] as const;
