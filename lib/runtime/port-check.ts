// Owns the questions about ports that a start asks: whether PostgreSQL's is free, before anything is copied or started, and whether
// anybody listens at an API's. Must keep none of them, and says nothing there.

import { lookup } from "node:dns/promises";
import { createConnection, createServer } from "node:net";

/** Word of `postgresql.listen` for every address, and how a socket says it. */
const EVERY_HOST: Readonly<Record<string, string>> = { "*": "0.0.0.0" };

/**
 * The first `host:port` that another process listens on; null where none does. An address that this machine does not have
 * (yet) is no answer to that question: PostgreSQL will say what it thinks of it.
 */
export async function takenAddress(hosts: readonly string[], port: number): Promise<string | null> {
  for (const host of hosts)
    for (const address of await addressesOf(EVERY_HOST[host] ?? host)) if (await isTaken(address, port)) return `${host}:${port}`;
  return null;
}

/** PostgreSQL listens on every address of a name: `localhost` may have two. */
async function addressesOf(host: string): Promise<readonly string[]> {
  try {
    return (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    return []; // Nobody knows the name: PostgreSQL will say so.
  }
}

function isTaken(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => resolve("code" in error && error.code === "EADDRINUSE"));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(false)));
  });
}

/** Whether anybody takes a connection at the URL's host and port within the time; the connection is closed unused. */
export function somebodyListens(url: string, withinMs: number): Promise<boolean> {
  const at = URL.parse(url);
  if (at === null) return Promise.resolve(false);
  return new Promise((resolve) => {
    const port = Number(at.port) || (at.protocol === "https:" ? 443 : 80);
    const socket = createConnection({ host: at.hostname.replace(/^\[|\]$/g, ""), port });
    const told = (listens: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(listens);
    };
    const timer = setTimeout(() => told(false), withinMs);
    socket.once("connect", () => told(true));
    socket.once("error", () => told(false));
  });
}
