// Owns the connections over which slots are changed: the kept one, one of its own for each database with logical slots, and the
// advancing of logical slots beside everything else (it decodes WAL, which may take minutes). It decides nothing.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { Result } from "../model/result.ts";
import type { SlotAction } from "../model/slots.ts";
import { ms } from "../model/units.ts";
import { Connection, type Endpoint } from "./connection.ts";
import { changeSlots, type SlotNote, type SlotSql } from "./slots.ts";

const STATEMENT_TIMEOUT_MS = 10_000;
/** Advancing a logical slot reads all WAL up to there: given up only where the server hangs. */
const ADVANCE_TIMEOUT_MS = 3600_000;

export class SlotKeeper {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #connection: Connection;
  readonly #endpoint: () => Promise<Endpoint | null>;
  /** Connections of the advancing at work; null where none is. */
  #advancing: Map<string, Connection> | null = null;

  constructor(options: {
    readonly clock: Clock;
    readonly log: Log;
    /** To the database `postgres`. */
    readonly connection: Connection;
    readonly endpoint: () => Promise<Endpoint | null>;
  }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#connection = options.connection;
    this.#endpoint = options.endpoint;
  }

  /** As changeSlots; logical slots are advanced beside it, and not while the last advancing is at work. */
  async change(actions: readonly SlotAction[]): Promise<Result<readonly SlotNote[], PostgresError>> {
    const later = actions.filter(isLogicalAdvance);
    const databases = new Map<string, Connection>();
    try {
      const done = await changeSlots(
        this.#sql(databases),
        actions.filter((action) => !isLogicalAdvance(action)),
      );
      if (done.ok && later.length > 0 && this.#advancing === null) void this.#advance(later);
      return done;
    } finally {
      await closeAll(databases);
    }
  }

  /** Ends the advancing at work: its server is about to stop. */
  drop(): void {
    for (const connection of this.#advancing?.values() ?? []) connection.drop();
  }

  async #advance(actions: readonly SlotAction[]): Promise<void> {
    const databases = new Map<string, Connection>();
    this.#advancing = databases;
    const done = await changeSlots(this.#sql(databases), actions);
    this.#advancing = null;
    await closeAll(databases);
    if (!done.ok) this.#log.warning(`logical replication slots were not advanced: ${done.error.message}`);
    else for (const { level, text } of done.value) this.#log[level](text);
  }

  #sql(databases: Map<string, Connection>): SlotSql {
    return async (text, values, { database, limit }) => {
      const deadline = ms(this.#clock.now() + (limit === "none" ? ADVANCE_TIMEOUT_MS : STATEMENT_TIMEOUT_MS));
      if (database === null) return await this.#connection.query(text, values, deadline);
      const connection = databases.get(database) ?? this.#open(database);
      databases.set(database, connection);
      return await connection.query(text, values, deadline);
    };
  }

  #open(database: string): Connection {
    const endpoint = async (): Promise<Endpoint | null> => {
      const found = await this.#endpoint();
      return found === null ? null : { ...found, database };
    };
    return new Connection({ clock: this.#clock, endpoint });
  }
}

function isLogicalAdvance(action: SlotAction): boolean {
  return action.kind === "advance" && action.database !== null;
}

async function closeAll(connections: ReadonlyMap<string, Connection>): Promise<void> {
  await Promise.all([...connections.values()].map((connection) => connection.close()));
}
