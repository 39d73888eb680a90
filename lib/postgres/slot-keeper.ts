// Owns the connections over which slots are changed: the kept one, one of its own for each database with logical slots, and the
// making and advancing of logical slots beside everything else (it may take minutes). It decides nothing.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { Result } from "../model/result.ts";
import type { SlotAction } from "../model/slots.ts";
import { ms } from "../model/units.ts";
import { Connection, type Endpoint } from "./connection.ts";
import { changeSlots, type SlotNote, type SlotSql } from "./slots.ts";

const STATEMENT_TIMEOUT_MS = 10_000;
/** What takes its time is given up only where the server hangs. */
const LONG_TIMEOUT_MS = 3600_000;

export class SlotKeeper {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #connection: Connection;
  readonly #endpoint: () => Promise<Endpoint | null>;
  /** Connections of the long work under way; null where there is none. */
  #working: Map<string, Connection> | null = null;

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

  /** As changeSlots; logical slots are made and advanced beside it, and not while the last such work is under way. */
  async change(actions: readonly SlotAction[]): Promise<Result<readonly SlotNote[], PostgresError>> {
    const later = actions.filter(takesTime);
    const databases = new Map<string, Connection>();
    try {
      const done = await changeSlots(
        this.#sql(databases),
        actions.filter((action) => !takesTime(action)),
      );
      if (done.ok && later.length > 0 && this.#working === null) void this.#work(later);
      return done;
    } finally {
      await closeAll(databases);
    }
  }

  /** Ends the long work: its server is about to stop. */
  drop(): void {
    for (const connection of this.#working?.values() ?? []) connection.drop();
  }

  async #work(actions: readonly SlotAction[]): Promise<void> {
    const databases = new Map<string, Connection>();
    this.#working = databases;
    const done = await changeSlots(this.#sql(databases), actions);
    this.#working = null;
    await closeAll(databases);
    if (!done.ok) this.#log.warning(`logical replication slots were not brought up to date: ${done.error.message}`);
    else for (const { level, text } of done.value) this.#log[level](text);
  }

  #sql(databases: Map<string, Connection>): SlotSql {
    return async (text, values, { database, limit }) => {
      const deadline = ms(this.#clock.now() + (limit === "none" ? LONG_TIMEOUT_MS : STATEMENT_TIMEOUT_MS));
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

/** Advancing a logical slot decodes WAL; making one waits for every transaction of that moment to end. */
function takesTime(action: SlotAction): boolean {
  return action.kind === "create-logical" || (action.kind === "advance" && action.database !== null);
}

async function closeAll(connections: ReadonlyMap<string, Connection>): Promise<void> {
  await Promise.all([...connections.values()].map((connection) => connection.close()));
}
