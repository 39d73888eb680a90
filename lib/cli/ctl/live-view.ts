// Owns looking at something again and again (-w, -W). On a terminal it is redrawn in place as soon as the cluster changes, with what has
// happened below it, and goes on where the DCS is away for a while; into a pipe it is printed anew each time, as patronictl does.

import { clusterChanges } from "../../core/cluster-changes.ts";
import type { ClusterView } from "../../core/cluster-view.ts";
import { ms } from "../../model/units.ts";
import { EXIT, type ExitCode } from "../../runtime/exit-codes.ts";
import { localSecond } from "./appointment.ts";
import type { CtlContext, ReadCluster } from "./context.ts";
import { CtlRefusal } from "./refusal.ts";
import type { CtlTerminal } from "./terminal.ts";

export interface WatchFlags {
  readonly W?: true;
  readonly watch?: number;
  readonly timestamp?: true;
}

/** What is shown, and whose changes are news and wake the view; null where only the time does. */
export interface Look {
  readonly text: string;
  readonly cluster: ReadCluster | null;
}

const DEFAULT_WATCH_SECONDS = 2;
/** Positions change all the time: no more often than eyes can follow. */
const REDRAW_AFTER = ms(500);
/** News kept below the table. */
const NEWS_MAX = 12;

const CLEAR = "\x1b[2J\x1b[H";
const HOME = "\x1b[H";
const END_OF_LINE = "\x1b[K";
const BELOW = "\x1b[J";
const HIDE_CURSOR = "\x1b[?25l";
const SHOW_CURSOR = "\x1b[?25h";

/** Once, or with -W or -w until interrupted. Throws CtlRefusal where the first look fails. */
export async function repeatedly(context: CtlContext, flags: WatchFlags, look: () => Promise<Look>): Promise<ExitCode> {
  const { terminal } = context;
  const every = flags.watch ?? (flags.W ? DEFAULT_WATCH_SECONDS : null);
  if (every !== null && terminal.outIsTerminal) return live(context, { every, look });
  do {
    const seen = await unlessInterrupted(look(), terminal.signal);
    if (seen === INTERRUPTED) break;
    const { text } = seen;
    if (flags.timestamp) terminal.out(`${localSecond(new Date(terminal.clock.wallNow()))}\n`);
    terminal.out(text);
    if (every === null) break;
    await terminal.clock.sleepUntil(context.within(ms(every * 1000)), terminal.signal);
  } while (!terminal.signal.aborted);
  return EXIT.ok;
}

async function live(
  context: CtlContext,
  { every, look }: { readonly every: number; readonly look: () => Promise<Look> },
): Promise<ExitCode> {
  const { terminal } = context;
  const first = await unlessInterrupted(look(), terminal.signal);
  if (first === INTERRUPTED) return EXIT.ok;
  let last = first;
  const news: string[] = [];
  let trouble: string | null = null;
  terminal.out(HIDE_CURSOR + CLEAR);
  try {
    for (;;) {
      draw(terminal, { every, text: paint(last, terminal.env), news, trouble });
      await wake(context, last, every);
      if (terminal.signal.aborted) return EXIT.ok;
      const looking = look().catch((error: unknown) => {
        if (error instanceof CtlRefusal) return error;
        throw error;
      });
      const next = await unlessInterrupted(looking, terminal.signal);
      if (next === INTERRUPTED) return EXIT.ok;
      if (next instanceof CtlRefusal) {
        trouble ??= `${localSecond(new Date(terminal.clock.wallNow()))} ${next.message}`;
        continue;
      }
      trouble = null;
      news.push(...newsOf(terminal, last.cluster?.view ?? null, next.cluster?.view ?? null));
      news.splice(0, news.length - NEWS_MAX);
      last = next;
    }
  } finally {
    terminal.out(SHOW_CURSOR);
  }
}

const INTERRUPTED = Symbol("interrupted");

/** What is looked at may answer late, as a cluster does that changes its leader: whoever ends the view does not wait for that. */
async function unlessInterrupted<T>(looking: Promise<T>, signal: AbortSignal): Promise<T | typeof INTERRUPTED> {
  const { promise, resolve } = Promise.withResolvers<typeof INTERRUPTED>();
  const end = () => resolve(INTERRUPTED);
  if (signal.aborted) end();
  signal.addEventListener("abort", end);
  try {
    return await Promise.race([looking, promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
}

/** Until the time is over or the cluster has changed, but not at once: each reading of the cluster shows some change of a position. */
async function wake(context: CtlContext, { cluster }: Look, every: number): Promise<void> {
  const { clock, signal } = context.terminal;
  const until = context.within(ms(every * 1000));
  await clock.sleepUntil(ms(Math.min(until, context.within(REDRAW_AFTER))), signal);
  if (cluster === null || signal.aborted) return clock.sleepUntil(until, signal);
  const woken = await cluster.store.watchCluster(cluster.cluster.revision, { deadline: until, signal });
  // A DCS that is away answers at once.
  if (!woken.ok) await clock.sleepUntil(until, signal);
}

function draw(
  terminal: CtlTerminal,
  shown: { readonly every: number; readonly text: string; readonly news: readonly string[]; readonly trouble: string | null },
): void {
  const lines = [
    `${localSecond(new Date(terminal.clock.wallNow()))}  at each change, and every ${shown.every} s; Ctrl-C ends`,
    "",
    ...shown.text.trimEnd().split("\n"),
    ...(shown.trouble === null ? [] : ["", paintLine(shown.trouble, RED, terminal.env), "What is above is from before."]),
    ...(shown.news.length === 0 ? [] : ["", ...shown.news]),
  ];
  terminal.out(`${HOME}${lines.map((line) => line + END_OF_LINE).join("\r\n")}\r\n${BELOW}`);
}

function newsOf(terminal: CtlTerminal, before: ClusterView | null, after: ClusterView | null): readonly string[] {
  if (before === null || after === null) return [];
  const at = localSecond(new Date(terminal.clock.wallNow()));
  return clusterChanges(before, after).map((line) => `${at}  ${line}`);
}

const BOLD = 1;
const RED = 31;
const GREEN = 32;
const YELLOW = 33;

/** The leader stands out, and whoever is not well. */
function paint({ text, cluster }: Look, env: CtlTerminal["env"]): string {
  if (cluster === null) return text;
  const { members } = cluster.view;
  const anybodyLeads = members.some(({ role }) => role === "leader" || role === "standby_leader");
  return text
    .split("\n")
    .map((line) => {
      const name = /^\|\s+(?:\+ )?(\S+)\s+\|/.exec(line)?.[1];
      const member = members.find((candidate) => candidate.name === name);
      if (member === undefined) return line.startsWith("+ ") ? paintLine(line, anybodyLeads ? BOLD : RED, env) : line;
      const well = ["running", "streaming", "in archive recovery"].includes(member.state);
      if (!well) return paintLine(line, /fail|crash/.test(member.state) ? RED : YELLOW, env);
      return member.role === "leader" || member.role === "standby_leader" ? paintLine(line, GREEN, env) : line;
    })
    .join("\n");
}

function paintLine(line: string, colour: number, env: CtlTerminal["env"]): string {
  return env["NO_COLOR"] ? line : `\x1b[${colour}m${line}\x1b[0m`;
}
