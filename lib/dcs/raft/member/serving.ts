// Owns a member that belongs to a cluster: the engine and everything that answers with it. Made once the cluster is known.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { type LogIndex, logIndex, type MemberId, type RaftClusterId, type RaftMember, term } from "../../../model/raft.ts";
import { assertNever } from "../../../model/result.ts";
import { type Ms, ms } from "../../../model/units.ts";
import { everyMember, findMember, membersToDial } from "../core/configuration.ts";
import { Raft } from "../core/raft.ts";
import type { Configuration, RoleState, SnapshotMeta } from "../core/types.ts";
import { Deadlines } from "../deadlines.ts";
import type { KeyValueBounds } from "../kv/bounds.ts";
import type { ClientAnswer, ClientRequest } from "../kv/client-protocol.ts";
import { KeyValueMachine } from "../kv/machine.ts";
import type { OpenedStorage } from "../storage/open-storage.ts";
import type { PeerFrame } from "../transport/frame.ts";
import type { Transport } from "../transport/transport.ts";
import { Addresses } from "./addresses.ts";
import { Admin } from "./admin.ts";
import { Belonging, configurationsOf } from "./belonging.ts";
import type { RaftMemberConfig } from "./config.ts";
import { Engine } from "./engine.ts";
import { Expiry } from "./expiry.ts";
import { type ForwardedAnswer, Forwarder, readForwarded } from "./forwarder.ts";
import { Joiner } from "./joiner.ts";
import { Leadership } from "./leadership.ts";
import type { JoinAnswer, PeerRequest } from "./peer-protocol.ts";
import type { Questions } from "./questions.ts";
import { Reads } from "./reads.ts";
import { Requests } from "./requests.ts";
import { memberStatuses, type StatusSource } from "./status.ts";

/** A member in the configuration that hears no leader asks after so many of the longest election timeouts whether it still belongs. */
const SILENT_ELECTIONS = 5;
/** A clean stop waits no longer than this for another leader. */
const HAND_OVER_MAX_MS = 500;
/** Before the first configuration is known: a newcomer. */
const NO_CONFIGURATION: Configuration = { voters: [], outgoing: null, learners: [] };

export interface ServingOptions {
  readonly self: RaftMember;
  readonly clusterId: RaftClusterId;
  readonly founding: Configuration | null;
  readonly opened: OpenedStorage;
  /** Of the newest snapshot; null where there is none. */
  readonly snapshotBody: Uint8Array | null;
  readonly config: RaftMemberConfig;
  readonly transport: Transport;
  readonly questions: Questions;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly defer: (run: () => void) => void;
  readonly bounds: KeyValueBounds;
  /** It must stop at once; in words. */
  readonly onFault: (reason: string) => void;
}

/** `gone`: its process is not there. `back`: it is connected again already. `restarted`: the same, by another process. */
export type PeerLoss = "gone" | "silent" | "back" | "restarted";

export class Serving {
  readonly #options: ServingOptions;
  readonly #engine: Engine;
  readonly #machine: KeyValueMachine;
  readonly #deadlines: Deadlines;
  readonly #forwarder: Forwarder;
  readonly #leadership: Leadership;
  readonly #requests: Requests;
  readonly #admin: Admin;
  readonly #expiry: Expiry;
  readonly #joiner: Joiner;
  readonly #addresses: Addresses;
  #configuration: Configuration;
  #leaderSince: Ms;
  #elections = 0;
  readonly #belonging: Belonging;

  /** Throws Error where the snapshot's content cannot be read by this version. */
  constructor(options: ServingOptions) {
    const { opened, config, clock, log, self, transport } = options;
    this.#options = options;
    this.#machine = restoredMachine(options.snapshotBody, options.bounds);
    const snapshot = opened.snapshot?.meta ?? beginning(options.founding ?? NO_CONFIGURATION);
    const raft = new Raft({
      id: self.id,
      timings: config.timings,
      random: options.random,
      now: clock.now(),
      hardState: opened.hardState,
      snapshot,
      snapshotSize: opened.snapshot?.size ?? 0,
      entries: opened.entries,
      log: opened.log,
    });
    this.#configuration = raft.status().configuration;
    this.#belonging = new Belonging(self.id, [snapshot.configuration, ...configurationsOf(opened.entries)]);
    this.#leaderSince = clock.now();
    this.#deadlines = new Deadlines(clock);
    const send = (to: MemberId, frame: PeerFrame): void => transport.send(to, frame);
    this.#engine = new Engine({
      ...options,
      raft,
      storage: opened.storage,
      machine: this.#machine,
      send,
      snapshots: config.snapshots,
      onRole: (role) => this.#onRole(role),
      onConfiguration: (configuration) => this.#onConfiguration(configuration),
      onApplied: () => this.#onApplied(),
    });
    this.#forwarder = new Forwarder({ send, deadlines: this.#deadlines });
    const parts = { engine: this.#engine, machine: this.#machine, forwarder: this.#forwarder, clock, deadlines: this.#deadlines };
    this.#leadership = new Leadership(parts);
    const leader = (): RaftMember | null => this.leader;
    const reads = new Reads({ ...parts, leadership: this.#leadership });
    this.#requests = new Requests({ ...parts, leadership: this.#leadership, reads, electionMaxMs: config.timings.electionMaxMs, leader });
    this.#admin = new Admin({
      ...parts,
      self,
      log,
      leadership: this.#leadership,
      requests: this.#requests,
      configuration: () => this.#configuration,
      leader,
      ask: (address, deadline) => transport.ask(address, deadline),
      clusterId: () => options.clusterId,
    });
    this.#expiry = new Expiry(parts);
    const { clusterId } = options;
    const retryMs = config.connections.retryMs;
    const now = (): Configuration => this.#configuration;
    this.#addresses = new Addresses({ ...parts, self, log, transport, clusterId, retryMs, admin: this.#admin, configuration: now });
    this.#joiner = new Joiner({
      self,
      clusterId: () => options.clusterId,
      addresses: () => [...everyMember(this.#configuration).map(({ address }) => address), ...config.partnerAddresses],
      need: () => this.#joinNeed(),
      wasVoter: () => this.#belonging.wasVoter,
      questions: options.questions,
      clock,
      log,
      retryMs,
      answerWithinMs: config.connections.connectMs,
      onRemoved: () => this.#removed(),
    });
  }

  get leader(): RaftMember | null {
    const { leader } = this.#engine.role;
    if (leader === null) return null;
    const known = leader === this.#options.self.id ? this.#options.self : findMember(this.#configuration, leader);
    return known === null ? null : { id: known.id, address: known.address };
  }

  /** What the status document is made of. */
  get source(): StatusSource {
    return {
      core: this.#engine.status(),
      machine: this.#machine,
      leader: this.leader,
      detail: this.#belonging.isIn(this.#configuration) ? null : this.#joiner.detail || "waiting for the leader",
      isConnected: (id) => this.#forwarder.isConnected(id),
      elections: this.#elections,
      syncMs: this.#engine.syncs.meanMs,
      fsyncs: this.#engine.syncs.fsyncs,
      room: this.#options.opened.storage.room,
    };
  }

  /** The links are made, the first step is taken, and the way into the configuration is sought where it is needed. */
  start(): void {
    this.#options.transport.setPeers(membersToDial(this.#configuration));
    for (const id of this.#options.transport.connected().keys()) this.peerUp(id);
    this.#engine.push({ kind: "tick" });
    void this.#joiner.run();
  }

  peerUp(id: MemberId): void {
    this.#forwarder.up(id);
    this.#leadership.changed();
    this.#addresses.review();
  }

  peerLost(id: MemberId, how: PeerLoss): void {
    this.#forwarder.lost(id, how === "back" || how === "restarted" ? "back" : "gone");
    // The process that led is gone, also where the next one was faster than we could see.
    if (how === "gone" || how === "restarted") this.#engine.push({ kind: "peer-lost", peer: id });
    this.#leadership.changed();
  }

  peerFrame(from: MemberId, frame: Extract<PeerFrame, { readonly kind: "raft" | "forward" | "forward-answer" }>): void {
    switch (frame.kind) {
      case "raft":
        this.#engine.message(from, frame.message);
        return;
      case "forward":
        this.#answerForwarded(from, frame.id, frame.body).catch((thrown: unknown) => {
          // One request that cannot be answered must not end the member; whoever asked hears nothing and learns so by its deadline.
          this.#options.log.error(`raft: a forwarded request failed: ${thrown instanceof Error ? thrown.message : thrown}`);
        });
        return;
      case "forward-answer":
        this.#forwarder.answered(from, frame.id, frame.body);
        return;
      default:
        assertNever(frame);
    }
  }

  request(request: Exclude<ClientRequest, { readonly kind: "status" }>, deadline: Ms, gone: AbortSignal | null): Promise<ClientAnswer> {
    switch (request.kind) {
      case "command":
        return this.#requests.command(request.envelope, deadline);
      case "query":
        return this.#requests.query(request.query, deadline);
      case "watch":
        return this.#requests.watch(request, deadline, gone);
      case "members":
        return Promise.resolve({ kind: "members", members: memberStatuses(this.source, this.#options.self), leader: this.leader });
      case "add":
        return this.#admin.add(request, deadline);
      case "remove":
        return this.#admin.remove(request, deadline);
      case "transfer":
        return this.#admin.transfer(request.to, deadline);
      case "snapshot":
        return this.#admin.snapshot();
      default:
        return assertNever(request);
    }
  }

  /** Whether the member that asks belongs; on the leader, a newcomer is taken in. */
  join(request: Extract<PeerRequest, { readonly kind: "join" }>, deadline: Ms): Promise<JoinAnswer> {
    return this.#admin.join(request, deadline);
  }

  /** Hands the lead over where it has it; resolves when another member leads, or after a moment. */
  async handOver(): Promise<void> {
    const { clock } = this.#options;
    if (this.#engine.role.role !== "leader" || this.#configuration.voters.length < 2) return;
    this.#engine.push({ kind: "transfer", to: null });
    const until = ms(clock.now() + HAND_OVER_MAX_MS);
    while (this.#engine.role.role === "leader" && (await this.#leadership.change(until)));
  }

  stop(reason: string): void {
    this.#joiner.stop();
    this.#addresses.stop();
    this.#expiry.stop();
    this.#engine.stop(reason);
    this.#forwarder.close();
    this.#deadlines.close();
  }

  async #answerForwarded(from: MemberId, id: number, body: string): Promise<void> {
    const question = readForwarded(body);
    if (question === null) {
      this.#options.log.warning(`raft: member ${from} forwarded something that makes no sense`);
      return;
    }
    const answer = this.#forwarder.answerer(from, id);
    answer(await this.#forwardedAnswer(question));
  }

  /** Nothing is forwarded twice: who does not lead says so. */
  async #forwardedAnswer(question: NonNullable<ReturnType<typeof readForwarded>>): Promise<ForwardedAnswer> {
    if (this.#engine.role.role !== "leader") return { kind: "not-leader" };
    if (question.kind === "read-index") {
      return new Promise((resolve) => {
        this.#engine.readIndex((outcome) =>
          resolve(outcome.kind === "index" ? { kind: "read-index", index: outcome.index } : { kind: "not-leader" }),
        );
      });
    }
    const { request, withinMs } = question;
    const deadline = ms(this.#options.clock.now() + withinMs);
    if (request.kind === "command") return { kind: "request", answer: await this.#requests.proposed(request.envelope, deadline) };
    if (request.kind === "add" || request.kind === "remove")
      return { kind: "request", answer: await this.request(request, deadline, null) };
    return { kind: "request", answer: { kind: "refused", reason: `${request.kind} is not forwarded` } };
  }

  #onRole(role: RoleState): void {
    const { log, self, clock } = this.#options;
    if (role.role === "leader") log.info(`raft: this member leads in term ${role.term}`);
    else if (role.leader !== null) log.info(`raft: following ${this.leader?.address ?? role.leader} in term ${role.term}`);
    if (role.role === "candidate") this.#elections++;
    if (role.leader !== null) this.#leaderSince = clock.now();
    this.#expiry.lead(role.role === "leader");
    this.#forwarder.leaderChanged(role.role === "leader" ? self.id : role.leader);
    this.#leadership.changed();
    this.#addresses.review();
    this.#checkRemoval();
  }

  #onConfiguration(configuration: Configuration): void {
    const { log, transport } = this.#options;
    this.#configuration = configuration;
    log.info(`raft: members are now ${describe(configuration)}`);
    transport.setPeers(membersToDial(configuration));
    this.#belonging.see(configuration);
    this.#leadership.changed();
    this.#addresses.review();
  }

  #onApplied(): void {
    this.#expiry.review();
    this.#checkRemoval();
  }

  #checkRemoval(): void {
    if (this.#belonging.isSettled(this.#configuration)) return;
    if (this.#belonging.judge(this.#engine.status()) === "removed") this.#removed();
  }

  #removed(): void {
    const { self, onFault } = this.#options;
    onFault(`this member (${self.id}) was removed from the cluster; to join again, empty its folder and start it anew`);
  }

  #joinNeed(): "none" | "join" | "silent" {
    const { clock, config } = this.#options;
    if (this.#engine.role.leader !== null) {
      this.#leaderSince = clock.now();
      return "none";
    }
    if (!this.#belonging.isIn(this.#configuration)) return "join";
    return clock.now() - this.#leaderSince > SILENT_ELECTIONS * config.timings.electionMaxMs ? "silent" : "none";
  }
}

function restoredMachine(body: Uint8Array | null, bounds: KeyValueBounds): KeyValueMachine {
  if (body === null) return new KeyValueMachine(bounds);
  const restored = KeyValueMachine.restore(body, bounds);
  if (!restored.ok) throw new Error(`the snapshot cannot be read: ${restored.error}`);
  return restored.value;
}

function beginning(configuration: Configuration): SnapshotMeta {
  const index: LogIndex = logIndex(0);
  return { index, term: term(0), time: 0, configuration, configurationIndex: index };
}

function describe({ voters, outgoing, learners }: Configuration): string {
  const names = (members: readonly RaftMember[]): string => members.map(({ address }) => address).join(", ");
  const joining = learners.length === 0 ? "" : `; learning: ${names(learners)}`;
  return `${names(voters)}${outgoing === null ? "" : ` (before: ${names(outgoing)})`}${joining}`;
}
