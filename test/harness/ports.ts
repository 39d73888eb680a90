// Owns ports for servers that are stopped and started again during a test. They lie below the range that the kernel hands to
// outgoing connections: a port of that range could be taken by any client while its server is down.

import { createServer } from "node:net";

/** MATRIARCH_TEST_PORTS=FROM-TO changes it. */
const DEFAULT_RANGE = "16000-19999";
const ATTEMPTS_PER_PORT = 200;
const given = new Set<number>();

/** Ports of loopback that nothing listens on at this moment and that this process did not hand out before. */
export async function serverPorts(count: number): Promise<readonly number[]> {
  const { from, to } = portRange(process.env["MATRIARCH_TEST_PORTS"] || DEFAULT_RANGE);
  const ports: number[] = [];
  for (let attempt = 0; ports.length < count; attempt++) {
    if (attempt > count * ATTEMPTS_PER_PORT) throw new Error(`no ${count} free ports in ${from}-${to}`);
    const port = from + Math.floor(Math.random() * (to - from + 1));
    if (given.has(port) || !(await isFree(port))) continue;
    given.add(port);
    ports.push(port);
  }
  return ports;
}

/** Throws Error for anything but two ports in their order. */
export function portRange(text: string): { readonly from: number; readonly to: number } {
  const [, from = "", to = ""] = /^(\d{1,5})-(\d{1,5})$/.exec(text) ?? [];
  const range = { from: Number(from), to: Number(to) };
  if (from !== "" && range.from > 0 && range.from <= range.to && range.to <= 65_535) return range;
  throw new Error(`MATRIARCH_TEST_PORTS: ${JSON.stringify(text)} is no range of ports; write 16000-19999`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
