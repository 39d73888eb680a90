// Owns how a cluster comes to exist exactly once: who founds it, what is promised before, and when an empty member joins
// instead (DESIGN.md, Founding). Pure: `foundingStep` takes a state and an event; whatever it reads comes in.
//
// Why there are never two clusters with a living member each:
// - A member promises once in its life, durably, before it says so. A cluster is founded only when each of its members has
//   promised it or is gone for good (another identity answers at its address), and a majority of them promised and lives.
// - A founder draws a cluster only when every address of the list has just answered as empty. From then on none of them can
//   promise an older cluster: a request needs the newest token that its receiver gave to that address, and `ready` members
//   (they have been answered by all of the list themselves) have thereby made their predecessors' tokens void.

import type { MemberId, RaftClusterId, RaftMember } from "../../../model/raft.ts";

/** What a founding member has bound itself to: this cluster with these members, in order of address. */
export interface FoundingPromise {
  readonly clusterId: RaftClusterId;
  readonly members: readonly RaftMember[];
}

/** What a member says of itself to whoever asks. */
export interface Standing {
  readonly id: MemberId;
  readonly address: string;
  /** {self_addr} ∪ partner_addrs, sorted. */
  readonly list: readonly string[];
  readonly state:
    | {
        readonly kind: "empty";
        readonly founding: "may" | "may-not";
        /** It has itself been answered by everyone of its list since it started. */
        readonly readiness: "ready" | "asking";
        /** To be repeated in a promise request; void as soon as the asker's address is given another. Empty: none was given. */
        readonly token: string;
      }
    | { readonly kind: "promised"; readonly promise: FoundingPromise }
    | { readonly kind: "member"; readonly clusterId: RaftClusterId };
}

/** What has to be durable: exactly one of the three stages of a member's life. */
export type FoundingRecord =
  | { readonly kind: "promised"; readonly promise: FoundingPromise }
  /** The promise has become the cluster; its members are the configuration at index 0. */
  | { readonly kind: "founded"; readonly promise: FoundingPromise }
  /** Belongs to this cluster as soon as its leader takes it in. */
  | { readonly kind: "joining"; readonly clusterId: RaftClusterId };

export type FoundingEvent =
  /** Time to ask again. */
  | { readonly kind: "tick" }
  /** Somebody asks; `token` is fresh and unguessable. */
  | { readonly kind: "asked"; readonly reply: number; readonly from: RaftMember; readonly token: string }
  /** What an address answered; null: nothing, for the reason given. */
  | { readonly kind: "answer"; readonly address: string; readonly standing: Standing | null; readonly reason: string }
  | {
      readonly kind: "promise-asked";
      readonly reply: number;
      readonly from: RaftMember;
      readonly token: string;
      readonly promise: FoundingPromise;
    }
  /** The record of an earlier output is durable. */
  | { readonly kind: "written" };

export interface FoundingOutput {
  readonly ask: readonly string[];
  readonly requests: readonly { readonly address: string; readonly token: string; readonly promise: FoundingPromise }[];
  readonly replies: readonly { readonly reply: number; readonly standing: Standing }[];
  /** To be made durable, then reported as `written`; never a second one before that. */
  readonly write: FoundingRecord | null;
}

/** Plain data; changed by `foundingStep` alone. */
export interface FoundingState {
  readonly self: RaftMember;
  readonly list: readonly string[];
  readonly founding: "may" | "may-not";
  /** Drawn at random when the process starts; used once at most. */
  readonly draw: RaftClusterId;
  readonly record: FoundingRecord | null;
  readonly writing: FoundingRecord | null;
  /** Who waits for the promise that is being written. */
  readonly pendingReply: number | null;
  /** What each other address said last, and why it says nothing now. */
  readonly answers: { readonly [address: string]: { readonly standing: Standing | null; readonly failure: string | null } };
  /** Addresses that have answered at least once since the start. */
  readonly heard: readonly string[];
  /** Newest token given to each address of the list. */
  readonly tokens: { readonly [address: string]: string };
}

/** `record`: what storage holds from an earlier life of the process. */
export function foundingStart(
  start: Pick<FoundingState, "self" | "founding" | "draw" | "record"> & { readonly partners: readonly string[] },
): FoundingState {
  const list = [...new Set([start.self.address, ...start.partners])].sort();
  const { self, founding, draw, record } = start;
  return { self, list, founding, draw, record, writing: null, pendingReply: null, answers: {}, heard: [], tokens: {} };
}

interface Step {
  readonly state: FoundingState;
  readonly output: FoundingOutput;
}

const NOTHING: FoundingOutput = { ask: [], requests: [], replies: [], write: null };

export function foundingStep(state: FoundingState, event: FoundingEvent): Step {
  switch (event.kind) {
    case "tick": {
      const decided = decide(state);
      return isSettled(decided.state) ? decided : { ...decided, output: { ...decided.output, ask: others(state) } };
    }
    case "asked": {
      const known = state.list.includes(event.from.address) && state.writing === null && state.record === null;
      const next = known ? { ...state, tokens: { ...state.tokens, [event.from.address]: event.token } } : state;
      const standing = standingOf(next, known ? event.token : "");
      return { state: next, output: { ...NOTHING, replies: [{ reply: event.reply, standing }] } };
    }
    case "answer":
      return answered(state, event);
    case "promise-asked":
      return promiseAsked(state, event);
    case "written":
      return written(state);
  }
}

/** True once there is nothing more to found: the member belongs to a cluster, durably. */
export function isSettled(state: FoundingState): boolean {
  return state.record !== null && state.record.kind !== "promised";
}

/** What the member is waiting for, by name; for people. */
export function foundingWait(state: FoundingState): string {
  if (state.record?.kind === "promised") return promisedWait(state, state.record.promise);
  const clusters = [...clustersAnswered(state)];
  if (clusters.length > 1) {
    return `refusing to choose: ${clusters.map(([id, address]) => `${address} belongs to cluster ${id}`).join(", ")}; correct raft.partner_addrs`;
  }
  const reasons = others(state).flatMap((address) => emptyObstacle(state, address) ?? []);
  const founder = state.list[0] as string;
  if (reasons.length > 0) return `waiting for ${reasons.join(", ")}`;
  if (founder === state.self.address && state.founding === "may") return "everyone has answered: this member founds the cluster";
  if (founder === state.self.address) {
    return `this member has the smallest address and may not found: its data directory belongs to a cluster; waiting for one of ${others(state).join(", ")} to belong to one`;
  }
  return `waiting for ${founder} to found the cluster`;
}

function others(state: FoundingState): readonly string[] {
  const addresses = state.record?.kind === "promised" ? state.record.promise.members.map(({ address }) => address) : state.list;
  return addresses.filter((address) => address !== state.self.address);
}

function standingOf(state: FoundingState, token: string): Standing {
  const { self, list, record } = state;
  if (record === null) {
    const ready = state.writing === null && others(state).every((address) => state.heard.includes(address));
    return {
      ...self,
      list,
      state: { kind: "empty", founding: state.founding, readiness: ready ? "ready" : "asking", token },
    };
  }
  if (record.kind === "promised") return { ...self, list, state: record };
  const clusterId = record.kind === "founded" ? record.promise.clusterId : record.clusterId;
  return { ...self, list, state: { kind: "member", clusterId } };
}

function answered(state: FoundingState, event: Extract<FoundingEvent, { kind: "answer" }>): Step {
  if (!others(state).includes(event.address)) return { state, output: NOTHING };
  const standing = event.standing === null ? standingAt(state, event.address) : withoutToken(event.standing);
  const answer = { standing, failure: event.standing === null ? event.reason : null };
  const answers = { ...state.answers, [event.address]: answer };
  const heard = event.standing === null || state.heard.includes(event.address) ? state.heard : [...state.heard, event.address].sort();
  return decide({ ...state, answers, heard }, event.standing);
}

/**
 * Whoever is empty promises what a member of its own list asks of it, once. Everybody else answers with what they are.
 */
function promiseAsked(state: FoundingState, event: Extract<FoundingEvent, { kind: "promise-asked" }>): Step {
  const { promise, from } = event;
  const acceptable =
    state.record === null &&
    state.writing === null &&
    state.founding === "may" &&
    event.token !== "" &&
    state.tokens[from.address] === event.token &&
    sameList(
      promise.members.map(({ address }) => address),
      state.list,
    ) &&
    [from, state.self].every((wanted) => promise.members.some(({ id, address }) => id === wanted.id && address === wanted.address));
  if (!acceptable) return { state, output: { ...NOTHING, replies: [{ reply: event.reply, standing: standingOf(state, "") }] } };
  const write: FoundingRecord = { kind: "promised", promise };
  return { state: { ...state, writing: write, pendingReply: event.reply }, output: { ...NOTHING, write } };
}

function written(state: FoundingState): Step {
  if (state.writing === null) throw new Error("founding: nothing was being written");
  // Answers from before may speak of tokens and identities that the new stage must hear anew.
  const next = { ...state, record: state.writing, writing: null, pendingReply: null, answers: {}, tokens: {} };
  const replies = state.pendingReply === null ? [] : [{ reply: state.pendingReply, standing: standingOf(next, "") }];
  const decided = decide(next);
  const ask = isSettled(decided.state) ? [] : others(decided.state);
  return { state: decided.state, output: { ...decided.output, replies, ask } };
}

/** What follows from all that is known; `fresh`: the answer that has just come. */
function decide(state: FoundingState, fresh: Standing | null = null): Step {
  if (state.writing !== null || isSettled(state)) return { state, output: NOTHING };
  if (state.record?.kind === "promised") return decidePromised(state, state.record.promise, fresh);
  const clusters = [...clustersAnswered(state).keys()];
  if (clusters.length === 1) return write(state, { kind: "joining", clusterId: clusters[0] as RaftClusterId });
  const founder = clusters.length === 0 && state.list[0] === state.self.address && state.founding === "may";
  if (!founder || others(state).some((address) => emptyObstacle(state, address) !== null)) return { state, output: NOTHING };
  const members = state.list.map((address) => ({ id: standingAt(state, address)?.id ?? state.self.id, address }));
  return write(state, { kind: "promised", promise: { clusterId: state.draw, members } });
}

function decidePromised(state: FoundingState, promise: FoundingPromise, fresh: Standing | null): Step {
  const clusters = clustersAnswered(state);
  if (clusters.has(promise.clusterId) || isComplete(state, promise)) return write(state, { kind: "founded", promise });
  if (fresh?.state.kind !== "empty" || fresh.state.token === "") return { state, output: NOTHING };
  if (!promise.members.some(({ id }) => id === fresh.id)) return { state, output: NOTHING };
  const request = { address: fresh.address, token: fresh.state.token, promise };
  return { state, output: { ...NOTHING, requests: [request] } };
}

function write(state: FoundingState, record: FoundingRecord): Step {
  return { state: { ...state, writing: record }, output: { ...NOTHING, write: record } };
}

/** Each member has promised or is gone, and those who have promised and live are a majority. */
function isComplete(state: FoundingState, promise: FoundingPromise): boolean {
  const stages = promise.members.map((member) => stageOf(state, promise, member));
  const living = stages.filter((stage) => stage === "promised").length;
  return !stages.includes("open") && living * 2 > stages.length;
}

function stageOf(state: FoundingState, promise: FoundingPromise, member: RaftMember): "promised" | "gone" | "open" {
  const standing = standingAt(state, member.address);
  if (standing !== null && standing.id !== member.id) return "gone";
  // The founder, first by address, promised before it asked anybody.
  if (member.id === state.self.id || member === promise.members[0]) return "promised";
  return standing?.state.kind === "promised" && standing.state.promise.clusterId === promise.clusterId ? "promised" : "open";
}

function clustersAnswered(state: FoundingState): ReadonlyMap<RaftClusterId, string> {
  const clusters = new Map<RaftClusterId, string>();
  for (const address of others(state)) {
    const standing = standingAt(state, address);
    if (standing?.state.kind === "member") clusters.set(standing.state.clusterId, address);
  }
  return clusters;
}

/** Why an empty member cannot see its cluster founded because of this address; null where nothing is in the way. */
function emptyObstacle(state: FoundingState, address: string): string | null {
  const silence = silenceOf(state, address);
  if (silence !== null) return `${address} (${silence})`;
  const standing = standingAt(state, address) as Standing;
  if (standing.id === state.self.id) return `${address} (it is this member itself under another address)`;
  const twin = others(state).find((other) => other !== address && standingAt(state, other)?.id === standing.id);
  if (twin !== undefined) return `${address} (it is the same member as ${twin})`;
  if (!sameList(standing.list, state.list))
    return `${address} (its members are ${standing.list.join(", ")}; here they are ${state.list.join(", ")})`;
  if (standing.state.kind === "promised") return `${address} (it has promised to found cluster ${standing.state.promise.clusterId})`;
  if (standing.state.kind === "member") return `${address} (it belongs to cluster ${standing.state.clusterId})`;
  if (standing.state.founding === "may-not") return `${address} (it may not found: its data directory belongs to a cluster)`;
  return standing.state.readiness === "ready" ? null : `${address} (it has not heard from everyone yet)`;
}

function promisedWait(state: FoundingState, promise: FoundingPromise): string {
  const foreign = [...clustersAnswered(state)].find(([id]) => id !== promise.clusterId);
  if (foreign !== undefined) {
    return `promised to found cluster ${promise.clusterId}, but ${foreign[1]} belongs to cluster ${foreign[0]}: empty this member's folder to join it`;
  }
  const gone = promise.members.filter((member) => stageOf(state, promise, member) === "gone").map(({ address }) => address);
  if (gone.length * 2 >= promise.members.length) {
    return `promised to found cluster ${promise.clusterId}, but ${gone.join(", ")} lost what they had promised, a majority: if there never was such a cluster, empty this member's folder`;
  }
  const open = promise.members.filter((member) => stageOf(state, promise, member) === "open");
  if (open.length === 0) return `promised to found cluster ${promise.clusterId}, as all others have: it begins`;
  return `promised to found cluster ${promise.clusterId}; waiting for ${open.map(({ address }) => `${address} (${openReason(state, address)})`).join(", ")}`;
}

function openReason(state: FoundingState, address: string): string {
  const silence = silenceOf(state, address);
  if (silence !== null) return silence;
  const standing = standingAt(state, address) as Standing;
  if (standing.state.kind === "promised") return `it has promised to found cluster ${standing.state.promise.clusterId}`;
  return "it has not promised yet";
}

/** A token is used at once or never. */
function withoutToken(standing: Standing): Standing {
  return standing.state.kind === "empty" ? { ...standing, state: { ...standing.state, token: "" } } : standing;
}

function standingAt(state: FoundingState, address: string): Standing | null {
  return state.answers[address]?.standing ?? null;
}

/** Why there is no answer from the address at the moment. */
function silenceOf(state: FoundingState, address: string): string | null {
  const answer = state.answers[address];
  return answer === undefined ? "not heard yet" : answer.failure;
}

function sameList(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((address, index) => address === right[index]);
}
