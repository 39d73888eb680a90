// Owns what may stand at the end of a command line that is being typed, for the shells' completion. Knows the commands from their own
// declarations, members and clusters from the DCS. Says nothing of what goes wrong: a shell would show it in the middle of the line.

import type { Command, Option } from "commander";
import type { CtlContext } from "./context.ts";

/** Options whose value is a member's name. */
const MEMBER_OPTIONS = ["--candidate", "--leader", "--primary", "--member"];
/** What is asked of the cluster where a word can only come from there. */
export type AskCluster = (ask: (context: CtlContext) => Promise<readonly string[]>) => Promise<readonly string[]>;

/** The words that begin as the last one of `words` does. `words`: all behind the program's name, up to the one being typed. */
export async function completions(program: Command, words: readonly string[], askCluster: AskCluster): Promise<readonly string[]> {
  const typed = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  const command = calledCommand(program, before);
  const found = await wordsFor({ program, command, before, typed, askCluster });
  return found.filter((word) => word.startsWith(typed));
}

interface Situation {
  readonly program: Command;
  readonly command: Command | null;
  readonly before: readonly string[];
  readonly typed: string;
  readonly askCluster: AskCluster;
}

async function wordsFor({ program, command, before, typed, askCluster }: Situation): Promise<readonly string[]> {
  const options = (command ?? program).options;
  const open = optionOf(options, before.at(-1) ?? "");
  if (open?.required) return valuesOf(open, askCluster);
  if (typed.startsWith("-"))
    return options.filter(({ hidden }) => !hidden).flatMap(({ long, short }) => [long, short].filter((word) => word != null));
  if (command === null) return program.commands.map((candidate) => candidate.name()).filter((name) => name !== "complete");
  return positionalsOf(command, before, askCluster);
}

function valuesOf(option: Option, askCluster: AskCluster): Promise<readonly string[]> | readonly string[] {
  if (option.argChoices !== undefined) return option.argChoices;
  return MEMBER_OPTIONS.includes(option.long ?? "") ? askCluster(memberNames) : [];
}

/** The cluster first, then its members, as far as the command takes them. */
async function positionalsOf(command: Command, before: readonly string[], askCluster: AskCluster): Promise<readonly string[]> {
  const given = positionals(command, before.slice(before.indexOf(command.name()) + 1));
  const targets = command.name() === "flush" ? ["restart", "switchover"] : [];
  if (command.registeredArguments.length === 0) return [];
  if (given.length === 0) return [...(await askCluster(async (context) => [context.scopeOf(undefined)])), ...targets];
  const several = command.registeredArguments.at(-1)?.variadic === true && command.name() !== "list" && command.name() !== "topology";
  if (!several) return [];
  return [...(await askCluster(memberNames)).filter((name) => !given.includes(name)), ...targets];
}

function positionals(command: Command, words: readonly string[]): readonly string[] {
  return words.filter((word, index) => !word.startsWith("-") && optionOf(command.options, words[index - 1] ?? "")?.required !== true);
}

async function memberNames(context: CtlContext): Promise<readonly string[]> {
  const { view } = await context.read(context.scopeOf(undefined));
  return view.members.map(({ name }) => name);
}

function calledCommand(program: Command, before: readonly string[]): Command | null {
  const first = before.findIndex(
    (word, index) => !word.startsWith("-") && optionOf(program.options, before[index - 1] ?? "")?.required !== true,
  );
  return program.commands.find((candidate) => candidate.name() === before[first]) ?? null;
}

function optionOf(options: readonly Option[], word: string): Option | null {
  return options.find(({ long, short }) => word !== "" && (word === long || word === short)) ?? null;
}
