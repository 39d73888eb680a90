// Owns what every program with commands makes of its words: the exit status of commander's own refusals, and options that more than one
// program has. Knows no command.

import { type Command, CommanderError, InvalidArgumentError } from "commander";
import { EXIT, type ExitCode } from "../runtime/exit-codes.ts";

/** Runs the command that the words name. Value: the exit status of what commander answered itself (help, a wrong call); null: the command ran. */
export async function runCommand(program: Command, args: readonly string[]): Promise<ExitCode | null> {
  try {
    await program.parseAsync([...args], { from: "user" });
    return null;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
}

/** Parser of an option in seconds. Throws commander's error, which is a wrong call. */
export function positiveSeconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("write a number of seconds above 0");
  return value;
}
