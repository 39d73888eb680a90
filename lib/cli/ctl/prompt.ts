// Owns the questions to the operator: their form, their default, and what counts as an answer. Questions are asked on
// standard output and answered from standard input, whether a person or a pipe is there.

import { CtlAborted, CtlRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

/** A wrong answer is asked for again this often, so that a pipe of nonsense ends. */
const ANSWERS_MAX = 10;

/** `Label [fallback]: `; an empty answer is the fallback. Throws CtlAborted at the end of input. */
export async function ask(terminal: CtlTerminal, label: string, fallback: string): Promise<string> {
  terminal.out(`${label} [${fallback}]: `);
  const answer = await nextLine(terminal, "shown");
  return answer === "" ? fallback : answer;
}

/** Without a default. */
export async function askPlain(terminal: CtlTerminal, label: string, echo: "shown" | "hidden" = "shown"): Promise<string> {
  terminal.out(`${label}: `);
  const answer = await nextLine(terminal, echo);
  if (echo === "hidden") terminal.out("\n");
  return answer;
}

/** `question [y/N]: `; an empty answer is no. */
export async function askYes(terminal: CtlTerminal, question: string): Promise<boolean> {
  for (let asked = 0; asked < ANSWERS_MAX; asked++) {
    terminal.out(`${question} [y/N]: `);
    const answer = (await nextLine(terminal, "shown")).toLowerCase();
    if (["y", "yes", "true", "on", "1"].includes(answer)) return true;
    if (["", "n", "no", "false", "off", "0"].includes(answer)) return false;
    terminal.out("Error: invalid input\n");
  }
  throw new CtlAborted();
}

/** Throws CtlRefusal with the text unless the operator says yes or the force flag is given. */
export async function confirm(
  terminal: CtlTerminal,
  question: string,
  options: { readonly force: boolean; readonly refusal: string },
): Promise<void> {
  if (options.force || (await askYes(terminal, question))) return;
  throw new CtlRefusal(options.refusal);
}

async function nextLine(terminal: CtlTerminal, echo: "shown" | "hidden"): Promise<string> {
  const line = await terminal.readLine(echo);
  if (line === null) {
    terminal.out("\n");
    throw new CtlAborted();
  }
  return line.trim();
}
