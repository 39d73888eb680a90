// Owns the programs for a shell as processes: signals, standard streams, the clock. What they do is in the files beside it, which
// are loaded only for the program that is asked for.

import { realClock } from "../runtime/clock.ts";
import type { ExitCode } from "../runtime/exit-codes.ts";

/** A request under way is not waited for so long; whether it was applied shows `list`. */
const GIVE_UP_MS = 500;
const INTERRUPTED_STATUS = 130;

/** ctl: `words` without the program's name, `invocation` what starts it. Value: the exit status, once nothing is left to do. */
export async function mainOfCtl(words: readonly string[], invocation: readonly string[]): Promise<ExitCode> {
  const { runCtl } = await import("./ctl/program.ts");
  const { StandardInput } = await import("./ctl/terminal.ts");
  const signal = interruption();
  // A command that is ended by the interruption, as a view is, has its status before everything is closed.
  let decided: ExitCode | null = null;
  signal.addEventListener("abort", () => setTimeout(() => process.exit(decided ?? INTERRUPTED_STATUS), GIVE_UP_MS).unref());
  // Whoever reads our output may stop (`| head`): then there is nobody to write for.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
  const input = new StandardInput(signal);
  const terminal = {
    ...surroundings(),
    signal,
    invocation,
    outIsTerminal: process.stdout.isTTY === true,
    readLine: (echo: "shown" | "hidden") => input.readLine(echo),
    readAll: () => input.readAll(),
  };
  const status = await runCtl(words, terminal, (code) => {
    decided = code;
  });
  input.close();
  return status;
}

/** pgBackRest for the hooks of a node. */
export async function mainOfBackrest(words: readonly string[]): Promise<ExitCode> {
  const { runBackrest } = await import("./backrest.ts");
  return await runBackrest(words, { ...surroundings(), signal: interruption() });
}

/** Single keys of the store. */
export async function mainOfDcs(words: readonly string[]): Promise<ExitCode> {
  const { runDcs } = await import("./dcs.ts");
  return await runDcs(words, { ...surroundings(), signal: interruption() });
}

/** A cluster's prepared queries in Consul. */
export async function mainOfPreparedQuery(words: readonly string[]): Promise<ExitCode> {
  const { runPreparedQuery } = await import("./prepared-query/program.ts");
  // A request under way is not waited for; what became of it shows `show`.
  interruption().addEventListener("abort", () => process.exit(INTERRUPTED_STATUS));
  return await runPreparedQuery(words, surroundings());
}

/** The members of the built-in Raft. */
export async function mainOfRaft(words: readonly string[]): Promise<ExitCode> {
  const { runRaft } = await import("./raft/program.ts");
  // A request under way is not waited for; whether it was applied shows `members`.
  interruption().addEventListener("abort", () => process.exit(INTERRUPTED_STATUS));
  return await runRaft(words, surroundings());
}

function surroundings() {
  return {
    clock: realClock(),
    env: process.env,
    out: (text: string): void => {
      process.stdout.write(text);
    },
    complain: (text: string): void => {
      process.stderr.write(text);
    },
  };
}

function interruption(): AbortSignal {
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
  return interrupted.signal;
}
