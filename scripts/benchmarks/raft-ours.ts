// Owns the built-in Raft as a system that is measured: three members as processes of their own, with the product's defaults,
// driven over the protocol that nodes without a member use.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { RaftChannel } from "../../lib/dcs/raft/client/channel.ts";
import { RemoteMembers } from "../../lib/dcs/raft/client/remote.ts";
import type { RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import type { Log } from "../../lib/model/log.ts";
import { PRODUCT_VERSION } from "../../lib/model/product.ts";
import type { Result } from "../../lib/model/result.ts";
import { type Ms, ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { freePorts } from "../../test/harness/consul.ts";
import { type Client, found, type RaftSystem, REQUEST_BUDGET_MS, SERVERS, type Server } from "./raft-system.ts";

export const PLAIN = { kind: "plain" } as const;
const quiet = (): void => {};
export const log: Log = { debug: quiet, info: quiet, warning: quiet, error: console.error, critical: console.error };
export const clock = realClock();
export const random = (bytes: number): Uint8Array => randomBytes(bytes);
export const THREAD_ENTRY = new URL("../../lib/runtime/raft-thread.ts", import.meta.url);
/** A member that does not say of itself who leads is asked again. */
const STATUS_WITHIN_MS = 1000;

export async function startOurs(folder: string): Promise<RaftSystem> {
  const addresses = await memberAddresses();
  const members = addresses.map((address) => new Member({ address, addresses, folder: join(folder, address), shape: "alone" }));
  await Promise.all(members.map((member) => member.start()));
  return {
    name: "ours",
    version: PRODUCT_VERSION,
    servers: members,
    leader: () => leaderOf(members),
    client: (to) => {
      const channel = remote(members.filter((member) => to.includes(member)).map(({ address }) => address));
      return new OurClient(channel, () => channel.close());
    },
    close: async () => void (await Promise.all(members.map((member) => member.end()))),
  };
}

export async function memberAddresses(): Promise<readonly string[]> {
  return (await freePorts(SERVERS)).map((port) => `127.0.0.1:${port}`);
}

/** A member as a process. */
export class Member implements Server {
  readonly address: string;
  /** Memory of its process before there was a member in it, PSS in MiB. */
  beforeMiB = 0;
  readonly #words: readonly string[];
  #process: ChildProcess | null = null;

  /** `thread`: in a Worker, as in a supervisor; `alone`: as a witness. */
  constructor(options: {
    readonly address: string;
    readonly addresses: readonly string[];
    readonly folder: string;
    readonly shape: "thread" | "alone";
  }) {
    const { address, addresses, folder, shape } = options;
    mkdirSync(folder, { recursive: true });
    this.address = address;
    const program = [join(import.meta.dir, "raft-member.ts"), ...(shape === "thread" ? ["--thread"] : [])];
    this.#words = [...program, folder, address, ...addresses.filter((other) => other !== address)];
  }

  get name(): string {
    return this.address;
  }

  get pid(): number {
    if (this.#process?.pid === undefined) throw new Error(`${this.address} does not run`);
    return this.#process.pid;
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, ["run", ...this.#words], { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    const line = await new Promise<string>((resolve, reject) => {
      child.stdout?.once("data", (text: Buffer) => resolve(text.toString()));
      child.once("exit", (code) => reject(new Error(`the member at ${this.address} ended with status ${code}`)));
    });
    this.beforeMiB = Number(line.split(" ")[1]);
  }

  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGTERM"): void {
    this.#process?.kill(signal);
  }

  async end(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
}

/** The leader that all of them follow. */
export async function leaderOf(members: readonly Member[]): Promise<Member> {
  return found("all members follow one leader", async () => {
    const statuses = await Promise.all(members.map(({ address }) => statusAt(address)));
    const leaders = new Set(statuses.map((status) => status?.leader?.address));
    const [leader] = leaders;
    return leaders.size === 1 ? members.find(({ address }) => address === leader) : undefined;
  });
}

export async function statusAt(address: string): Promise<RaftStatus | null> {
  const client = remote([address]);
  const answer = await client.request({ kind: "status" }, ms(clock.now() + STATUS_WITHIN_MS));
  client.close();
  return answer.kind === "status" ? answer.status : null;
}

export function remote(addresses: readonly string[]): RemoteMembers {
  const network = tcpNetwork({ clock, security: PLAIN, log });
  return new RemoteMembers({ addresses, network, clock, random, security: PLAIN, silentMs: 2000, log });
}

/** The product's own store, whatever it goes through. */
export class OurClient implements Client {
  readonly #store: RaftStore;
  readonly #close: () => void;

  constructor(channel: RaftChannel, close: () => void = quiet) {
    this.#store = new RaftStore({ channel, clock, random });
    this.#close = close;
  }

  async put(key: string, value: string): Promise<void> {
    must(await this.#store.put(key, value, within()));
  }

  async putForAWhile(key: string, ttlMs: number): Promise<void> {
    const session = must(await this.#store.openSession({ ...within(), name: key, ttl: ms(ttlMs) }));
    must(await this.#store.put(key, key, { ...within(), session: session.id }));
  }

  async has(key: string): Promise<boolean> {
    return must(await this.#store.snapshot(key, within())).entries.some((entry) => entry.key === key);
  }

  async close(): Promise<void> {
    await this.#store.close();
    this.#close();
  }
}

function within(): { readonly deadline: Ms } {
  return { deadline: ms(clock.now() + REQUEST_BUDGET_MS) };
}

export function must<T>(result: Result<T, unknown>): T {
  if (!result.ok) throw new Error(`a request failed: ${JSON.stringify(result.error)}`);
  return result.value;
}
