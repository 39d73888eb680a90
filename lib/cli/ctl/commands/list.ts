// Owns `ctl list`: the members of one or several clusters, in every format, once or again and again.

import { type Command, Option } from "commander";
import { positiveSeconds } from "../../command-line.ts";
import type { CtlContext, ReadCluster } from "../context.ts";
import { FORMATS, type Format } from "../formats.ts";
import { type Look, repeatedly, type WatchFlags } from "../live-view.ts";
import type { ListingOptions } from "../member-table.ts";
import type { CommandHost } from "../program.ts";

interface ListFlags extends WatchFlags {
  readonly extended?: true;
  readonly format: Format;
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
        repeatedly(context, flags, () =>
          lookAt(context, scopesOf(context, clusters), { format: flags.format, extended: flags.extended === true, names: "plain" }),
        ),
      ),
    );
}

/** The clusters, one below the other. Where there is one, its changes are news. Throws CtlRefusal: DCS away. */
export async function lookAt(context: CtlContext, scopes: readonly string[], options: ListingOptions): Promise<Look> {
  const texts: string[] = [];
  const seen: ReadCluster[] = [];
  for (const scope of scopes) {
    const parts = await context.readAll(scope);
    if (parts.every(({ cluster }) => cluster.members.length === 0 && cluster.initialize === null)) await tellUnknown(context, scope);
    texts.push(context.listing(parts, options));
    seen.push(...parts);
  }
  return { text: texts.join(""), cluster: seen.length === 1 ? (seen[0] ?? null) : null };
}

/** Beside the empty table. */
async function tellUnknown(context: CtlContext, scope: string): Promise<void> {
  const others = await context.otherScopes();
  const known = others.length === 0 ? "there is none at all below" : `there is ${others.join(", ")} below`;
  context.terminal.complain(`Warning: no cluster ${scope} is in the DCS; ${known} the namespace ${context.config.namespace || "/"}\n`);
}

export function formatOption(fallback: Format, of?: string): Option {
  return new Option("-f, --format <format>", of === undefined ? "output format" : `output format ${of}`).choices(FORMATS).default(fallback);
}

/** The names given, or the configured one. Throws CtlRefusal where there is none. */
export function scopesOf(context: CtlContext, given: readonly string[]): readonly string[] {
  return given.length > 0 ? given : [context.scopeOf(undefined)];
}
