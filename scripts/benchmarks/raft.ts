// Owns the measurements of the built-in Raft: `bun run scripts/benchmarks/raft.ts [--rounds N] [--writes N] [--folder DIR]`.
// Prints a table: commits one by one and from 64 writers, and how long nobody can write after a leader is gone. Three members;
// in this process for the first rows, as processes of their own for the others. One machine stands for all.

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RaftChannel } from "../../lib/dcs/raft/client/channel.ts";
import { RemoteMembers } from "../../lib/dcs/raft/client/remote.ts";
import type { RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { raftMemberConfig } from "../../lib/dcs/raft/member/config.ts";
import { RaftMemberNode } from "../../lib/dcs/raft/member/node.ts";
import { openFileDisk } from "../../lib/dcs/raft/storage/file-disk.ts";
import { RaftStore } from "../../lib/dcs/raft/store.ts";
import { tcpNetwork } from "../../lib/dcs/raft/transport/tcp-network.ts";
import type { Log } from "../../lib/model/log.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { median, short } from "./table.ts";

const MEMBERS = 3;
const WRITERS = 64;
const VALUE = "x".repeat(200);
const REQUEST_BUDGET_MS = 20_000;
const PLAIN = { kind: "plain" } as const;
const quiet = (): void => {};
const log: Log = { debug: quiet, info: quiet, warning: quiet, error: quiet, critical: quiet };
const clock = realClock();
const random = (bytes: number): Uint8Array => randomBytes(bytes);

interface Row {
  readonly what: string;
  readonly reach: string;
  readonly measured: string;
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "15" },
    writes: { type: "string", default: "40000" },
    folder: { type: "string", default: tmpdir() },
  },
});
const rounds = Number(values.rounds);
const writes = Number(values.writes);
const base = mkdtempSync(join(values.folder, "raft-bench-"));
try {
  const rows = [...(await inProcess()), ...(await overProcesses())];
  console.log(
    ["| what | reach | measured |", "| --- | --- | --- |", ...rows.map((row) => `| ${row.what} | ${row.reach} | ${row.measured} |`)].join(
      "\n",
    ),
  );
} finally {
  rmSync(base, { recursive: true, force: true });
}
process.exit(0);

async function inProcess(): Promise<readonly Row[]> {
  const addresses = await freeAddresses();
  const nodes = await Promise.all(addresses.map((address) => startHere(address, addresses)));
  const leader = await found(() => nodes.find((node) => node.status().role === "leader" && node.status().applied > 0));
  const store = storeOver(leader);
  const sequential = await oneByOne(store);
  const many = await manyWriters(store);
  await Promise.all(nodes.map((node) => node.stop("immediate")));
  return [
    { what: "sequential commit, in one process, p50", reach: "≤ 0.7 ms", measured: spread(sequential) },
    { what: `${WRITERS} writers, in one process`, reach: "≥ 20,000/s", measured: `${Math.round(many.perSecond)}/s (n=${writes})` },
    { what: `${WRITERS} writers, in one process, p99`, reach: "≤ 5 ms", measured: `${short(percentile(many.times, 0.99))} ms` },
  ];
}

async function overProcesses(): Promise<readonly Row[]> {
  const addresses = await freeAddresses();
  const places = addresses.map((address) => new Place(address, addresses));
  for (const place of places) await place.start();
  await leaderOf(places);
  const client = remote(addresses);
  const store = storeOver(client);
  const sequential = await oneByOne(store);
  const many = await manyWriters(store);
  client.close();
  const killed = await outages(places, (leader) => leader.signal("SIGKILL"));
  const silent = await outages(places, (leader) => leader.signal("SIGSTOP"));
  const stopped = await outages(places, (leader) => leader.signal("SIGTERM"));
  const restarts = await restartTimes(places);
  for (const place of places) await place.end();
  return [
    { what: "sequential commit over the client protocol, p50", reach: "≤ 1.5 ms", measured: spread(sequential) },
    {
      what: `${WRITERS} writers over the client protocol`,
      reach: "–",
      measured: `${Math.round(many.perSecond)}/s, p99 ${short(percentile(many.times, 0.99))} ms`,
    },
    { what: "leader's process killed → writable", reach: "median ≤ 0.3 s", measured: spread(killed) },
    { what: "leader silent → writable", reach: "median ≤ 1.0 s, p99 ≤ 2 s", measured: spread(silent) },
    { what: "leader stopped cleanly → writable", reach: "≤ 50 ms", measured: spread(stopped) },
    { what: "restart of one member → it serves", reach: "≤ 0.5 s", measured: spread(restarts.one) },
    { what: "restart of all members → writable", reach: "–", measured: spread(restarts.all) },
  ];
}

/** From the moment of the blow until a write through a survivor is done. */
async function outages(places: readonly Place[], strike: (leader: Place) => void): Promise<readonly number[]> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const leader = await leaderOf(places);
    const client = remote(places.filter((place) => place !== leader).map(({ address }) => address));
    const store = storeOver(client);
    must(await store.put("bench/before", VALUE, budget()));
    const from = clock.now();
    strike(leader);
    must(await store.put("bench/after", VALUE, budget()));
    times.push(clock.now() - from);
    client.close();
    await leader.end();
    await leader.start();
    await served(leader);
  }
  return times;
}

async function restartTimes(places: readonly Place[]): Promise<{ readonly one: readonly number[]; readonly all: readonly number[] }> {
  const one: number[] = [];
  const all: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const leader = await leaderOf(places);
    const follower = places.find((place) => place !== leader) as Place;
    await follower.end();
    const from = clock.now();
    await follower.start();
    await served(follower);
    one.push(clock.now() - from);
  }
  for (let round = 0; round < Math.min(rounds, 5); round++) {
    await Promise.all(places.map((place) => place.end()));
    const from = clock.now();
    await Promise.all(places.map((place) => place.start()));
    const client = remote(places.map(({ address }) => address));
    must(await storeOver(client).put("bench/restart", VALUE, budget()));
    all.push(clock.now() - from);
    client.close();
  }
  return { one, all };
}

/** A member as a process. */
class Place {
  readonly address: string;
  readonly #addresses: readonly string[];
  readonly #folder: string;
  #process: ChildProcess | null = null;

  constructor(address: string, addresses: readonly string[]) {
    this.address = address;
    this.#addresses = addresses;
    this.#folder = mkdtempSync(join(base, "member-"));
  }

  async start(): Promise<void> {
    const partners = this.#addresses.filter((address) => address !== this.address);
    const script = join(import.meta.dir, "raft-member.ts");
    const child = spawn(process.execPath, ["run", script, this.#folder, this.address, ...partners], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#process = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`the member at ${this.address} ended with status ${code}`)));
    });
  }

  signal(signal: NodeJS.Signals): void {
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

async function oneByOne(store: RaftStore): Promise<readonly number[]> {
  const times: number[] = [];
  for (let count = 0; count < Math.min(writes, 3000); count++) {
    const from = clock.now();
    must(await store.put(`bench/${count % 100}`, `${count} ${VALUE}`, budget()));
    times.push(clock.now() - from);
  }
  return times.slice(times.length / 10);
}

async function manyWriters(store: RaftStore): Promise<{ readonly perSecond: number; readonly times: readonly number[] }> {
  const times: number[] = [];
  let left = writes;
  const from = clock.now();
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      while (left-- > 0) {
        const sent = clock.now();
        must(await store.put(`bench/writer-${writer}`, `${left} ${VALUE}`, budget()));
        times.push(clock.now() - sent);
      }
    }),
  );
  return { perSecond: (times.length / (clock.now() - from)) * 1000, times };
}

async function startHere(selfAddress: string, addresses: readonly string[]): Promise<RaftMemberNode> {
  const disk = openFileDisk(mkdtempSync(join(base, "member-")));
  if (!disk.ok) throw disk.error;
  const partnerAddresses = addresses.filter((address) => address !== selfAddress);
  const config = raftMemberConfig({ selfAddress, partnerAddresses, security: PLAIN });
  const network = tcpNetwork({ clock, security: PLAIN, log });
  const node = new RaftMemberNode({ disk: disk.value, network, clock, random, log, config });
  const started = await node.start();
  if (!started.ok) throw new Error(started.error);
  return node;
}

function remote(addresses: readonly string[]): RemoteMembers {
  const network = tcpNetwork({ clock, security: PLAIN, log });
  return new RemoteMembers({ addresses, network, clock, random, security: PLAIN, silentMs: 2000, log });
}

function storeOver(channel: RaftChannel): RaftStore {
  return new RaftStore({ channel, clock, random });
}

async function statusOf(place: Place): Promise<RaftStatus | null> {
  const client = remote([place.address]);
  const answer = await client.request({ kind: "status" }, ms(clock.now() + 1000));
  client.close();
  return answer.kind === "status" ? answer.status : null;
}

/** The leader that every member follows: the cluster is whole again. */
async function leaderOf(places: readonly Place[]): Promise<Place> {
  return found(async () => {
    const statuses = await Promise.all(places.map(statusOf));
    const leaders = new Set(statuses.map((status) => status?.leader?.address));
    const [address] = leaders;
    return leaders.size === 1 && address !== undefined ? places.find((place) => place.address === address) : undefined;
  });
}

/** It answers a linearizable read by itself. */
async function served(place: Place): Promise<void> {
  const client = remote([place.address]);
  must(await storeOver(client).snapshot("bench/none", budget()));
  client.close();
}

async function found<T>(probe: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const end = clock.now() + REQUEST_BUDGET_MS;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (clock.now() > end) throw new Error("the cluster did not become whole");
    await clock.sleepUntil(ms(clock.now() + 5));
  }
}

async function freeAddresses(): Promise<readonly string[]> {
  const servers = Array.from({ length: MEMBERS }, () => createServer());
  const addresses = await Promise.all(
    servers.map(
      (server) =>
        new Promise<string>((resolve) => {
          server.listen(0, "127.0.0.1", () => {
            const address = server.address();
            resolve(`127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return addresses;
}

function budget(): { readonly deadline: ReturnType<typeof ms> } {
  return { deadline: ms(clock.now() + REQUEST_BUDGET_MS) };
}

function must<T>(result: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: unknown }): T {
  if (!result.ok) throw new Error(`a request failed: ${JSON.stringify(result.error)}`);
  return result.value;
}

function percentile(times: readonly number[], part: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

function spread(times: readonly number[]): string {
  return `**${short(median(times))}** ms (n=${times.length}, p99 ${short(percentile(times, 0.99))}, max ${short(Math.max(...times))})`;
}
