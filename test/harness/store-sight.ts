// Owns how a test sees the store of its cluster: keys by consistent reads and sessions, over Consul's own HTTP or as a client of
// the Raft; what an operator may do to it by hand.

import { openRaft as openRaftClient } from "../../lib/dcs/open-raft.ts";
import { clientConfig } from "../../lib/dcs/raft/url.ts";
import type { Snapshot, Store } from "../../lib/dcs/store.ts";
import { describeStoreError, type StoreError } from "../../lib/model/errors.ts";
import type { RaftConfig } from "../../lib/model/node-config.ts";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms, type Revision } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import type { NodePlace, Tree } from "./cluster-node.ts";
import { PASSWORDS } from "./passwords.ts";
import { recordingLog } from "./recording-log.ts";

export type StoreKind = "consul" | "raft";

/** What MATRIARCH_TEST_STORE says; Consul where it says nothing. Throws for any other word. */
export function storeOfTests(): StoreKind {
  const word = process.env["MATRIARCH_TEST_STORE"] || "consul";
  if (word === "consul" || word === "raft") return word;
  throw new Error(`MATRIARCH_TEST_STORE is ${word}; write consul or raft`);
}

/** How somebody who holds no part of a store reaches it. */
export interface StoreClient {
  /** In a file. */
  readonly section: Tree;
  /** On the command line, where no secret may stand. */
  readonly url: string;
  /** What the URL leaves out, as variables. */
  readonly secrets: Readonly<Record<string, string>>;
}

export interface SeenKey {
  readonly value: string;
  readonly session: string | null;
  readonly modifyIndex: number;
}

export interface SeenSession {
  readonly id: string;
  /** Null where the store does not tell. */
  readonly name: string | null;
  /** The `ttl` that its owner asked for, whatever this store makes of it. */
  readonly ttlMs: number;
}

/** Paths are whole ones. Everything throws where the store does not answer, or refuses. */
export interface StoreSight {
  /** Null where it is absent. */
  key(path: string): Promise<SeenKey | null>;
  /** Everything below, by path. */
  keys(prefix: string): Promise<ReadonlyMap<string, SeenKey>>;
  /** `session`: its owner from now on. */
  putKey(path: string, value: string, session?: string): Promise<void>;
  deleteKey(path: string): Promise<void>;
  /** Resolves to its id. Nobody renews it. */
  openSession(name: string, ttlMs: number): Promise<string>;
  /** Null where it does not live. */
  session(id: string): Promise<SeenSession | null>;
  endSession(id: string): Promise<void>;
  /** Hears of each value of a key, the present one first, until the signal; null: it is absent. A store that is away is asked again. */
  follow(path: string, heard: (key: SeenKey | null) => void, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const ANSWER_MAX_MS = 10_000;
/** One wait for a change of a key that is followed. */
const FOLLOW_WAIT_MS = 20_000;
const FOLLOW_PAUSE_MS = 50;
/** The shared secret of every Raft of a test. */
export const RAFT_PASSWORD = PASSWORDS.raft;

/** Asked past the product, as Consul itself has it. */
export class ConsulSight implements StoreSight {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  async key(path: string): Promise<SeenKey | null> {
    return (await this.#read(`${path}?consistent`, within())).rows.get(path) ?? null;
  }

  async keys(prefix: string): Promise<ReadonlyMap<string, SeenKey>> {
    return (await this.#read(`${prefix}?recurse&consistent`, within())).rows;
  }

  async putKey(path: string, value: string, session?: string): Promise<void> {
    const done = await this.#change("PUT", `kv/${path}${session === undefined ? "" : `?acquire=${session}`}`, value);
    if (done.trim() !== "true") throw new Error(`${path} belongs to another session`);
  }

  async deleteKey(path: string): Promise<void> {
    await this.#change("DELETE", `kv/${path}`);
  }

  async openSession(name: string, ttlMs: number): Promise<string> {
    // Consul ends a session after twice its TTL.
    const wanted = { Name: name, Checks: [], TTL: `${ttlMs / 2}ms`, Behavior: "delete", LockDelay: "1ms" };
    return (JSON.parse(await this.#change("PUT", "session/create", JSON.stringify(wanted))) as { ID: string }).ID;
  }

  async session(id: string): Promise<SeenSession | null> {
    const answer = await fetch(`${this.#url}/v1/session/info/${id}?consistent`, { signal: within() });
    const [info] = (await answer.json()) as readonly { Name: string; TTL: string }[];
    return info === undefined ? null : { id, name: info.Name, ttlMs: 2 * millisecondsOf(info.TTL) };
  }

  async endSession(id: string): Promise<void> {
    await this.#change("PUT", `session/destroy/${id}`);
  }

  async follow(path: string, heard: (key: SeenKey | null) => void, signal: AbortSignal): Promise<void> {
    let index = "0";
    await keepAsking(signal, async () => {
      const { rows, index: next } = await this.#read(`${path}?index=${index}&wait=${FOLLOW_WAIT_MS}ms`, signal);
      index = next;
      heard(rows.get(path) ?? null);
    });
  }

  async close(): Promise<void> {}

  async #read(query: string, signal: AbortSignal): Promise<{ readonly rows: ReadonlyMap<string, SeenKey>; readonly index: string }> {
    const answer = await fetch(`${this.#url}/v1/kv/${query}`, { signal });
    const text = await answer.text();
    if (!answer.ok && answer.status !== 404) throw new Error(`GET ${query}: ${answer.status} ${text}`);
    const rows = answer.status === 404 ? [] : (JSON.parse(text) as readonly ConsulRow[]);
    return { rows: new Map(rows.map((row) => [row.Key, seenRow(row)])), index: answer.headers.get("x-consul-index") ?? "0" };
  }

  async #change(method: string, path: string, body: string | null = null): Promise<string> {
    const url = `${this.#url}/v1/${path}`;
    const answer = await fetch(url, { method, body, signal: within() });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${text}`);
    return text;
  }
}

interface ConsulRow {
  readonly Key: string;
  readonly Value: string | null;
  readonly Session?: string;
  readonly ModifyIndex: number;
}

function seenRow({ Value, Session, ModifyIndex }: ConsulRow): SeenKey {
  return { value: Buffer.from(Value ?? "", "base64").toString(), session: Session ?? null, modifyIndex: ModifyIndex };
}

/** As Consul writes a duration: `1m0s`, `7.5s`, `500ms`. */
function millisecondsOf(duration: string): number {
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  return [...duration.matchAll(/([\d.]+)(ms|h|m|s)/g)].reduce(
    (sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ""] ?? NaN),
    0,
  );
}

function within(): AbortSignal {
  return AbortSignal.timeout(ANSWER_MAX_MS);
}

async function keepAsking(signal: AbortSignal, ask: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    try {
      await ask();
    } catch {
      // The store is stopped by the test itself, or this look at it is.
      if (!signal.aborted) await Bun.sleep(FOLLOW_PAUSE_MS);
    }
  }
}

/** Nothing else speaks its protocol: the product's own client, with linearizable reads. */
export class RaftSight implements StoreSight {
  readonly #places: readonly RaftAddress[];
  readonly #clock = realClock();
  #store: Store | null = null;

  constructor(places: readonly RaftAddress[]) {
    this.#places = places;
  }

  async key(path: string): Promise<SeenKey | null> {
    return (await this.keys(path)).get(path) ?? null;
  }

  async keys(prefix: string): Promise<ReadonlyMap<string, SeenKey>> {
    return seenEntries(orThrow(await this.#open().snapshot(prefix, { ...this.#within(), consistency: "consistent" })));
  }

  async putKey(path: string, value: string, session?: string): Promise<void> {
    orThrow(await this.#open().put(path, value, { ...this.#within(), ...(session === undefined ? {} : { session }) }));
  }

  async deleteKey(path: string): Promise<void> {
    orThrow(await this.#open().delete(path, this.#within()));
  }

  async openSession(name: string, ttlMs: number): Promise<string> {
    return orThrow(await this.#open().openSession({ ...this.#within(), name, ttl: ms(ttlMs) })).id;
  }

  async session(id: string): Promise<SeenSession | null> {
    const session = orThrow(await this.#open().sessionInfo(id, this.#within()));
    return session === null ? null : { id, name: null, ttlMs: session.promisedMs };
  }

  async endSession(id: string): Promise<void> {
    orThrow(await this.#open().closeSession(id, this.#within()));
  }

  async follow(path: string, heard: (key: SeenKey | null) => void, signal: AbortSignal): Promise<void> {
    let after: Revision | null = null;
    await keepAsking(signal, async () => {
      const snapshot: Snapshot =
        after === null
          ? orThrow(await this.#open().snapshot(path, { ...this.#within(), consistency: "consistent" }))
          : orThrow(await this.#open().watch(path, after, { ...this.#within(FOLLOW_WAIT_MS), signal }));
      after = snapshot.revision;
      heard(seenEntries(snapshot).get(path) ?? null);
    });
  }

  #open(): Store {
    this.#store ??= openRaft(this.#places);
    return this.#store;
  }

  #within(time = ANSWER_MAX_MS): { readonly deadline: Ms } {
    return { deadline: ms(this.#clock.now() + time) };
  }

  async close(): Promise<void> {
    await this.#store?.close();
  }
}

function seenEntries({ entries }: Snapshot): ReadonlyMap<string, SeenKey> {
  return new Map(entries.map(({ key, value, session, revision }) => [key, { value, session, modifyIndex: Number(revision) }]));
}

function orThrow<T>(answer: Result<T, StoreError>): T {
  if (answer.ok) return answer.value;
  throw new Error(describeStoreError(answer.error));
}

/** Where a test reaches a member of a Raft. */
export type RaftAddress = Pick<NodePlace, "host" | "raftPort">;

/** A client of the members at these places. */
export function openRaft(places: readonly RaftAddress[]): Store {
  return openRaftClient(raftClient(places), { clock: realClock(), log: recordingLog() });
}

/** The same in a file, and as a URL. */
export function raftStoreClient(addresses: readonly string[]): StoreClient {
  return {
    section: { raft: { partner_addrs: addresses, password: RAFT_PASSWORD } },
    url: `raft://${addresses.join(",")}`,
    secrets: { PATRONI_RAFT_PASSWORD: RAFT_PASSWORD },
  };
}

/** The section of such a client. */
export function raftClient(places: readonly RaftAddress[]): RaftConfig {
  const addresses = places.map(({ host, raftPort }) => ({ host, port: raftPort }));
  const url = { addresses, password: RAFT_PASSWORD, cafile: null, certfile: null, keyfile: null, insecure: null };
  return clientConfig(url, null);
}
