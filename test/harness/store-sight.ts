// Owns how a test sees the store of its cluster: single keys by consistent reads, over Consul's own HTTP or as a client of the
// Raft; what an operator may do to it by hand; and the section that makes a node a member of a Raft.

import { join } from "node:path";
import { openStore } from "../../lib/dcs/open-store.ts";
import { clientConfig } from "../../lib/dcs/raft/url.ts";
import type { Store } from "../../lib/dcs/store.ts";
import { describeStoreError, type StoreError } from "../../lib/model/errors.ts";
import type { RaftConfig } from "../../lib/model/node-config.ts";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import type { NodePlace, Tree } from "./cluster-node.ts";
import { recordingLog } from "./recording-log.ts";

export type StoreKind = "consul" | "raft";

/** What MATRIARCH_TEST_STORE says; Consul where it says nothing. Throws for any other word. */
export function storeOfTests(): StoreKind {
  const word = process.env["MATRIARCH_TEST_STORE"] || "consul";
  if (word === "consul" || word === "raft") return word;
  throw new Error(`MATRIARCH_TEST_STORE is ${word}; write consul or raft`);
}

export interface SeenKey {
  readonly value: string;
  readonly session: string | null;
  readonly modifyIndex: number;
}

export interface StoreSight {
  /** Null where it is absent. Throws where the store does not answer. */
  key(path: string): Promise<SeenKey | null>;
  /** Throw where the store refuses. */
  putKey(path: string, value: string): Promise<void>;
  deleteKey(path: string): Promise<void>;
  endSession(id: string): Promise<void>;
  close(): Promise<void>;
}

const ANSWER_MAX_MS = 3_000;
/** The shared secret of every Raft of a test. */
export const RAFT_PASSWORD = "secret of the members";

/** Asked past the product, as Consul itself has it. */
export class ConsulSight implements StoreSight {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async key(path: string): Promise<SeenKey | null> {
    const answer = await fetch(`${this.#url}/v1/kv/${path}?consistent`, { signal: AbortSignal.timeout(ANSWER_MAX_MS) });
    if (answer.status === 404) return null;
    const [row] = (await answer.json()) as readonly { Value: string | null; Session?: string; ModifyIndex: number }[];
    if (row === undefined) return null;
    return { value: Buffer.from(row.Value ?? "", "base64").toString(), session: row.Session ?? null, modifyIndex: row.ModifyIndex };
  }

  async putKey(path: string, value: string): Promise<void> {
    await this.#change("PUT", `kv/${path}`, value);
  }

  async deleteKey(path: string): Promise<void> {
    await this.#change("DELETE", `kv/${path}`);
  }

  async endSession(id: string): Promise<void> {
    await this.#change("PUT", `session/destroy/${id}`);
  }

  async close(): Promise<void> {}

  async #change(method: string, path: string, body: string | null = null): Promise<void> {
    const url = `${this.#url}/v1/${path}`;
    const answer = await fetch(url, { method, body, signal: AbortSignal.timeout(ANSWER_MAX_MS) });
    if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  }
}

/** Nothing else speaks its protocol: the product's own client, with linearizable reads. */
export class RaftSight implements StoreSight {
  readonly #places: readonly NodePlace[];
  readonly #clock = realClock();
  #store: Store | null = null;

  constructor(places: readonly NodePlace[]) {
    this.#places = places;
  }

  async key(path: string): Promise<SeenKey | null> {
    const { entries } = orThrow(await this.#open().snapshot(path, { ...this.#within(), consistency: "consistent" }));
    const entry = entries.find(({ key }) => key === path);
    return entry === undefined ? null : { value: entry.value, session: entry.session, modifyIndex: Number(entry.revision) };
  }

  async putKey(path: string, value: string): Promise<void> {
    orThrow(await this.#open().put(path, value, this.#within()));
  }

  async deleteKey(path: string): Promise<void> {
    orThrow(await this.#open().delete(path, this.#within()));
  }

  async endSession(id: string): Promise<void> {
    orThrow(await this.#open().closeSession(id, this.#within()));
  }

  #open(): Store {
    this.#store ??= openRaft(this.#places);
    return this.#store;
  }

  #within(): { readonly deadline: Ms } {
    return { deadline: ms(this.#clock.now() + ANSWER_MAX_MS) };
  }

  async close(): Promise<void> {
    await this.#store?.close();
  }
}

function orThrow<T>(answer: Result<T, StoreError>): T {
  if (answer.ok) return answer.value;
  throw new Error(describeStoreError(answer.error));
}

/** A client of the members at these places. */
export function openRaft(places: readonly NodePlace[]): Store {
  return openStore({ consul: null, raft: raftClient(places) }, { clock: realClock(), log: recordingLog() });
}

/** The section of such a client. */
export function raftClient(places: readonly NodePlace[]): RaftConfig {
  const addresses = places.map(({ host, raftPort }) => ({ host, port: raftPort }));
  const url = { addresses, password: RAFT_PASSWORD, cafile: null, certfile: null, keyfile: null, insecure: null };
  return clientConfig(url, null);
}

/** The `raft` section of the node at `place`. */
export function raftSection(place: NodePlace, places: readonly NodePlace[]): Tree {
  return {
    self_addr: `${place.peerHost}:${place.raftPort}`,
    bind_addr: place.host === place.peerHost ? `${place.host}:${place.raftPort}` : `0.0.0.0:${place.raftPort}`,
    partner_addrs: places.filter((other) => other !== place).map((other) => `${other.peerHost}:${other.raftPort}`),
    data_dir: join(place.folder, "raft"),
    password: RAFT_PASSWORD,
  };
}
