// Owns Raft members that run in this process, over real sockets and real folders, for tests and measurements.

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RemoteMembers } from "../../lib/dcs/raft/client/remote.ts";
import type { RaftTimings } from "../../lib/dcs/raft/core/types.ts";
import type { RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { type RaftMemberConfig, raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../lib/dcs/raft/member/node.ts";
import type { Disk } from "../../lib/dcs/raft/storage/disk.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { ClientDialer } from "../../lib/dcs/raft/transport/client-link.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import type { Clock } from "../../lib/model/clock.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { serverPorts } from "./ports.ts";
import { type RecordingLog, recordingLog } from "./recording-log.ts";

const START_BUDGET_MS = 20_000;
const PLAIN = { kind: "plain" } as const;

export interface RaftMembersOptions {
  readonly timings?: RaftTimings;
  readonly config?: Partial<RaftMemberConfig>;
  /** Lays something between the member of this place (counted from 0) and its folder. */
  readonly disk?: (disk: Disk, place: number) => Disk;
}

/** One place of the cluster: an address and a folder; the member in it may be stopped, killed, wiped and started. */
export class RaftPlace {
  readonly address: string;
  folder: string;
  readonly log: RecordingLog = recordingLog();
  /** Why the member stopped by itself; null while it did not. */
  stopped: string | null = null;
  #node: RaftMemberNode | null = null;
  readonly #config: RaftMemberConfig;
  readonly #clock: Clock;

  readonly #disk: (disk: Disk) => Disk;

  constructor(config: RaftMemberConfig, clock: Clock, disk: (disk: Disk) => Disk) {
    this.#disk = disk;
    this.address = config.selfAddress;
    this.folder = mkdtempSync(join(tmpdir(), "raft-"));
    this.#config = config;
    this.#clock = clock;
  }

  get node(): RaftMemberNode {
    if (this.#node === null) throw new Error(`no member runs at ${this.address}`);
    return this.#node;
  }

  get running(): boolean {
    return this.#node !== null;
  }

  get status(): RaftStatus {
    return this.node.status();
  }

  /** Throws Error where it does not start. */
  async start(changes: Partial<RaftMemberConfig> = {}): Promise<void> {
    const disk = openFileDisk(this.folder);
    if (!disk.ok) throw disk.error;
    const config = { ...this.#config, ...changes };
    const clock = this.#clock;
    const network = tcpNetwork({ clock, security: config.security, log: this.log });
    const node = new RaftMemberNode({ disk: this.#disk(disk.value), network, clock, random, log: this.log, config });
    this.stopped = null;
    node.onStopped = (reason) => {
      this.stopped = reason;
      this.#node = null;
    };
    const started = await node.start();
    if (!started.ok) throw new Error(started.error);
    this.#node = node;
  }

  async stop(mode: "clean" | "immediate"): Promise<void> {
    const node = this.#node;
    this.#node = null;
    await node?.stop(mode);
  }

  /** Its folder is empty from now on. */
  wipe(): void {
    rmSync(this.folder, { recursive: true });
    this.folder = mkdtempSync(join(tmpdir(), "raft-"));
  }

  /** A store over the member in this process. */
  store(): RaftStore {
    const channel = { request: (...request: Parameters<RaftMemberNode["request"]>) => this.node.request(...request) };
    return new RaftStore({ channel, clock: this.#clock, random });
  }
}

export class RaftMembers {
  readonly clock: Clock = realClock();
  readonly places: RaftPlace[] = [];
  readonly #options: RaftMembersOptions;

  private constructor(options: RaftMembersOptions) {
    this.#options = options;
  }

  /** So many members, started at once; resolves when one of them leads. */
  static async start(count: number, options: RaftMembersOptions = {}): Promise<RaftMembers> {
    const members = await RaftMembers.prepare(count, options);
    await Promise.all(members.places.map((place) => place.start()));
    await members.leader();
    return members;
  }

  /** So many places that know of each other; nothing runs. */
  static async prepare(count: number, options: RaftMembersOptions = {}): Promise<RaftMembers> {
    const members = new RaftMembers(options);
    const addresses = (await serverPorts(count)).map((port) => `127.0.0.1:${port}`);
    for (const address of addresses) members.#place(address, addresses);
    return members;
  }

  /** A place whose member, once started, joins the others. */
  async newcomer(): Promise<RaftPlace> {
    const [port] = await serverPorts(1);
    return this.#place(`127.0.0.1:${port}`, this.addresses);
  }

  get addresses(): readonly string[] {
    return this.places.map(({ address }) => address);
  }

  /** Waits for a member that leads and has applied something. */
  async leader(): Promise<RaftPlace> {
    return this.until(() => this.places.find((place) => place.running && place.status.role === "leader" && place.status.applied > 0));
  }

  /** Looks again and again until the probe gives something. Throws Error after a while. */
  async until<T>(probe: () => T | undefined | false | null, budgetMs: number = START_BUDGET_MS): Promise<T> {
    const end = this.clock.now() + budgetMs;
    for (;;) {
      const found = probe();
      if (found !== undefined && found !== false && found !== null) return found;
      if (this.clock.now() > end) throw new Error(`nothing happened within ${budgetMs} ms:\n${this.describe()}`);
      await this.clock.sleepUntil(ms(this.clock.now() + 2));
    }
  }

  /** A store over the network, to all members. */
  remoteStore(addresses: readonly string[] = this.addresses): RaftStore {
    const log = recordingLog();
    const network = tcpNetwork({ clock: this.clock, security: this.#security, log });
    const channel = new RemoteMembers({ addresses, network, clock: this.clock, random, security: this.#security, silentMs: 2000, log });
    return new RaftStore({ channel, clock: this.clock, random, close: () => channel.close() });
  }

  /** One request's text to one address, as any client could send it; its answer's text. Throws Error where there is none. */
  async askText(address: string, body: string): Promise<string> {
    const network = tcpNetwork({ clock: this.clock, security: this.#security, log: recordingLog() });
    const dialer = new ClientDialer({ network, clock: this.clock, random, security: this.#security, silentMs: 2000 });
    const deadline = ms(this.clock.now() + START_BUDGET_MS);
    const link = await dialer.connect(address, deadline);
    if (!link.ok) throw new Error(link.error.message);
    const answer = await link.value.request(body, deadline);
    link.value.close();
    if (!answer.ok) throw new Error(answer.error.reason);
    return answer.value;
  }

  async close(): Promise<void> {
    await Promise.all(this.places.map((place) => place.stop("immediate")));
    for (const { folder } of this.places) rmSync(folder, { recursive: true, force: true });
  }

  /** For a failure's message. */
  describe(): string {
    return this.places
      .map((place) =>
        [`${place.address}: ${place.running ? JSON.stringify(place.status) : place.stopped}`, ...place.log.lines.slice(-8)].join("\n  "),
      )
      .join("\n");
  }

  get #security() {
    return this.#options.config?.security ?? PLAIN;
  }

  #place(address: string, addresses: readonly string[]): RaftPlace {
    const { timings, config, disk } = this.#options;
    const number = this.places.length;
    const partnerAddresses = addresses.filter((other) => other !== address);
    const place = new RaftPlace(
      raftMemberConfig({
        selfAddress: address,
        partnerAddresses,
        security: PLAIN,
        ...(timings === undefined ? {} : { timings }),
        ...config,
      }),
      this.clock,
      (folder) => disk?.(folder, number) ?? folder,
    );
    this.places.push(place);
    return place;
  }
}

function random(bytes: number): Uint8Array {
  return randomBytes(bytes);
}
