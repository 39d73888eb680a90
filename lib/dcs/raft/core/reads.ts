// Owns linearizable reads: the commit index at the time of asking, confirmed by a majority that still knew no other leader.
// Source: Ongaro, section 6.4 (ReadIndex); no lease by clock.

import { quorumValue } from "./configuration.ts";
import { notLeader } from "./leading.ts";
import type { CoreState, Leading, Progress } from "./state.ts";

/** More reads than this wait only where a majority is away: they are refused. */
const READS_MAX = 65_536;

export function onRead(core: CoreState, id: number): void {
  const { leading } = core;
  if (leading === null) {
    core.refused.push({ id, refusal: notLeader(core) });
    return;
  }
  if (leading.reads.length + leading.earlyReads.length >= READS_MAX) {
    core.refused.push({ id, refusal: { kind: "busy", reason: "too many reads wait for a majority" } });
    return;
  }
  leading.earlyReads.push(id);
}

/** Once in a step, before anything is sent: all reads of the step share a round. */
export function startReads(core: CoreState, leading: Leading): void {
  // Before the first commit of its term a leader does not know what was committed before it.
  if (leading.earlyReads.length === 0 || core.commit < leading.firstIndex) return;
  leading.round++;
  for (const id of leading.earlyReads) leading.reads.push({ id, index: core.commit, round: leading.round });
  leading.earlyReads = [];
}

export function confirmReads(core: CoreState, leading: Leading): void {
  const { reads } = leading;
  if (reads.length === 0) return;
  const answered = quorumValue(leading.tracked, Number.POSITIVE_INFINITY, roundOf);
  let confirmed = 0;
  for (const read of reads) {
    if (read.round > answered) break;
    core.readsReady.push({ id: read.id, index: read.index });
    confirmed++;
  }
  if (confirmed > 0) leading.reads = reads.slice(confirmed);
}

function roundOf({ answeredRound }: Progress): number {
  return answeredRound;
}
