// Owns running a command line tool on a cluster of a test: our ctl, or Patroni's patronictl, called in the same way, so that one scenario
// can hold for both. Knows nothing of what they print.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestCluster } from "./cluster.ts";
import type { Patroni } from "./patroni.ts";
import { until } from "./wait.ts";

const CTL = join(import.meta.dir, "../../scripts/ctl.ts");
const PYTHON = "/usr/bin/python3";
/** The end of a session of Consul's is part of what a command waits for. */
const SAYS_WITHIN_MS = 150_000;

export interface ToolAnswer {
  readonly status: number;
  /** Standard output and what was complained of, in this order. */
  readonly text: string;
}

export interface CtlTool {
  readonly name: "ctl" | "patronictl";
  /** `input`: standard input; without it there is none. */
  run(args: readonly string[], input?: string): Promise<ToolAnswer>;
}

/** Our own. `more`: sections of its file beside scope and store. */
export function ownCtl(
  cluster: TestCluster,
  env: Readonly<Record<string, string>> = {},
  more: Readonly<Record<string, unknown>> = {},
): CtlTool {
  const config = configFile(cluster, "ctl.yml", more);
  return { name: "ctl", run: (args, input) => answerOf([process.execPath, "run", CTL, "-c", config, ...args], env, input) };
}

/** Patroni's; over Consul alone. */
export function patronictl(
  patroni: Patroni,
  cluster: TestCluster,
  env: Readonly<Record<string, string>> = {},
  more: Readonly<Record<string, unknown>> = {},
): CtlTool {
  const config = configFile(cluster, "patronictl.yml", more);
  const start = "from patroni.ctl import ctl; ctl(obj={})";
  return {
    name: "patronictl",
    run: (args, input) => answerOf([PYTHON, "-c", start, "-c", config, ...args], { ...patroni.environment, ...env }, input),
  };
}

function configFile(cluster: TestCluster, name: string, more: Readonly<Record<string, unknown>>): string {
  const file = join(cluster.folder, name);
  writeFileSync(file, JSON.stringify({ scope: cluster.scope, ...cluster.storeClient.section, ...more }), { mode: 0o600 });
  return file;
}

async function answerOf(command: readonly string[], env: Readonly<Record<string, string>>, input: string | undefined): Promise<ToolAnswer> {
  const child = Bun.spawn([...command], {
    cwd: "/",
    env: { ...process.env, ...env },
    stdin: input === undefined ? "ignore" : new Blob([input]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, complaints] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { status: await child.exited, text: `${out}${complaints}` };
}

/** A command of ours that waits for what the test does meanwhile. */
export interface RunningCtl {
  /** All that it has said so far. */
  readonly text: string;
  /** Resolves when it has said so. Throws where it ends before. */
  says(words: string): Promise<void>;
  /** SIGKILL. */
  kill(): void;
  /** Resolves to its exit status. */
  readonly status: Promise<number>;
}

/** `config`: the file for -c. `input`: standard input is at its end, or an operator sits there who says nothing. */
export function startCtl(config: string, args: readonly string[], { input = "ended" as "ended" | "silent" } = {}): RunningCtl {
  const child = Bun.spawn([process.execPath, "run", CTL, "-c", config, ...args], {
    cwd: "/",
    stdin: input === "ended" ? "ignore" : "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const seen = { text: "" };
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) seen.text += decoder.decode(chunk, { stream: true });
  };
  const status = Promise.all([read(child.stdout), read(child.stderr)]).then(() => child.exited);
  let ended = false;
  status.finally(() => {
    ended = true;
  });
  return {
    get text() {
      return seen.text;
    },
    says: async (words) => {
      await until(`ctl says "${words}"`, () => (seen.text.includes(words) ? true : ended ? "ended" : null), { withinMs: SAYS_WITHIN_MS });
      if (!seen.text.includes(words)) throw new Error(`ctl ended without saying "${words}":\n${seen.text}`);
    },
    kill: () => child.kill("SIGKILL"),
    status,
  };
}
