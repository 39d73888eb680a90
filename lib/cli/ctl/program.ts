// Owns the command line of ctl as a whole: which commands there are, the options before them, exit statuses, and how an
// error looks. Each command is in a file of its own under commands/.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { addDsn } from "./commands/dsn.ts";
import { addEditConfig } from "./commands/edit-config.ts";
import { addFailover } from "./commands/failover.ts";
import { addFlush } from "./commands/flush.ts";
import { addHistory } from "./commands/history.ts";
import { addList } from "./commands/list.ts";
import { addPause } from "./commands/pause.ts";
import { addQuery } from "./commands/query.ts";
import { addReinit } from "./commands/reinit.ts";
import { addReload } from "./commands/reload.ts";
import { addRemove } from "./commands/remove.ts";
import { addRestart } from "./commands/restart.ts";
import { addResume } from "./commands/resume.ts";
import { addShowConfig } from "./commands/show-config.ts";
import { addDemoteCluster, addPromoteCluster } from "./commands/standby-cluster.ts";
import { addSwitchover } from "./commands/switchover.ts";
import { addTopology } from "./commands/topology.ts";
import { addVersion } from "./commands/version.ts";
import type { GlobalOptions } from "./configuration.ts";
import { CtlContext } from "./context.ts";
import { CtlAborted, CtlRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

/** What a command does once everything is open; its value is the exit status. */
export type CtlAction = (context: CtlContext) => Promise<ExitCode>;

/** How a command file adds itself: `run` opens the context with the options before and behind the command. */
export interface CommandHost {
  readonly program: Command;
  run(command: Command, action: CtlAction): Promise<void>;
  /** A command with the options that all have. */
  command(nameAndArguments: string, description: string): Command;
}

interface WrittenGlobals {
  readonly configFile?: string;
  readonly dcsUrl?: string;
  readonly dcs?: string;
  readonly insecure?: true;
  readonly group?: number;
}

/** Runs one command; `args` without the program's name. Exit status: 0 done, 1 refused or failed, 2 usage. */
export async function runCtl(args: readonly string[], terminal: CtlTerminal): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const program = buildProgram(terminal, (code) => {
    status = code;
  });
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error instanceof CtlAborted) {
      terminal.complain("Aborted!\n");
      return EXIT.failed;
    }
    if (!(error instanceof CtlRefusal)) throw error;
    terminal.complain(`Error: ${error.message}\n`);
    return error.status;
  }
}

function buildProgram(terminal: CtlTerminal, finish: (status: ExitCode) => void): Command {
  const program = new Command("ctl")
    .description("Looks after a cluster: what patronictl does, with its commands, options and output.")
    .usage("[OPTIONS] COMMAND [ARGS]...")
    .option("-c, --config-file <file>", "a node's configuration file, or one made for patronictl ($PATRONICTL_CONFIG_FILE)")
    .option("-d, --dcs-url <url>", "the DCS, e.g. consul://127.0.0.1:8500/service ($DCS_URL)")
    .addOption(new Option("--dcs <url>").hideHelp())
    .option("-k, --insecure", "accept members' TLS certificates unchecked")
    .option("-g, --group <number>", "MPP group (Citus)", wholeNumber)
    .helpOption("-h, --help", "show this and exit")
    .helpCommand(false)
    // Behind a command, -c and -d may be the command's own (query).
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.complain(text.replace(/^error: /, "Error: ")),
    });
  const host: CommandHost = {
    program,
    run: async (command, action) => {
      const context = await CtlContext.open(terminal, globalsOf(command));
      try {
        finish(await action(context));
      } finally {
        await context.close();
      }
    },
    command: (nameAndArguments, description) => {
      const command = program.command(nameAndArguments).description(description).exitOverride();
      command.helpOption("-h, --help", "show this and exit").option("--group <number>", "MPP group (Citus)", wholeNumber);
      if (nameAndArguments.split(" ")[0] !== "query") {
        command.addOption(new Option("-c, --config-file <file>").hideHelp()).addOption(new Option("-d, --dcs-url <url>").hideHelp());
      }
      return command.addOption(new Option("-k, --insecure").hideHelp());
    },
  };
  for (const add of COMMANDS) add(host);
  return program;
}

/** In the order of their names, as the help shows them. */
const COMMANDS: readonly ((host: CommandHost) => void)[] = [
  addDemoteCluster,
  addDsn,
  addEditConfig,
  addFailover,
  addFlush,
  addHistory,
  addList,
  addPause,
  addPromoteCluster,
  addQuery,
  addReinit,
  addReload,
  addRemove,
  addRestart,
  addResume,
  addShowConfig,
  addSwitchover,
  addTopology,
  addVersion,
];

function globalsOf(command: Command): GlobalOptions {
  const own = command.opts<WrittenGlobals>();
  const above = command.parent?.opts<WrittenGlobals>() ?? {};
  return {
    configFile: own.configFile ?? above.configFile,
    dcsUrl: own.dcsUrl ?? above.dcsUrl ?? above.dcs,
    insecure: own.insecure ?? above.insecure,
    group: own.group ?? above.group,
  };
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("write a whole number");
  return Number(text);
}
