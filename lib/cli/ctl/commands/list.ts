// Owns `ctl list`: the members of one or several clusters, in every format, once or again and again.

import { type Command, InvalidArgumentError, Option } from "commander";
import { ms } from "../../../model/units.ts";
import { EXIT, type ExitCode } from "../../../runtime/exit-codes.ts";
import { localSecond } from "../appointment.ts";
import type { CtlContext } from "../context.ts";
import { FORMATS, type Format } from "../formats.ts";
import type { CommandHost } from "../program.ts";

interface ListFlags {
  readonly extended?: true;
  readonly timestamp?: true;
  readonly format: Format;
  readonly W?: true;
  readonly watch?: number;
}

export function addList({ command, run }: CommandHost): void {
  command("list [clusters...]", "list the members of a cluster")
    .option("-e, --extended", "show all columns, also where they are empty")
    .option("-t, --timestamp", "print the time first")
    .addOption(formatOption("pretty"))
    .option("-W", "look again every 2 seconds")
    .option("-w, --watch <seconds>", "look again after so many seconds", positiveSeconds)
    .action((clusters: readonly string[], flags: ListFlags, self: Command) =>
      run(self, (context) =>
        repeatedly(context, flags, async () => {
          for (const scope of scopesOf(context, clusters)) {
            context.list(await context.readAll(scope), { format: flags.format, extended: flags.extended === true, names: "plain" });
          }
        }),
      ),
    );
}

export function formatOption(fallback: Format, of?: string): Option {
  return new Option("-f, --format <format>", of === undefined ? "output format" : `output format ${of}`).choices(FORMATS).default(fallback);
}

/** The names given, or the configured one. Throws CtlRefusal where there is none. */
export function scopesOf(context: CtlContext, given: readonly string[]): readonly string[] {
  return given.length > 0 ? given : [context.scopeOf(undefined)];
}

export function positiveSeconds(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError("write a number of seconds above 0");
  return value;
}

const DEFAULT_WATCH_SECONDS = 2;

/** Once, or with -W or -w until interrupted. */
export async function repeatedly(
  context: CtlContext,
  flags: { readonly W?: true; readonly watch?: number; readonly timestamp?: true },
  show: () => Promise<void>,
): Promise<ExitCode> {
  const { terminal } = context;
  const every = flags.watch ?? (flags.W ? DEFAULT_WATCH_SECONDS : null);
  do {
    if (every !== null && terminal.outIsTerminal) terminal.out("\x1b[2J\x1b[H");
    if (flags.timestamp) terminal.out(`${localSecond(new Date(terminal.clock.wallNow()))}\n`);
    await show();
    if (every === null) break;
    await terminal.clock.sleepUntil(context.within(ms(every * 1000)), terminal.signal);
  } while (!terminal.signal.aborted);
  return EXIT.ok;
}
