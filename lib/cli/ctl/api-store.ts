// Owns seeing a cluster through the REST API of one of its nodes, ours or a Patroni's, as if it were the DCS: for an operator who reaches
// the nodes and not their store. What the API does not tell is absent; what it cannot do is refused with what to use instead.

import * as v from "valibot";
import { formatJson } from "../../core/json-text.ts";
import type { Entry, PutOptions, RequestOptions, Snapshot, Store } from "../../dcs/store.ts";
import type { Clock } from "../../model/clock.ts";
import { describeStoreError, type StoreError } from "../../model/errors.ts";
import { parseLsn } from "../../model/lsn.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type Ms, ms, type Revision, revision, seconds } from "../../model/units.ts";
import type { PeerDocument } from "../../runtime/peer-document.ts";
import type { LatePeers } from "./late-peers.ts";

/** A member that says nothing must not hold up the listing of the others. */
const MEMBER_ANSWERS_WITHIN = seconds(2);
/** The API has no blocking reads. */
const LOOK_EVERY = seconds(1);

const member = v.looseObject({
  name: v.string(),
  role: v.string(),
  state: v.string(),
  api_url: v.optional(v.string()),
  host: v.optional(v.string()),
  port: v.optional(v.number()),
  timeline: v.optional(v.number()),
  receive_lsn: v.optional(v.string()),
  replay_lsn: v.optional(v.string()),
  lsn: v.optional(v.string()),
});
type ListedMember = v.InferOutput<typeof member>;

const clusterSchema = v.object({
  scope: v.optional(v.string()),
  members: v.array(member),
  scheduled_switchover: v.optional(v.object({ at: v.string(), from: v.optional(v.string()), to: v.optional(v.string()) })),
});
type ListedCluster = v.InferOutput<typeof clusterSchema>;

/** Roles of GET /cluster that are standbys with a word of their own. */
const SYNCHRONOUS = ["sync_standby", "quorum_standby"];
/** States of GET /cluster that tell how a running standby gets its WAL. */
const REPLICATION_STATES = ["streaming", "in archive recovery"];

export class NodeApiStore implements Store {
  readonly kind = "api";
  readonly #peers: LatePeers;
  readonly #clock: Clock;
  /** Asked in this order until one answers. */
  readonly #urls: readonly string[];
  #seen: ReadonlyMap<string, Entry> = new Map();
  #revision = revision(0);

  constructor(options: { readonly peers: LatePeers; readonly clock: Clock; readonly urls: readonly string[] }) {
    this.#peers = options.peers;
    this.#clock = options.clock;
    this.#urls = options.urls;
  }

  /** The cluster's name, as the first node that answers has it. Errors: unavailable. */
  async scope(options: RequestOptions): Promise<Result<string, StoreError>> {
    const status = await this.#first((url) => this.#peers.status(url, options.deadline));
    if (!status.ok) return status;
    return status.value.value.scope === null ? unavailable("the node does not tell the name of its cluster") : ok(status.value.value.scope);
  }

  async snapshot(prefix: string, { deadline }: RequestOptions): Promise<Result<Snapshot, StoreError>> {
    const read = await this.#cluster(deadline);
    if (!read.ok) return read;
    const { url, cluster } = read.value;
    // What lies beside the cluster's own keys no API shows.
    if (!prefix.endsWith("/")) return ok({ entries: [], revision: this.#revision });
    if (cluster.scope !== undefined && !prefix.endsWith(`/${cluster.scope}/`) && prefix !== `${cluster.scope}/`) {
      return rejected(`${url} belongs to the cluster ${cluster.scope}`);
    }
    const [own, config, history, members] = await Promise.all([
      this.#peers.status(url, deadline),
      this.#text(url, "/config", deadline),
      this.#text(url, "/history", deadline),
      this.#askMembers(cluster.members, deadline),
    ]);
    if (!config.ok) return config;
    if (!history.ok) return history;
    const values = clusterValues(cluster, { own: own.ok ? own.value : null, config: config.value, history: history.value, members });
    return ok(this.#remember(prefix, values));
  }

  /** The configuration alone. It is compared with what was read right before it is written: the API takes no condition. */
  async put(key: string, value: string, { condition, deadline }: PutOptions): Promise<Result<Revision, StoreError>> {
    if (!key.endsWith("/config")) return rejected("a node's API does not write this; name the DCS with -d consul:// or raft://");
    const known = this.#seen.get(key);
    const present = await this.#first(async (url) => {
      const text = await this.#text(url, "/config", deadline);
      if (!text.ok) return err({ message: describeStoreError(text.error) });
      return text.value === null ? err({ message: "no answer to GET /config" }) : ok(text.value);
    });
    if (!present.ok) return present;
    if (condition?.kind === "revision" && (known?.revision !== condition.revision || known.value !== present.value.value)) {
      return err({ kind: "condition-failed" });
    }
    const body = JSON.parse(value) as Readonly<Record<string, unknown>>;
    const answer = await this.#peers.send("PUT", present.value.url, "/config", body, deadline);
    if (!answer.ok)
      return answer.error.kind === "unreachable"
        ? unavailable(answer.error.message)
        : err({ kind: "unknown-outcome", reason: answer.error.message });
    if (answer.value.status !== 200) return rejected(`${answer.value.status} ${answer.value.text}`);
    this.#revision = revision(this.#revision + 1);
    return ok(this.#revision);
  }

  async watch(
    prefix: string,
    after: Revision,
    options: RequestOptions & { readonly signal?: AbortSignal },
  ): Promise<Result<Snapshot, StoreError>> {
    for (;;) {
      const next = await this.snapshot(prefix, { deadline: ms(Math.max(options.deadline, this.#clock.now() + MEMBER_ANSWERS_WITHIN)) });
      if (!next.ok || next.value.revision > after || this.#clock.now() >= options.deadline) return next;
      await this.#clock.sleepUntil(ms(Math.min(options.deadline, this.#clock.now() + LOOK_EVERY)), options.signal);
      if (options.signal?.aborted) return unavailable("interrupted");
    }
  }

  async delete(): Promise<Result<never, StoreError>> {
    return rejected("a node's API removes no keys; name the DCS with -d consul:// or raft://");
  }

  async transaction(): Promise<Result<never, StoreError>> {
    return rejected("a node's API knows no transactions; name the DCS with -d consul:// or raft://");
  }

  async openSession(): Promise<Result<never, StoreError>> {
    return rejected("a node's API opens no session");
  }

  async renewSession(): Promise<Result<never, StoreError>> {
    return rejected("a node's API opens no session");
  }

  async sessionInfo(): Promise<Result<never, StoreError>> {
    return rejected("a node's API shows no session");
  }

  async closeSession(): Promise<Result<never, StoreError>> {
    return rejected("a node's API opens no session");
  }

  async limits(): Promise<Result<never, StoreError>> {
    return rejected("a node's API does not tell the limits of its store");
  }

  /** The members' client is its owner's to close. */
  async close(): Promise<void> {}

  async #cluster(deadline: Ms): Promise<Result<{ readonly url: string; readonly cluster: ListedCluster }, StoreError>> {
    const found = await this.#first(async (url) => {
      const answer = await this.#peers.send("GET", url, "/cluster", null, deadline);
      if (!answer.ok) return answer;
      if (answer.value.status !== 200) return err({ message: `GET /cluster answered ${answer.value.status} ${answer.value.text}` });
      const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(), clusterSchema), answer.value.text);
      return parsed.success ? ok(parsed.output) : err({ message: "GET /cluster: not the list of a cluster" });
    });
    return found.ok ? ok({ url: found.value.url, cluster: found.value.value }) : found;
  }

  /** Of the first node that answers. */
  async #first<T>(
    ask: (url: string) => Promise<Result<T, { readonly message: string }>>,
  ): Promise<Result<{ readonly url: string; readonly value: T }, StoreError>> {
    const reasons: string[] = [];
    for (const url of this.#urls) {
      const answer = await ask(url);
      if (answer.ok) return ok({ url, value: answer.value });
      reasons.push(`${url}: ${answer.error.message}`);
    }
    return unavailable(reasons.join("; "));
  }

  /** The body of a 200; null for anything else but a closed door, behind which there may be anything. Errors: rejected. */
  async #text(url: string, path: string, deadline: Ms): Promise<Result<string | null, StoreError>> {
    const answer = await this.#peers.send("GET", url, path, null, deadline);
    if (!answer.ok) return ok(null);
    const { status, text } = answer.value;
    if (status === 401 || status === 403) return rejected(`${url} answered ${status} to GET ${path}: ${text}; set ctl.token`);
    return ok(status === 200 ? text : null);
  }

  async #askMembers(members: readonly ListedMember[], deadline: Ms): Promise<ReadonlyMap<string, PeerDocument>> {
    const until = ms(Math.min(deadline, this.#clock.now() + MEMBER_ANSWERS_WITHIN));
    const told = await Promise.all(
      members.map(async ({ name, api_url }): Promise<[string, PeerDocument][]> => {
        const answer = api_url === undefined ? null : await this.#peers.status(api_url, until);
        return answer?.ok ? [[name, answer.value]] : [];
      }),
    );
    return new Map(told.flat());
  }

  /** A value keeps its revision until it changes. */
  #remember(prefix: string, values: ReadonlyMap<string, string>): Snapshot {
    const old = [...this.#seen.keys()];
    const next = new Map<string, Entry>();
    let changed = old.length !== values.size;
    for (const [name, value] of [...values].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const key = prefix + name;
      const known = this.#seen.get(key);
      const same = known?.value === value;
      changed ||= !same;
      next.set(key, same ? known : { key, value, revision: revision(this.#revision + 1), session: null });
    }
    this.#seen = next;
    if (changed) this.#revision = revision(this.#revision + 1);
    return { entries: [...next.values()], revision: this.#revision };
  }
}

interface Told {
  readonly own: PeerDocument | null;
  readonly config: string | null;
  readonly history: string | null;
  readonly members: ReadonlyMap<string, PeerDocument>;
}

/** The keys that a DCS would hold, without the prefix. */
function clusterValues(cluster: ListedCluster, told: Told): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  const set = (name: string, value: unknown): void => void values.set(name, typeof value === "string" ? value : formatJson(value));
  if (told.config !== null) set("config", told.config);
  if (told.history !== null) set("history", told.history);
  if (told.own?.systemIdentifier != null) set("initialize", told.own.systemIdentifier);
  const leader = cluster.members.find(({ role }) => role === "leader" || role === "standby_leader");
  if (leader !== undefined) set("leader", leader.name);
  const optime =
    leader === undefined ? null : (told.members.get(leader.name)?.walLsn ?? told.members.get(leader.name)?.replayedLsn ?? null);
  if (optime !== null) set("status", { optime });
  const standbys = cluster.members.filter(({ role }) => SYNCHRONOUS.includes(role)).map(({ name }) => name);
  if (standbys.length > 0) set("sync", { leader: leader?.name ?? null, sync_standby: standbys.join(","), quorum: 0 });
  const planned = cluster.scheduled_switchover;
  if (planned !== undefined) set("failover", { scheduled_at: planned.at, leader: planned.from, member: planned.to });
  for (const listed of cluster.members) set(`members/${listed.name}`, memberRecord(listed, told.members.get(listed.name) ?? null));
  return values;
}

function memberRecord(listed: ListedMember, document: PeerDocument | null): Readonly<Record<string, unknown>> {
  const { host, port, role, state, lsn, receive_lsn, replay_lsn, ...others } = listed;
  const position = (text: string | undefined): bigint | undefined => parseLsn(text ?? "") ?? undefined;
  const replicating = REPLICATION_STATES.includes(state);
  const { pending_restart, pending_restart_reason, scheduled_restart, tags } = others;
  return {
    ...(host === undefined ? {} : { conn_url: `postgres://${host.includes(":") ? `[${host}]` : host}:${port ?? 5432}/postgres` }),
    api_url: listed.api_url,
    state: replicating ? "running" : state,
    ...(replicating ? { replication_state: state } : {}),
    role: role === "leader" ? "primary" : role === "standby_leader" ? role : "replica",
    timeline: listed.timeline,
    xlog_location: position(lsn),
    receive_lsn: position(receive_lsn),
    replay_lsn: position(replay_lsn),
    tags,
    pending_restart,
    pending_restart_reason,
    scheduled_restart,
    ...(document?.version == null ? {} : { version: document.version }),
    ...(document?.product == null ? {} : { product: document.product }),
    ...(document?.pause === true ? { pause: true } : {}),
  };
}

function unavailable(reason: string): Result<never, StoreError> {
  return err({ kind: "unavailable", reason });
}

function rejected(reason: string): Result<never, StoreError> {
  return err({ kind: "rejected", reason });
}
