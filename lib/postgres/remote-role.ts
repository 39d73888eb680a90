// Owns the question what runs at another server's address: a TCP connection first, so that a host that refuses is told from one
// that is silent, then SQL. It changes nothing there.

import { connect } from "node:net";
import type { FollowTarget } from "../model/postgres.ts";
import { type Ms, ms } from "../model/units.ts";
import type { PostgresContext } from "./context.ts";
import type { RemoteServer } from "./postgresql.ts";
import { askServer } from "./upstream.ts";

/** Of the time given, for the connection alone: long enough for one SYN that is lost. */
const CONNECT_MAX_MS = 1_500;

const QUESTION =
  "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('synchronous_standby_names'), " +
  "pg_catalog.current_setting('synchronous_commit')";

/** Asks as the user of pg_rewind, the one that every node lets in for SQL. */
export async function askRole(context: PostgresContext, target: FollowTarget, deadline: Ms): Promise<RemoteServer> {
  const door = await knock(target, Math.min(CONNECT_MAX_MS, deadline - context.clock.now()));
  if (door !== "open") return { role: door, synchronous: null };
  const answer = await askServer(context, {
    user: context.config.rewind,
    target,
    commands: [QUESTION],
    deadline: ms(Math.max(deadline, context.clock.now())),
  });
  const [recovery, names, commit] = (answer.ok ? answer.value[0] : undefined) ?? [];
  if (recovery === "t") return { role: "standby", synchronous: null };
  if (recovery !== "f") return { role: "unclear", synchronous: null };
  return { role: "primary", synchronous: names === undefined || commit === undefined ? null : { names, commit } };
}

function knock(target: FollowTarget, withinMs: number): Promise<"open" | "down" | "silent"> {
  return new Promise((resolve) => {
    const socket = connect({ host: target.host, port: Number(target.port) });
    const end = (answer: "open" | "down" | "silent"): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(end, Math.max(0, withinMs), "silent");
    socket.once("connect", () => end("open"));
    // No route, no such name: nothing answers, as with packets that are dropped.
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code === "ECONNREFUSED" ? "down" : "silent"));
  });
}
