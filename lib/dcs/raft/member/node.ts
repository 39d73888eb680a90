// Owns one Raft member from its folder to its last answer: it opens the storage, listens, founds or joins a cluster, serves, and
// stops. The same in production (in a Worker, worker.ts) and in the simulator: everything outside comes in.

import type { Clock } from "../../../model/clock.ts";
import type { Log } from "../../../model/log.ts";
import { type MemberId, memberId, type RaftClusterId, type RaftMember, raftClusterId } from "../../../model/raft.ts";
import { err, ok, type Result } from "../../../model/result.ts";
import type { Ms } from "../../../model/units.ts";
import { foundingConfiguration } from "../core/configuration.ts";
import { type FoundingRecord, foundingStart, type Standing } from "../core/founding.ts";
import { KEY_VALUE_BOUNDS, type KeyValueBounds } from "../kv/bounds.ts";
import { type ClientAnswer, type ClientRequest, type RaftStatus, readClientRequest, writeClientAnswer } from "../kv/client-protocol.ts";
import { type Disk, DiskError } from "../storage/disk.ts";
import type { StoredIdentity } from "../storage/identity.ts";
import { type OpenedStorage, openStorage } from "../storage/open-storage.ts";
import type { PeerFrame } from "../transport/frame.ts";
import type { TransportIdentity } from "../transport/hello.ts";
import type { LostCause } from "../transport/link.ts";
import type { Network } from "../transport/network.ts";
import { type ClientRequestFrame, Transport } from "../transport/transport.ts";
import type { RaftMemberConfig } from "./config.ts";
import { Founder } from "./founder.ts";
import { isPeerRequest, readPeerRequest, writeJoinAnswer, writeStanding } from "./peer-protocol.ts";
import { Questions } from "./questions.ts";
import { type PeerLoss, Serving } from "./serving.ts";
import { writeShortAnswer } from "./short-answer.ts";
import { EMPTY_STATUS, servingStatus } from "./status.ts";

export interface RaftMemberOptions {
  readonly disk: Disk;
  readonly network: Network;
  readonly clock: Clock;
  /** So many unguessable bytes. */
  readonly random: (bytes: number) => Uint8Array;
  readonly log: Log;
  readonly config: RaftMemberConfig;
  /** Runs later, once, after everything that has already arrived in this turn of the event loop. Default: setImmediate. */
  readonly defer?: (run: () => void) => void;
  /** For the simulator, whose logs are short, and so is what its watches look back on. */
  readonly segmentBytes?: number;
  readonly bounds?: KeyValueBounds;
}

const IDENTITY_BYTES = 16;

export class RaftMemberNode {
  /** Once, when it stops without having been asked to; in words. Everything is closed by then. */
  onStopped: (reason: string) => void = () => {};
  readonly #options: RaftMemberOptions;
  #opened: OpenedStorage | null = null;
  #identity: StoredIdentity | null = null;
  #transport: Transport | null = null;
  #questions: Questions | null = null;
  #founder: Founder | null = null;
  #serving: Serving | null = null;
  #state: "new" | "running" | "stopping" | "stopped" = "new";
  #closing: Promise<void> | null = null;

  constructor(options: RaftMemberOptions) {
    this.#options = options;
  }

  /**
   * Once. Ok: it listens, and founds, joins or serves from here on by itself. The error says what is wrong with the folder or
   * the address, and what to do; nothing is left open then.
   */
  async start(): Promise<Result<null, string>> {
    if (this.#state !== "new") throw new Error("a member is started once");
    this.#state = "running";
    const { disk, log, segmentBytes } = this.#options;
    const opened = await openStorage({ disk, log, ...(segmentBytes === undefined ? {} : { segmentBytes }) });
    if (!opened.ok) {
      this.#state = "stopped";
      return err(opened.error.message);
    }
    this.#opened = opened.value;
    try {
      const started = await this.#open(opened.value);
      if (!started.ok) await this.#close("it did not start");
      return started;
    } catch (thrown) {
      await this.#close("it did not start");
      if (thrown instanceof DiskError) return err(thrown.message);
      throw thrown;
    }
  }

  /** Answers at the deadline at the latest, whatever happens. `gone`: nobody waits for the answer any more. */
  request(request: ClientRequest, deadline: Ms, gone: AbortSignal | null = null): Promise<ClientAnswer> {
    if (request.kind === "status") return Promise.resolve({ kind: "status", status: this.status() });
    const refusal = this.#refusal(deadline);
    if (refusal !== null || this.#serving === null) {
      return Promise.resolve({ kind: "unavailable", reason: refusal ?? this.#founder?.waiting ?? "this member starts" });
    }
    return this.#serving.request(request, deadline, gone);
  }

  #refusal(deadline: Ms): string | null {
    if (this.#state !== "running") return "this member is stopped";
    return this.#options.clock.now() >= deadline ? "the deadline had passed" : null;
  }

  status(): RaftStatus {
    const { selfAddress } = this.#options.config;
    const identity = this.#identity;
    const self = identity === null ? { id: NOBODY, address: selfAddress } : { id: identity.memberId, address: selfAddress };
    if (this.#serving !== null) return servingStatus(this.#serving.source, self, identity?.clusterId ?? null);
    return { ...EMPTY_STATUS, member: self, cluster: identity?.clusterId ?? null, detail: this.#founder?.waiting ?? "starting" };
  }

  /** `clean`: another member takes over the lead first. Resolves when everything is closed. */
  async stop(mode: "clean" | "immediate"): Promise<void> {
    if (this.#state === "running") {
      if (mode === "clean") await this.#serving?.handOver();
      if (this.#state === "running") await this.#close("this member stops");
    }
    await this.#closing;
  }

  async #open(opened: OpenedStorage): Promise<Result<null, string>> {
    const { config, clock, network, random, log } = this.#options;
    this.#identity = await this.#ownIdentity(opened);
    const transport = new Transport({
      network,
      clock,
      random,
      log,
      identity: () => this.#transportIdentity(),
      security: config.security,
      timings: config.connections,
    });
    this.#transport = transport;
    this.#questions = new Questions({ network, clock, random, security: config.security, silentMs: config.connections.silentMs });
    transport.onPeerUp = (id) => this.#serving?.peerUp(id);
    transport.onPeerLost = (id, cause) => this.#serving?.peerLost(id, lostAs(cause));
    transport.onPeerFrame = (from, frame) => this.#onPeerFrame(from, frame);
    transport.onClientRequest = (request, answer) => void this.#onClientRequest(request, answer);
    const record = recordOf(this.#identity);
    if (record !== null && record.kind !== "promised") await this.#serve(opened);
    else this.#found(opened, transport, record);
    const listening = await transport.listen(config.bindAddress);
    return listening.ok ? ok(null) : listening;
  }

  /** Drawn once for a folder and never again. */
  async #ownIdentity(opened: OpenedStorage): Promise<StoredIdentity> {
    const address = this.#options.config.selfAddress;
    const known = opened.identity;
    if (known?.address === address) return known;
    if (known !== null)
      this.#options.log.info(`raft: this member's address was ${known.address} and is ${address} now: the leader enters it for the others`);
    const fresh = { memberId: this.#draw(memberId), clusterId: null, promise: null, founding: null };
    const identity: StoredIdentity = { ...(known ?? fresh), address };
    await opened.storage.writeIdentity(identity);
    return identity;
  }

  #found(opened: OpenedStorage, transport: Transport, record: FoundingRecord | null): void {
    const { config, clock, log, random } = this.#options;
    const founder = new Founder({
      state: foundingStart({
        self: this.#self(),
        partners: config.partnerAddresses,
        founding: config.founding,
        draw: this.#draw(raftClusterId),
        record,
      }),
      questions: this.#askedOthers(),
      clock,
      log,
      random,
      answerWithinMs: config.connections.connectMs,
      write: (next) => this.#writeRecord(opened, next),
    });
    this.#founder = founder;
    founder.run().then(
      async (settled) => {
        if (settled === null || this.#state !== "running") return;
        log.info(`raft: this member ${settled.kind === "founded" ? "has founded" : "joins"} cluster ${this.#clusterId()}`);
        transport.identityChanged();
        await this.#serve(opened);
      },
      (thrown: unknown) => this.#halt(`its identity cannot be written: ${thrown instanceof Error ? thrown.message : thrown}`),
    );
  }

  async #writeRecord(opened: OpenedStorage, record: FoundingRecord): Promise<void> {
    const identity = identityOf(this.#identity as StoredIdentity, record);
    await opened.storage.writeIdentity(identity);
    this.#identity = identity;
  }

  async #serve(opened: OpenedStorage): Promise<void> {
    const { clock, log, random, config, defer } = this.#options;
    const snapshotBody = opened.snapshot === null ? null : await opened.storage.loadSnapshot(opened.snapshot.meta);
    if (this.#state !== "running" || this.#transport === null) return;
    this.#serving = new Serving({
      self: this.#self(),
      clusterId: this.#clusterId(),
      founding: this.#identity?.founding ?? null,
      opened,
      snapshotBody,
      config,
      transport: this.#transport,
      questions: this.#askedOthers(),
      clock,
      log,
      random: () => random(4).reduce((drawn, byte) => drawn * 256 + byte, 0) / 2 ** 32,
      defer: defer ?? ((run) => void setImmediate(run)),
      bounds: this.#options.bounds ?? KEY_VALUE_BOUNDS,
      onFault: (reason) => this.#halt(reason),
    });
    this.#serving.start();
  }

  #onPeerFrame(from: MemberId, frame: PeerFrame): void {
    // Founding is asked by clients' requests: those that found do not know each other's identity yet.
    if (frame.kind !== "founding") this.#serving?.peerFrame(from, frame);
  }

  /** One request that cannot be answered must not end a member: whoever sent it would repeat it to the next one. */
  async #onClientRequest(frame: ClientRequestFrame, answer: (body: string) => void): Promise<void> {
    let text: string;
    try {
      text = await this.#answerText(frame);
    } catch (thrown) {
      const reason = thrown instanceof Error ? thrown.message : String(thrown);
      this.#options.log.error(`raft: a request of ${frame.remote} could not be answered: ${reason}`);
      text = writeClientAnswer({ kind: "unknown-outcome", reason: `the member failed to answer: ${reason}` });
    }
    answer(text);
  }

  async #answerText({ body, deadline, gone }: ClientRequestFrame): Promise<string> {
    if (isPeerRequest(body)) return this.#answerPeer(body, deadline);
    const request = readClientRequest(body);
    if (!request.ok) return writeClientAnswer({ kind: "refused", reason: request.error });
    return writeShortAnswer(await this.request(request.value, deadline, gone));
  }

  async #answerPeer(body: string, deadline: Ms): Promise<string> {
    const request = readPeerRequest(body);
    if (request === null) return writeClientAnswer({ kind: "refused", reason: "no question that members ask" });
    if (request.kind !== "join") return writeStanding(await this.#standing(request));
    if (this.#serving === null) return writeJoinAnswer({ kind: "ask-leader", address: null });
    return writeJoinAnswer(await this.#serving.join(request, deadline));
  }

  async #standing(request: Parameters<Founder["answer"]>[0]): Promise<Standing> {
    const clusterId = this.#identity?.clusterId ?? null;
    if (clusterId === null && this.#founder !== null) return this.#founder.answer(request);
    return { ...this.#self(), list: this.#list(), state: { kind: "member", clusterId: this.#clusterId() } };
  }

  #transportIdentity(): TransportIdentity {
    const { memberId: id, clusterId, promise } = this.#identity as StoredIdentity;
    const state = clusterId !== null ? "member" : promise !== null ? "promised" : "empty";
    return { memberId: id, clusterId, address: this.#options.config.selfAddress, list: this.#list(), state };
  }

  #list(): readonly string[] {
    const { selfAddress, partnerAddresses } = this.#options.config;
    return [...new Set([selfAddress, ...partnerAddresses])].sort();
  }

  #self(): RaftMember {
    const { memberId: id, address } = this.#identity as StoredIdentity;
    return { id, address };
  }

  #clusterId(): RaftClusterId {
    const id = this.#identity?.clusterId ?? null;
    if (id === null) throw new Error("this member belongs to no cluster yet");
    return id;
  }

  #askedOthers(): Questions {
    if (this.#questions === null) throw new Error("questions are asked before the member is open");
    return this.#questions;
  }

  #draw<T>(parse: (text: string) => T | null): T {
    const drawn = parse(Buffer.from(this.#options.random(IDENTITY_BYTES)).toString("hex"));
    if (drawn === null) throw new Error("the random source gives no identity");
    return drawn;
  }

  /** Stops at once, for a reason of its own. */
  #halt(reason: string): void {
    if (this.#state !== "running") return;
    this.#options.log.critical(`raft: this member stops: ${reason}`);
    void this.#close(reason).then(() => this.onStopped(reason));
  }

  #close(reason: string): Promise<void> {
    this.#state = "stopping";
    this.#founder?.stop();
    this.#serving?.stop(reason);
    this.#questions?.close();
    this.#transport?.close();
    this.#closing ??= (async () => {
      await this.#opened?.storage.close();
      this.#state = "stopped";
    })();
    return this.#closing;
  }
}

function recordOf({ clusterId, promise, founding }: StoredIdentity): FoundingRecord | null {
  if (clusterId === null) return promise === null ? null : { kind: "promised", promise };
  return founding !== null && promise !== null ? { kind: "founded", promise } : { kind: "joining", clusterId };
}

function identityOf(self: Pick<StoredIdentity, "memberId" | "address">, record: FoundingRecord): StoredIdentity {
  switch (record.kind) {
    case "promised":
      return { ...self, clusterId: null, promise: record.promise, founding: null };
    case "founded": {
      const { clusterId, members } = record.promise;
      return { ...self, clusterId, promise: record.promise, founding: foundingConfiguration(members) };
    }
    case "joining":
      return { ...self, clusterId: record.clusterId, promise: null, founding: null };
  }
}

function lostAs(cause: LostCause): PeerLoss {
  if (cause === "gone" || cause === "restarted") return cause;
  return cause === "replaced" ? "back" : "silent";
}

/** Before the folder is read nobody has an identity. */
const NOBODY = "0".repeat(32) as MemberId;
