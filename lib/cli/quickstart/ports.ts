// Owns the choice of the quickstart's ports: the usual ones where they are free, others where they are taken. It must not
// keep a port open: between the choice and the use somebody else may take one, which the process that wants it reports.

import { createServer } from "node:net";

/** One thing that wants a port, and the port that it would like. */
export interface PortWish {
  readonly what: string;
  readonly port: number;
}

export interface PortChoice extends PortWish {
  /** Free at the moment of the choice. */
  readonly chosen: number;
}

/** How far above the wished port a free one is looked for. */
const lookUpTo = 200;

/** Chooses a free loopback port for each wish, no port twice. Throws Error when none is free within reach. */
export async function choosePorts(wishes: readonly PortWish[]): Promise<readonly PortChoice[]> {
  const wished = new Set(wishes.map((wish) => wish.port));
  const used = new Set<number>();
  const choices: PortChoice[] = [];
  for (const wish of wishes) {
    let chosen = wish.port;
    while (used.has(chosen) || (chosen !== wish.port && wished.has(chosen)) || !(await isFree(chosen))) {
      chosen += 1;
      if (chosen > Math.min(wish.port + lookUpTo, 65_535))
        throw new Error(`no free port for ${wish.what} from ${wish.port} to ${chosen - 1}`);
    }
    used.add(chosen);
    choices.push({ ...wish, chosen });
  }
  return choices;
}

/** Whether a server could listen on the loopback address now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
