// Takes the scheduled backups with pgBackRest (docs/backups.md). Inside the supervisor: on one replica at a time, claimed in the DCS.
// Alone: `bun run workers/backup.ts node.yml` says what is due, what runs, and how the last ones ended.

import { BackupBoard } from "../lib/dcs/backup-runs.ts";
import type { Store } from "../lib/dcs/store.ts";
import { BackupRunner, type NoteEvent } from "../lib/runtime/backup/backup-runner.ts";
import type { NodeContext } from "../lib/runtime/node-context.ts";

/** For the node's composition: told after each cycle. */
export function run(context: NodeContext, store: Store, note: NoteEvent): BackupRunner {
  return new BackupRunner({ context, board: new BackupBoard({ store, keys: context.store.keys }), note });
}

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfBackup } = await import("../lib/runtime/alone/backup.ts");
  return await mainOfBackup();
}

if (import.meta.main) process.exit(await main());
