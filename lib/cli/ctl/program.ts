// Owns the command line of ctl as a whole: which commands there are, the options before them, exit statuses, and how an
// error looks. Each command is in a file of its own under commands/.

import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import type { GlobalOptions } from "./configuration.ts";
import type { CtlContext } from "./context.ts";
import { CtlAborted, CtlRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

/** What a command does once everything is open; its value is the exit status. */
export type CtlAction = (context: CtlContext) => Promise<ExitCode>;

/** The same without a context: nothing was opened, nothing read. */
export type LoneAction = (given: { readonly terminal: CtlTerminal; readonly configFile: string | null }) => Promise<ExitCode>;

/** How a command file adds itself: `run` opens the context with the options before and behind the command. */
export interface CommandHost {
  readonly program: Command;
  readonly terminal: CtlTerminal;
  run(command: Command, action: CtlAction): Promise<void>;
  /** For what works without a cluster, or where none can be reached: `configFile` as written, or null. */
  runAlone(command: Command, action: LoneAction): Promise<void>;
  /** A command with the options that all have. `hidden`: not in the help. */
  command(nameAndArguments: string, description: string, options?: { readonly hidden: boolean }): Command;
}

interface WrittenGlobals {
  readonly configFile?: string;
  readonly dcsUrl?: string;
  readonly dcs?: string;
  readonly insecure?: true;
  readonly group?: number;
}

/**
 * Runs one command; `args` without the program's name. Exit status: 0 done, 1 refused or failed, 2 usage. `onDecided` gets it as soon as
 * the command is through, before its connections are closed; it is not called where the command fails.
 */
export async function runCtl(
  args: readonly string[],
  terminal: CtlTerminal,
  onDecided: (status: ExitCode) => void = () => {},
): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const program = await buildProgram(terminal, commandOf(args), (code) => {
    status = code;
    onDecided(code);
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

/** With the one command that is called, or with all where it is none of ours. */
async function buildProgram(terminal: CtlTerminal, called: string | null, finish: (status: ExitCode) => void): Promise<Command> {
  const program = new Command("ctl")
    .description("Looks after a cluster: what patronictl does, with its commands, options and output.")
    .usage("[OPTIONS] COMMAND [ARGS]...")
    .option("-c, --config-file <file>", "a node's configuration file, or one made for patronictl ($PATRONICTL_CONFIG_FILE)")
    .option("-d, --dcs-url <url>", "the DCS, e.g. consul://127.0.0.1:8500/service, or a node, api://127.0.0.1:8008 ($DCS_URL)")
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
    terminal,
    run: async (command, action) => {
      const { CtlContext } = await import("./context.ts");
      const context = await CtlContext.open(terminal, globalsOf(command));
      try {
        finish(await action(context));
      } finally {
        await context.close();
      }
    },
    runAlone: async (command, action) => finish(await action({ terminal, configFile: globalsOf(command).configFile ?? null })),
    command: (nameAndArguments, description, options) => {
      const command = program
        .command(nameAndArguments, { hidden: options?.hidden === true })
        .description(description)
        .exitOverride();
      command.helpOption("-h, --help", "show this and exit").option("--group <number>", "MPP group (Citus)", wholeNumber);
      if (nameAndArguments.split(" ")[0] !== "query") {
        command.addOption(new Option("-c, --config-file <file>").hideHelp()).addOption(new Option("-d, --dcs-url <url>").hideHelp());
      }
      return command.addOption(new Option("-k, --insecure").hideHelp());
    },
  };
  // What may be typed next is known from the declarations of all.
  if (called === COMPLETE) (await import("./commands/completion.ts")).addComplete(host);
  const one = called === null ? undefined : COMMANDS.get(called);
  for (const load of one === undefined ? COMMANDS.values() : [one]) (await load())(host);
  return program;
}

type AddCommand = (host: CommandHost) => void;

/** In the order of their names, as the help shows them. Each is loaded when it is called: start-up is most of what a command takes. */
const COMMANDS: ReadonlyMap<string, () => Promise<AddCommand>> = new Map<string, () => Promise<AddCommand>>([
  ["backups", async () => (await import("./commands/backups.ts")).addBackups],
  ["completion", async () => (await import("./commands/completion.ts")).addCompletion],
  ["demote-cluster", async () => (await import("./commands/standby-cluster.ts")).addDemoteCluster],
  ["doctor", async () => (await import("./commands/doctor.ts")).addDoctor],
  ["dsn", async () => (await import("./commands/dsn.ts")).addDsn],
  ["edit-config", async () => (await import("./commands/edit-config.ts")).addEditConfig],
  ["explain", async () => (await import("./commands/explain.ts")).addExplain],
  ["export", async () => (await import("./commands/export.ts")).addExport],
  ["failover", async () => (await import("./commands/failover.ts")).addFailover],
  ["flush", async () => (await import("./commands/flush.ts")).addFlush],
  ["history", async () => (await import("./commands/history.ts")).addHistory],
  ["import", async () => (await import("./commands/export.ts")).addImport],
  ["list", async () => (await import("./commands/list.ts")).addList],
  ["move-dcs", async () => (await import("./commands/move-dcs.ts")).addMoveDcs],
  ["pause", async () => (await import("./commands/pause.ts")).addPause],
  ["promote-cluster", async () => (await import("./commands/standby-cluster.ts")).addPromoteCluster],
  ["query", async () => (await import("./commands/query.ts")).addQuery],
  ["reinit", async () => (await import("./commands/reinit.ts")).addReinit],
  ["reload", async () => (await import("./commands/reload.ts")).addReload],
  ["remove", async () => (await import("./commands/remove.ts")).addRemove],
  ["restart", async () => (await import("./commands/restart.ts")).addRestart],
  ["restore", async () => (await import("./commands/restore.ts")).addRestore],
  ["resume", async () => (await import("./commands/resume.ts")).addResume],
  ["rolling", async () => (await import("./commands/rolling.ts")).addRolling],
  ["show-config", async () => (await import("./commands/show-config.ts")).addShowConfig],
  ["switchover", async () => (await import("./commands/switchover.ts")).addSwitchover],
  ["topology", async () => (await import("./commands/topology.ts")).addTopology],
  ["upgrade", async () => (await import("./commands/upgrade.ts")).addUpgrade],
  ["version", async () => (await import("./commands/version.ts")).addVersion],
]);

/** Only shells call it. */
const COMPLETE = "complete";

/** Options before the command that have a value of their own. */
const WITH_VALUE = /^(-[cdg]|--(config-file|dcs-url|dcs|group))$/;

/** The word that names the command; null where there is none. */
function commandOf(args: readonly string[]): string | null {
  const first = args.findIndex((word, index) => !word.startsWith("-") && !WITH_VALUE.test(args[index - 1] ?? ""));
  return args[first] ?? null;
}

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
