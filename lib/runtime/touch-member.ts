// Owns publishing this member's key: after a cycle, and the moment a promoted server accepts writes. Decides nothing: what it writes is
// member-record.ts.

import type { Outcome } from "../core/observation.ts";
import { describeStoreError } from "../model/errors.ts";
import { dcsDeadline } from "./lease-bounds.ts";
import { memberRecord } from "./member-record.ts";
import type { NodeContext } from "./node-context.ts";
import { lookAtPostgres } from "./observe.ts";

/** Positions change all the time: alone they are published once a loop_wait, however often the loop is woken. */
const POSITIONS: ReadonlySet<string> = new Set(["xlog_location", "receive_lsn", "replay_lsn"]);

/** Publishes this member where something changed. The holder's positions go with its renewal. */
export async function touchMember(context: NodeContext): Promise<void> {
  const { clock, state, store, log } = context;
  const session = store.session();
  if (state.dcsFailure !== null || session === null || state.requests.shutdown) return;
  const record = memberRecord(context);
  const before = state.published;
  const recent = before !== null && clock.now() - before.at < state.settings.dynamic.loopWaitMs * 0.9;
  if (recent && before.session === session.id && sameButPositions(before.record, record)) return;
  const touched = await store.touchMember(record, { deadline: dcsDeadline(context) });
  if (touched.ok) state.published = { record, session: session.id, at: clock.now() };
  else log.warning(`the member key was not written: ${describeStoreError(touched.error)}`);
}

/**
 * Tells of a promotion: clients look for it in the catalogue, poolers at the member key. The cycle in which the HA loop would come to it
 * renews the lock, and more, before. `noteCatalogue`: something about the node has changed.
 */
export async function tellPromoted(context: NodeContext, noteCatalogue: () => void): Promise<void> {
  await lookAtPostgres(context);
  noteCatalogue();
  await touchMember(context);
}

/** Tells the leader that this member is about to stop, so that it waits for others: as Patroni does, by the tag `nosync`. */
export async function askRelease(context: NodeContext): Promise<Outcome> {
  const { clock, state, store } = context;
  state.releaseAskedAt = clock.now();
  const touched = await store.touchMember(memberRecord(context), { deadline: dcsDeadline(context) });
  if (touched.ok) return { kind: "ask-release", ok: true, message: "" };
  state.releaseAskedAt = null;
  return { kind: "ask-release", ok: false, message: describeStoreError(touched.error) };
}

/** What it stopped for is over: the member is there again, and the next publication says so. */
export function endRelease({ state }: NodeContext): void {
  const { shutdown, restart, reinitialize } = state.requests;
  if (state.task === null && !shutdown && !restart && reinitialize === null) state.releaseAskedAt = null;
}

function sameButPositions(before: Readonly<Record<string, unknown>>, now: Readonly<Record<string, unknown>>): boolean {
  // Most fields are the very same value: only what differs is looked at.
  for (const name of Object.keys(now)) {
    const [was, is] = [before[name], now[name]];
    if (was !== is && !POSITIONS.has(name) && !sameValue(was, is)) return false;
  }
  for (const name of Object.keys(before)) if (now[name] === undefined && !POSITIONS.has(name)) return false;
  return true;
}

/** Fields other than positions are JSON: words, numbers, and objects of them. */
function sameValue(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === "object" && typeof b === "object" && JSON.stringify(a) === JSON.stringify(b));
}
