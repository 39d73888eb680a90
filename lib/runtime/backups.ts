// Owns what this node says of the backups: one question to pgBackRest at a time, shared by all who ask meanwhile. Changes nothing.

import type { BackupListing } from "../model/backup.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Result } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { listBackups } from "../postgres/pgbackrest.ts";
import { programRunner } from "../postgres/programs.ts";
import type { NodeContext } from "./node-context.ts";

/** A repository of thousands of backups, or one far away. */
export const LISTING_MAX_MS = 30_000;

export class BackupReader {
  readonly #context: Pick<NodeContext, "clock" | "state">;
  #asking: Promise<Result<BackupListing, PostgresError>> | null = null;

  constructor(context: Pick<NodeContext, "clock" | "state">) {
    this.#context = context;
  }

  /** null where the node's file has no section `pgbackrest`. */
  read(): Promise<Result<BackupListing, PostgresError> | null> {
    const { clock, state } = this.#context;
    const { pgbackrest, postgresql } = state.settings.node;
    if (pgbackrest === null) return Promise.resolve(null);
    const parts = { config: pgbackrest, run: programRunner(postgresql, clock), clock };
    this.#asking ??= listBackups(parts, ms(clock.now() + LISTING_MAX_MS)).finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }
}
