// Owns the question whether PostgreSQL's port is free, asked before anything is copied or started. Must not keep the port.

import { createServer } from "node:net";

/** Word of `postgresql.listen` for every address, and how a socket says it. */
const EVERY_HOST: Readonly<Record<string, string>> = { "*": "0.0.0.0" };

/**
 * The first `host:port` that another process listens on; null where none does. An address that this machine does not have
 * (yet) is no answer to that question: PostgreSQL will say what it thinks of it.
 */
export async function takenAddress(hosts: readonly string[], port: number): Promise<string | null> {
  for (const host of hosts) if (await isTaken(EVERY_HOST[host] ?? host, port)) return `${host}:${port}`;
  return null;
}

function isTaken(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve("code" in error && error.code === "EADDRINUSE"));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(false)));
  });
}
