// Owns the ways in to the local server: its connections, where it is asked (also when its socket is gone), and their end. It knows
// nothing of what is asked over them.

import type { Clock } from "../model/clock.ts";
import type { Log } from "../model/log.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import type { Ms } from "../model/units.ts";
import { Connection, type Endpoint, presentEndpoint } from "./connection.ts";
import type { PostmasterPidFile } from "./data-directory.ts";
import { pollUntil } from "./poll.ts";

const CONNECT_RETRY_MS = 10;

export interface LocalConnectionsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly config: () => PostgresqlConfig;
  /** Of the server that runs; null where none does. */
  readonly pidFile: () => Promise<PostmasterPidFile | null>;
}

export class LocalConnections {
  readonly #options: LocalConnectionsOptions;
  /** For the status query alone, so that no other statement makes it wait. */
  readonly status: Connection;
  readonly statements: Connection;
  #socketLost = false;

  constructor(options: LocalConnectionsOptions) {
    this.#options = options;
    this.status = this.another();
    this.statements = this.another();
  }

  /** One more, for what takes its time; the caller closes it. */
  another(): Connection {
    return new Connection({ clock: this.#options.clock, endpoint: () => this.endpoint() });
  }

  /** Where the server is asked; null where nothing runs. Tells once that its socket is gone. */
  async endpoint(): Promise<Endpoint | null> {
    const file = await this.#options.pidFile();
    if (file === null) return null;
    const config = this.#options.config();
    const endpoint = await presentEndpoint(config, file);
    const lost = config.useUnixSocket && file.socketDirectory !== null && endpoint.at.kind === "tcp";
    if (lost && !this.#socketLost)
      this.#options.log.warning(
        `PostgreSQL's socket in ${file.socketDirectory} is gone: it is asked over TCP until a restart makes it again`,
      );
    this.#socketLost = lost;
    return endpoint;
  }

  /** The server says that it is ready; what keeps us out after that (a password, pg_hba.conf) is in the log and in every status. */
  async first(options: { readonly deadline: Ms; readonly signal: AbortSignal }): Promise<void> {
    const { clock, log } = this.#options;
    const answer = await pollUntil({ clock, intervalMs: CONNECT_RETRY_MS, ...options }, async () => {
      const result = await this.status.query("SELECT 1", [], options.deadline);
      return result.ok || !/starting up/.test(result.error.message) ? result : null;
    });
    if (answer !== null && !answer.ok) log.warning(`PostgreSQL is up, but we cannot connect: ${answer.error.message}`);
  }

  /** Ends the kept ones at once, whatever runs on them. */
  drop(): void {
    this.status.drop();
    this.statements.drop();
  }

  async close(): Promise<void> {
    await Promise.all([this.status.close(), this.statements.close()]);
  }
}
