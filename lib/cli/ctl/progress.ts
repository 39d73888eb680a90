// Owns what a person sees while a command waits: what happens in the cluster meanwhile, and a bar for copies of data. On a terminal only: a
// script gets what patronictl prints. Waits for nothing itself, and never changes how the command ends.

import * as v from "valibot";
import { clusterChanges } from "../../core/cluster-changes.ts";
import { clusterView, type MemberView } from "../../core/cluster-view.ts";
import { sizeText } from "../../model/size-text.ts";
import { ms, seconds } from "../../model/units.ts";
import type { CtlContext, ReadCluster } from "./context.ts";

/** One blocking request to the DCS. */
const ROUND = seconds(5);
const LOOK_AT_COPIES_EVERY = seconds(1);
const BAR_WIDTH = 30;
/** In front of a line that takes the place of the bar. */
export const LINE_START = "\r\x1b[K";

/** Tells of each change in the cluster, with the time since the beginning, until the work is done. The value, or the error, is the work's. */
export async function tellChanges<T>(context: CtlContext, read: ReadCluster, work: Promise<T>): Promise<T> {
  if (!context.terminal.outIsTerminal) return work;
  return beside(context, work, async (signal) => {
    const { clock } = context.terminal;
    const begin = clock.now();
    let { revision } = read.cluster;
    let { view } = read;
    while (!signal.aborted) {
      const woken = await read.store.watchCluster(revision, { deadline: context.within(ROUND), signal });
      // Nothing more to tell; whether that is a trouble, the command itself will find.
      if (!woken.ok) return;
      const next = clusterView(woken.value, read.scope);
      for (const line of clusterChanges(view, next))
        context.terminal.out(`  ${((clock.now() - begin) / 1000).toFixed(1).padStart(6)} s  ${line}\n`);
      view = next;
      revision = woken.value.revision;
    }
  });
}

/** A bar for the copy that each of these members makes, redrawn in its line, until the work is done. As tellChanges. */
export async function tellCopies<T>(context: CtlContext, members: readonly MemberView[], work: Promise<T>): Promise<T> {
  if (!context.terminal.outIsTerminal) return work;
  return beside(context, work, async (signal) => {
    const { clock, out } = context.terminal;
    const begin = clock.now();
    try {
      while (!signal.aborted) {
        const parts = await Promise.all(members.map((member) => copyOf(context, member)));
        if (signal.aborted) return;
        out(`${LINE_START}${Math.round((clock.now() - begin) / 1000)} s  ${parts.join("; ")}`);
        await clock.sleepUntil(context.within(LOOK_AT_COPIES_EVERY), signal);
      }
    } finally {
      out(LINE_START);
    }
  });
}

async function beside<T>(context: CtlContext, work: Promise<T>, tell: (signal: AbortSignal) => Promise<void>): Promise<T> {
  const done = new AbortController();
  const telling = tell(AbortSignal.any([done.signal, context.terminal.signal]));
  try {
    return await work;
  } finally {
    done.abort();
    await telling;
  }
}

const CopySchema = v.object({
  state: v.string(),
  copy: v.optional(v.object({ bytes: v.number(), total_bytes: v.number(), percent: v.number() })),
});

/** `n2 [#####.....] 43 % of 2.8 GB`; a Patroni does not tell how far it has come. */
async function copyOf(context: CtlContext, member: MemberView): Promise<string> {
  if (member.api_url === undefined) return `${member.name} publishes no api_url`;
  const answer = await context.peers.send("GET", member.api_url, "/patroni", null, context.within(ms(2 * LOOK_AT_COPIES_EVERY)));
  const read = answer.ok ? v.safeParse(v.pipe(v.string(), v.parseJson(), CopySchema), answer.value.text) : null;
  if (!read?.success) return `${member.name} does not answer`;
  const { state, copy } = read.output;
  return copy === undefined
    ? `${member.name}: ${state}`
    : `${member.name} ${bar(copy.percent)} ${copy.percent} % of ${sizeText(copy.total_bytes)}`;
}

/** `[####......]`; beyond 0 and 100 it stays empty or full. */
export function bar(percent: number, width = BAR_WIDTH): string {
  const filled = Math.round((Math.min(100, Math.max(0, percent)) / 100) * width);
  return `[${"#".repeat(filled)}${".".repeat(width - filled)}]`;
}
