// Owns a store that a test keeps by itself, beside all nodes: a Consul agent, or a Raft of one member without PostgreSQL. Nodes are
// its clients. Its faults and its end are the test's.

import { Consul } from "./consul.ts";
import { type RaftProcess, RaftProcesses } from "./raft-processes.ts";
import { ConsulSight, RaftSight, raftStoreClient, type StoreClient, type StoreKind, type StoreSight, storeOfTests } from "./store-sight.ts";

export interface OutsideStore {
  readonly kind: StoreKind;
  readonly client: StoreClient;
  /** Where it serves its clients. */
  readonly port: number;
  /** A client that goes by another port of loopback, behind which somebody passes everything on. */
  clientBy(port: number): StoreClient;
  /** A look at it; the caller closes it. */
  sight(): StoreSight;
  /** SIGKILL; what it wrote stays. */
  kill(): Promise<void>;
  /** Started again with what it wrote; resolves when it serves. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when it serves. */
export async function startOutsideStore(kind: StoreKind = storeOfTests()): Promise<OutsideStore> {
  return kind === "consul" ? new OutsideConsul(await Consul.start()) : await OutsideRaft.start();
}

export class OutsideConsul implements OutsideStore {
  readonly kind = "consul";
  readonly consul: Consul;

  constructor(consul: Consul) {
    this.consul = consul;
  }

  get client(): StoreClient {
    return consulClient(this.consul.url);
  }

  get port(): number {
    return this.consul.httpPort;
  }

  clientBy(port: number): StoreClient {
    return consulClient(`http://127.0.0.1:${port}`);
  }

  sight(): StoreSight {
    return new ConsulSight(this.consul.url);
  }

  kill(): Promise<void> {
    return this.consul.kill();
  }

  restart(): Promise<void> {
    return this.consul.restart();
  }

  stop(): Promise<void> {
    return this.consul.stop();
  }
}

class OutsideRaft implements OutsideStore {
  readonly kind = "raft";
  readonly #raft: RaftProcesses;
  readonly #member: RaftProcess;

  private constructor(raft: RaftProcesses, member: RaftProcess) {
    this.#raft = raft;
    this.#member = member;
  }

  static async start(): Promise<OutsideRaft> {
    const raft = await RaftProcesses.make(1);
    const [member] = raft.members as [RaftProcess];
    const outside = new OutsideRaft(raft, member);
    await outside.restart();
    return outside;
  }

  get client(): StoreClient {
    return this.clientBy(this.port);
  }

  get port(): number {
    return this.#member.place.raftPort;
  }

  clientBy(port: number): StoreClient {
    return raftStoreClient([`127.0.0.1:${port}`]);
  }

  sight(): StoreSight {
    return new RaftSight([this.#member.place]);
  }

  kill(): Promise<void> {
    return this.#member.kill();
  }

  async restart(): Promise<void> {
    this.#member.start();
    await this.#raft.untilServing(1);
  }

  stop(): Promise<void> {
    return this.#raft.stop();
  }
}

function consulClient(url: string): StoreClient {
  return { section: { consul: { url, register_service: false } }, url: url.replace("http:", "consul:"), secrets: {} };
}
