// Owns the quickstart's command line: words in, one command out. It must not do anything.

import { parseArgs } from "node:util";

export type QuickstartCommand =
  | {
      readonly kind: "start";
      readonly folder: string | null;
      readonly nodes: number | null;
      readonly ports: number | null;
      readonly stay: "foreground" | "detached";
      /** Null: not said; the built-in Raft for a new run, what it has for a kept one. */
      readonly store: "consul" | null;
      /** `takeover`: once all runs, the primary is killed and the takeover shown with its time. */
      readonly demo: "takeover" | "none";
    }
  | { readonly kind: "status"; readonly folder: string | null }
  | { readonly kind: "logs"; readonly folder: string | null; readonly node: string; readonly follow: boolean }
  | { readonly kind: "psql"; readonly folder: string | null; readonly rest: readonly string[] }
  | { readonly kind: "stop"; readonly folder: string | null; readonly data: "removed" | "kept" }
  | { readonly kind: "help" };

/** A laptop is no data centre. */
const nodesMax = 9;

/** `program`: how the caller names it, e.g. `scripts/quickstart`. */
export const usage = (
  program: string,
): string => `usage: ${program} [--detach] [--demo] [--consul] [--nodes 3] [--ports FIRST] [--data FOLDER]
       ${program} status | logs NODE [--follow] | psql [ARGUMENTS] | stop [--keep]

Starts a PostgreSQL cluster on this machine: three nodes with the built-in Raft, on the loopback address.
  --detach       run on in the background (end it with: ${program} stop)
  --demo         kill the primary once all runs, and show the takeover with its time
  --consul       keep the cluster's state in a Consul server instead of the built-in Raft
  --nodes N      number of nodes, 1 to ${nodesMax} (default 3)
  --ports FIRST  take a block of ports from FIRST on instead of the usual ones
  --data FOLDER  keep everything there instead of the default folder; goes with every command
  status         the cluster's table, and where everything is
  logs NODE      the log of a node's supervisor (or, with --consul: logs consul)
  psql           psql on the primary, wherever it is
  stop           stop everything and remove the data; --keep leaves the data for the next start`;

/** Throws Error with one line that says what is wrong. */
export function parseQuickstart(words: readonly string[]): QuickstartCommand {
  const psqlAt = words.indexOf("psql");
  const own = psqlAt === -1 ? words : words.slice(0, psqlAt + 1);
  const { values, positionals } = parseArgs({
    args: [...own],
    allowPositionals: true,
    options: {
      detach: { type: "boolean" },
      demo: { type: "boolean" },
      consul: { type: "boolean" },
      nodes: { type: "string" },
      ports: { type: "string" },
      data: { type: "string" },
      keep: { type: "boolean" },
      follow: { type: "boolean", short: "f" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return { kind: "help" };
  const folder = values.data ?? null;
  const [word, argument, ...extra] = positionals;
  const command = word ?? "start";
  const misplaced = Object.keys(values).filter((name) => name !== "data" && !(optionsOf[command] ?? []).includes(name));
  if (misplaced[0] !== undefined && command in optionsOf) throw new Error(`--${misplaced[0]} does not go with ${word ?? "a start"}`);
  if (extra.length > 0 || (argument !== undefined && command !== "logs")) throw new Error(`unexpected argument: ${extra[0] ?? argument}`);
  switch (command) {
    case "start": {
      const nodes = wholeNumber(values.nodes, { name: "--nodes", from: 1, to: nodesMax });
      const ports = wholeNumber(values.ports, { name: "--ports", from: 1024, to: 65_000 });
      const stay = values.detach ? "detached" : "foreground";
      return { kind: "start", folder, nodes, ports, stay, store: values.consul ? "consul" : null, demo: values.demo ? "takeover" : "none" };
    }
    case "status":
      return { kind: "status", folder };
    case "logs":
      if (argument === undefined) throw new Error("logs needs a node: logs node1");
      return { kind: "logs", folder, node: argument, follow: values.follow ?? false };
    case "psql":
      return { kind: "psql", folder, rest: words.slice(psqlAt + 1) };
    case "stop":
      return { kind: "stop", folder, data: values.keep ? "kept" : "removed" };
    case "help":
      return { kind: "help" };
    default:
      throw new Error(`unknown command: ${command}`);
  }
}

const optionsOf: Readonly<Record<string, readonly string[]>> = {
  start: ["detach", "demo", "consul", "nodes", "ports"],
  status: [],
  logs: ["follow"],
  psql: [],
  stop: ["keep"],
  help: [],
};

function wholeNumber(
  text: string | undefined,
  limits: { readonly name: string; readonly from: number; readonly to: number },
): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < limits.from || value > limits.to) {
    throw new Error(`${limits.name} must be a whole number from ${limits.from} to ${limits.to}, not ${text}`);
  }
  return value;
}
