// Owns the conversation with PgBouncer's console: its commands and its tables. It decides nothing; no answer of it holds a password.

import { createConnection } from "node:net";
import type { Clock } from "../../model/clock.ts";
import type { PgbouncerConfig } from "../../model/pgbouncer.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { Ms } from "../../model/units.ts";
import { hasCode } from "../../postgres/atomic-file.ts";
import { Connection, type Endpoint, type Row } from "../../postgres/connection.ts";

/** The console's own database. */
const CONSOLE_DATABASE = "pgbouncer";

/** Where the console is and who we are there. */
export type ConsoleAddress = Pick<PgbouncerConfig, "host" | "port" | "admin">;

/** A row of SHOW DATABASES. */
export interface ShownDatabase {
  readonly name: string;
  readonly host: string | null;
  readonly port: number | null;
  readonly poolMode: string | null;
  readonly paused: boolean;
}

export class PoolerConsole {
  readonly #address: ConsoleAddress;
  readonly #clock: Clock;
  readonly #connection: Connection;

  constructor(options: { readonly address: ConsoleAddress; readonly clock: Clock }) {
    this.#address = options.address;
    this.#clock = options.clock;
    this.#connection = openConnection(options.address, options.clock);
  }

  /** PgBouncer reads its file anew, with what that includes. */
  async reload(deadline: Ms): Promise<Result<null, string>> {
    return done(await this.#connection.query("RELOAD", [], deadline));
  }

  /**
   * New queries of the database wait from now on; resolves when none is under way any more. Null = all databases. On a connection of its
   * own, since it may take long. The error says why not; the PAUSE may stand all the same, and has to be resumed.
   */
  async pause(database: string | null, deadline: Ms): Promise<Result<null, string>> {
    const connection = openConnection(this.#address, this.#clock);
    try {
      return done(await connection.query(database === null ? "PAUSE" : `PAUSE ${database}`, [], deadline));
    } finally {
      await connection.close();
    }
  }

  /** What waits goes on. What was not paused, or is not there any more, counts as done. */
  async resume(database: string | null, deadline: Ms): Promise<Result<null, string>> {
    const resumed = done(await this.#connection.query(database === null ? "RESUME" : `RESUME ${database}`, [], deadline));
    return resumed.ok || !NOT_PAUSED.test(resumed.error) ? resumed : ok(null);
  }

  async databases(deadline: Ms): Promise<Result<readonly ShownDatabase[], string>> {
    const shown = await this.#connection.query("SHOW DATABASES", [], deadline);
    return shown.ok ? ok(shown.value.map(databaseOf)) : err(shown.error.message);
  }

  /** SHOW CONFIG: name → value. */
  async settings(deadline: Ms): Promise<Result<ReadonlyMap<string, string>, string>> {
    const shown = await this.#connection.query("SHOW CONFIG", [], deadline);
    if (!shown.ok) return err(shown.error.message);
    return ok(new Map(shown.value.map((row) => [textOf(row["key"]) ?? "", textOf(row["value"]) ?? ""])));
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}

/** Whether nobody listens there: such a PgBouncer has no clients. False as well where that cannot be told in time. */
export async function isStopped({ host, port }: ConsoleAddress, withinMs: number): Promise<boolean> {
  const socket = createConnection(host.startsWith("/") ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  const found = Promise.withResolvers<boolean>();
  socket.once("connect", () => found.resolve(false));
  socket.on("error", (error) => found.resolve(hasCode(error, "ECONNREFUSED") || hasCode(error, "ENOENT")));
  const timer = setTimeout(found.resolve, withinMs, false);
  try {
    return await found.promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Source: PgBouncer 1.18, its console's answers to RESUME. */
const NOT_PAUSED = /is not paused|no such database/i;

function openConnection({ host, port, admin }: ConsoleAddress, clock: Clock): Connection {
  const at: Endpoint["at"] = host.startsWith("/") ? { kind: "unix", directory: host } : { kind: "tcp", host };
  // The console takes no parameters of a session but the application's name.
  return new Connection({ clock, settings: {}, endpoint: async () => ({ at, port, user: admin, database: CONSOLE_DATABASE }) });
}

function done(result: Awaited<ReturnType<Connection["query"]>>): Result<null, string> {
  return result.ok ? ok(null) : err(result.error.message);
}

function databaseOf(row: Row): ShownDatabase {
  return {
    name: textOf(row["name"]) ?? "",
    host: textOf(row["host"]),
    port: row["port"] === null || row["port"] === undefined ? null : Number(row["port"]),
    poolMode: textOf(row["pool_mode"]),
    paused: Number(row["paused"] ?? 0) !== 0,
  };
}

function textOf(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}
