// Owns `ctl completion`: the few lines that make a shell ask ctl itself what may be typed next (`ctl complete`, which only shells call).

import { Argument, type Command } from "commander";
import { EXIT } from "../../../runtime/exit-codes.ts";
import { completions } from "../completion.ts";
import type { CommandHost } from "../program.ts";
import { CtlAborted, CtlRefusal } from "../refusal.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

export function addCompletion({ command, program, terminal }: CommandHost): void {
  const self = command("completion", "print what makes a shell complete commands, options and members' names");
  self.addArgument(new Argument("<shell>").choices(SHELLS));
  self.option("--name <name>", "under which name the shell knows ctl", "ctl");
  self.action((shell: Shell, flags: { readonly name: string }) => {
    const name = flags.name.replace(/[^\w.-]/g, "");
    if (name === "") throw new CtlRefusal("--name: write the name of a command");
    const call = (terminal.invocation ?? [name]).map(quoted).join(" ");
    program.configureOutput().writeOut?.(SCRIPTS[shell](name, call));
  });
}

/** `ctl complete -- WORDS`: one word a line. */
export function addComplete({ command, program, run, terminal }: CommandHost): void {
  command("complete [words...]", "for shells", { hidden: true }).action(
    async (words: readonly string[], _flags: unknown, self: Command) => {
      const found = await completions(program, words, async (ask) => {
        let names: readonly string[] = [];
        try {
          await run(self, async (context) => {
            names = await ask(context);
            return EXIT.ok;
          });
        } catch (error) {
          // Nothing configured, or the DCS is away: then there is nothing to propose.
          if (!(error instanceof CtlRefusal || error instanceof CtlAborted)) throw error;
        }
        return names;
      });
      terminal.out(found.map((word) => `${word}\n`).join(""));
    },
  );
}

/** `call` is ready for a shell. */
const SCRIPTS: Readonly<Record<Shell, (name: string, call: string) => string>> = {
  bash: (name, call) => `_${identifier(name)}() {
  local IFS=$'\\n'
  COMPREPLY=($(${call} complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _${identifier(name)} ${name}
`,
  zsh: (name, call) => `#compdef ${name}
_${identifier(name)}() {
  local -a found
  found=(\${(f)"$(${call} complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"})
  (( \${#found} )) && compadd -a found || _files
}
compdef _${identifier(name)} ${name}
`,
  fish: (
    name,
    call,
  ) => `complete -c ${name} -a '(${call.replaceAll("'", "\\'")} complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
};

function identifier(name: string): string {
  return name.replace(/\W/g, "_");
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
