// Owns the statements on pg_dist_node, the coordinator's table of where the groups are: over one connection of its own, so that a
// transaction may stay open from one call to the next. What is to be changed is lib/core/mpp-plan.ts; when, lib/runtime/mpp.

import * as v from "valibot";
import type { NodeChange } from "../core/mpp-plan.ts";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { DistNode } from "../model/mpp.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { Ms } from "../model/units.ts";
import { Connection, presentEndpoint, type Row } from "./connection.ts";
import { readPostmasterPid } from "./data-directory.ts";
import { literal } from "./sql-literal.ts";

/**
 * Statements wait for locks as long as their deadline says, and a held transaction is idle on purpose. Whoever leads the coordinator
 * next puts the table right again, so nothing here waits for a standby.
 */
const SESSION_SETTINGS = {
  synchronous_commit: "local",
  search_path: "pg_catalog",
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
} as const;

const READ = `SELECT pg_catalog.pg_backend_pid() AS backend, coalesce((SELECT json_agg(json_build_object('nodeId', nodeid,
    'group', groupid, 'host', nodename, 'port', nodeport, 'role', noderole::text) ORDER BY nodeid)
  FROM pg_catalog.pg_dist_node), '[]') AS nodes`;

const READ_SCHEMA = v.object({
  backend: v.number(),
  nodes: v.array(v.object({ nodeId: v.number(), group: v.number(), host: v.string(), port: v.number(), role: v.string() })),
});

/** The rows as this session sees them. `backend` is the process that answered: it alone knows the open transaction. */
export interface SeenNodes {
  readonly backend: number;
  readonly rows: readonly DistNode[];
}

type Answer<T> = Promise<Result<T, PostgresError>>;

export class DistNodes {
  readonly #connection: Connection;

  /** `config` is asked before each statement. */
  constructor(options: { readonly clock: Clock; readonly config: () => PostgresqlConfig; readonly database: string }) {
    const { clock, config, database } = options;
    const endpoint = async () => {
      const file = await readPostmasterPid(config().dataDir);
      return file === null ? null : { ...(await presentEndpoint(config(), file)), database };
    };
    this.#connection = new Connection({ clock, endpoint, settings: SESSION_SETTINGS });
  }

  /** Errors of this and all others: unreachable, timeout, failed; a transaction that was open is then gone. */
  async read(deadline: Ms): Answer<SeenNodes> {
    const answer = await this.#connection.query(READ, [], deadline);
    if (!answer.ok) return answer;
    const parsed = v.safeParse(READ_SCHEMA, answer.value[0]);
    if (!parsed.success) return err({ kind: "failed", message: `pg_dist_node has an unknown form: ${parsed.issues[0].message}` });
    return ok({ backend: parsed.output.backend, rows: parsed.output.nodes });
  }

  begin(deadline: Ms): Answer<null> {
    return this.#run("BEGIN", deadline);
  }

  commit(deadline: Ms): Answer<null> {
    return this.#run("COMMIT", deadline);
  }

  rollback(deadline: Ms): Answer<null> {
    return this.#run("ROLLBACK", deadline);
  }

  /**
   * `cooldownMs`: how long queries under way on a primary that moves may go on. A connection that was opened anew meanwhile would be
   * outside of the transaction: there nothing is done.
   */
  async change(change: NodeChange, options: { readonly backend: number; readonly cooldownMs: Ms; readonly deadline: Ms }): Answer<null> {
    const { text, values } = statementOf(change, options.cooldownMs);
    const condition = ` WHERE pg_catalog.pg_backend_pid() = $${values.length + 1}::int4`;
    const done = await this.#connection.query(text + condition, [...values, options.backend], options.deadline);
    if (!done.ok) return done;
    return done.value.length > 0 ? ok(null) : err({ kind: "unreachable", message: "the connection was lost, and the transaction with it" });
  }

  /** Ends the connection at once, and with it the open transaction. */
  drop(): void {
    this.#connection.drop();
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async #run(text: string, deadline: Ms): Answer<null> {
    const done: Result<readonly Row[], PostgresError> = await this.#connection.query(text, [], deadline);
    return done.ok ? ok(null) : done;
  }
}

function statementOf(change: NodeChange, cooldownMs: Ms): { readonly text: string; readonly values: readonly (string | number)[] } {
  switch (change.kind) {
    case "update": {
      const { nodeId, to } = change;
      // The host stands in the text: who looks at pg_stat_activity sees by it, as with Patroni, which transaction holds queries back.
      const text = `SELECT pg_catalog.citus_update_node($1::int4, ${literal(to.host)}, $2::int4, true, $3::int4)`;
      return { text, values: [nodeId, to.port, Math.round(cooldownMs)] };
    }
    case "add": {
      const { at, group, role } = change;
      const text = `SELECT pg_catalog.citus_add_node($1::text, $2::int4, $3::int4, '${role}', 'default')`;
      return { text, values: [at.host, at.port, group] };
    }
    case "remove":
      return { text: "SELECT pg_catalog.citus_remove_node($1::text, $2::int4)", values: [change.at.host, change.at.port] };
  }
}
