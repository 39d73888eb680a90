// Owns the questions: to peers over REST, to the PostgreSQL of a leader that nothing fences, and to the own pg_control. Each returns its
// outcome; none decides what comes next.

import { addressIn } from "../core/facts.ts";
import { traceUnfenced, type UnfencedKind } from "../core/leader-trace.ts";
import type { Outcome, PeerAnswer, PeerStatus } from "../core/observation.ts";
import { acknowledgesOnlyWith } from "../core/sync-names.ts";
import { findMember, type UnfencedPrimary } from "../model/cluster.ts";
import { ms } from "../model/units.ts";
import type { NodeContext } from "./node-context.ts";
import { done, refreshCluster, refreshMark } from "./perform-dcs.ts";

/** A healthy peer answers in milliseconds; a silent one costs a race no more than this. */
const PEER_DEADLINE_MS = 400;
/** One that did not answer the last time gets this long to do so the next. */
const SILENT_PEER_DEADLINE_MS = 100;
/** A peer that is asked for a switchover may be busier. */
const SWITCHOVER_PEER_DEADLINE_MS = 2000;
/** For a connection, a login and one word of SQL. */
const ROLE_DEADLINE_MS = 3000;

/** All at once; a silent one delays nobody beyond the deadline. */
export async function askPeers(context: NodeContext, names: readonly string[]): Promise<Outcome> {
  const { clock, peers, state } = context;
  const cluster = state.cluster;
  if (cluster === null) return { kind: "ask-peers", ok: false, message: "the cluster is not known" };
  const askedAt = clock.now();
  const racing = cluster.leader === null;
  const patience = racing ? PEER_DEADLINE_MS : SWITCHOVER_PEER_DEADLINE_MS;
  // Who races judges by the cluster as it is now: a watch that lags may hide that somebody led meanwhile.
  const view = racing ? refreshCluster(context) : null;
  const questions = names.map(async (name): Promise<PeerAnswer> => {
    const apiUrl = findMember(cluster, name)?.apiUrl ?? null;
    // Who was silent a moment ago is not waited for in full again.
    const limit = racing && state.silentPeers.has(name) ? SILENT_PEER_DEADLINE_MS : patience;
    const status = apiUrl === null ? null : await peers.ask(apiUrl, ms(askedAt + limit));
    return { name, status, askedAt };
  });
  state.peerAnswers = await Promise.all(questions);
  state.silentPeers = new Set(state.peerAnswers.filter(({ status }) => status === null).map(({ name }) => name));
  await view;
  return done("ask-peers");
}

/** Asks whoever led last; where nothing fences its PostgreSQL and its supervisor does not answer, PostgreSQL itself. */
export async function askOldLeader(context: NodeContext): Promise<Outcome> {
  const { clock, state } = context;
  await refreshMark(context);
  const { name, apiUrl } = state.trace;
  const place = unfencedPlace(context);
  const answer = apiUrl === null ? null : await askWhetherPrimary(context, apiUrl);
  if (answer !== null) state.trace = { ...state.trace, answer: { kind: answer, at: clock.now() } };
  if (place !== null) {
    const word =
      place.name === name && answer !== null ? answer : place.apiUrl === null ? null : await askWhetherPrimary(context, place.apiUrl);
    const kind = word === "primary" ? "alive" : word === "not-primary" ? "down" : await lookAtPostgresOf(context, place);
    state.trace = traceUnfenced(state.trace, kind, clock.now());
    return done("ask-old-leader", kind);
  }
  if (answer === null) return { kind: "ask-old-leader", ok: false, message: "its address is not known" };
  return done("ask-old-leader", answer);
}

function unfencedPlace({ state }: NodeContext): UnfencedPrimary | null {
  const { mark } = state.trace;
  if (mark === null || mark.released || mark.unfenced === null) return null;
  return mark.unfenced.name === state.settings.node.name ? null : mark.unfenced;
}

async function askWhetherPrimary({ clock, peers }: NodeContext, apiUrl: string): Promise<"primary" | "not-primary" | "silent"> {
  const status = await peers.ask(apiUrl, ms(clock.now() + PEER_DEADLINE_MS));
  return status === null ? "silent" : mayWrite(status) ? "primary" : "not-primary";
}

/** Its supervisor does not say: whatever accepts connections there and is no standby may take writes. */
async function lookAtPostgresOf({ clock, postgres, state }: NodeContext, place: UnfencedPrimary): Promise<UnfencedKind> {
  const address = place.connUrl === null ? null : addressIn(place.connUrl);
  if (address === null) return "silent";
  const target = { name: place.name, ...address, slotName: null };
  const { role, synchronous } = await postgres.roleAt(target, ms(clock.now() + ROLE_DEADLINE_MS));
  if (synchronous !== null && acknowledgesOnlyWith(state.settings.node.name, synchronous)) return "starved";
  if (role === "primary" || role === "unclear") return "alive";
  return role === "silent" ? "silent" : "down";
}

/**
 * A primary that is starting, restarting or stopping takes writes now or in a moment, and so does whoever counts on a lease:
 * only a standby without one, and a server that is stopped without one, are surely no primary.
 */
function mayWrite(status: PeerStatus): boolean {
  return status.leaseHeld || (status.role === "primary" && status.state !== "stopped");
}

/** What pg_control of the stopped server says. */
export async function readControl(context: NodeContext): Promise<Outcome> {
  const { state, postgres } = context;
  const control = await postgres.controlData();
  if (!control.ok) return { kind: "read-control", ok: false, message: control.error.message };
  state.local.control = control.value;
  state.local.systemIdentifier = control.value.systemIdentifier;
  return { kind: "read-control", ok: true, message: "" };
}
