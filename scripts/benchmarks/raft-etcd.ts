// Owns etcd as a system that is measured: three servers of the installed program with its defaults, driven through its JSON gateway.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { freePorts } from "../../test/harness/consul.ts";
import { HttpServers } from "./raft-http.ts";
import { type Client, found, type RaftSystem, SERVERS, type Server } from "./raft-system.ts";

const statusSchema = v.object({ header: v.object({ member_id: v.string() }), leader: v.exactOptional(v.string()) });
const leaseSchema = v.object({ ID: v.string() });
const rangeSchema = v.object({ count: v.exactOptional(v.string()) });

/** Version of the program; null where it is not installed. */
export function etcdVersion(program: string): string | null {
  const asked = spawnSync(program, ["--version"], { encoding: "utf8" });
  return asked.status === 0 ? (/etcd Version: (\S+)/.exec(asked.stdout)?.[1] ?? null) : null;
}

export async function startEtcd(program: string, version: string, folder: string): Promise<RaftSystem> {
  const ports = await freePorts(2 * SERVERS);
  const places = Array.from({ length: SERVERS }, (_, index) => ({
    name: `etcd-${index + 1}`,
    url: `http://127.0.0.1:${ports[2 * index]}`,
    peerUrl: `http://127.0.0.1:${ports[2 * index + 1]}`,
  }));
  const list = places.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(",");
  const servers = places.map((place) => new EtcdServer(program, { ...place, list, folder: join(folder, place.name) }));
  await Promise.all(servers.map((server) => server.start()));
  return {
    name: "etcd",
    version,
    servers,
    leader: () => leaderOf(servers),
    client: (to) => new EtcdClient(servers.filter((server) => to.includes(server)).map(({ url }) => url)),
    close: async () => void (await Promise.all(servers.map((server) => server.end()))),
  };
}

class EtcdServer implements Server {
  readonly name: string;
  readonly url: string;
  readonly #program: string;
  readonly #arguments: readonly string[];
  readonly #log: string;
  #child: ChildProcess | null = null;

  constructor(program: string, place: { name: string; url: string; peerUrl: string; list: string; folder: string }) {
    const { name, url, peerUrl, list, folder } = place;
    this.name = name;
    this.url = url;
    this.#program = program;
    this.#log = `${folder}.log`;
    this.#arguments = [
      ...["--name", name, "--data-dir", folder, "--listen-client-urls", url, "--advertise-client-urls", url],
      ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl],
      ...["--initial-cluster", list, "--initial-cluster-state", "new", "--initial-cluster-token", "bench", "--logger", "zap"],
    ];
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error(`${this.name} does not run`);
    return this.#child.pid;
  }

  async start(): Promise<void> {
    const log = openSync(this.#log, "a");
    const child = spawn(this.#program, this.#arguments, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.#child = child;
    await found(`${this.name} runs`, () => (child.exitCode === null && child.pid !== undefined ? true : undefined));
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }
}

async function leaderOf(servers: readonly EtcdServer[]): Promise<EtcdServer> {
  return found("all of etcd follow one leader", async () => {
    const statuses = await Promise.all(servers.map(({ url }) => statusOf(url)));
    const leaders = new Set(statuses.map((status) => status?.leader));
    const [leader] = leaders;
    if (leaders.size !== 1 || leader === undefined || leader === "0") return undefined;
    return servers[statuses.findIndex((status) => status?.header.member_id === leader)];
  });
}

async function statusOf(url: string): Promise<v.InferOutput<typeof statusSchema> | null> {
  try {
    const answer = await fetch(`${url}/v3/maintenance/status`, { method: "POST", body: "{}", signal: AbortSignal.timeout(1000) });
    return v.parse(statusSchema, await answer.json());
  } catch {
    return null; // It does not answer (yet): whoever asks asks again.
  }
}

class EtcdClient implements Client {
  readonly #servers: HttpServers;

  constructor(urls: readonly string[]) {
    this.#servers = new HttpServers(urls);
  }

  async put(key: string, value: string): Promise<void> {
    await this.#ask("/v3/kv/put", { key: encoded(key), value: encoded(value) });
  }

  async putForAWhile(key: string, ttlMs: number): Promise<void> {
    const { ID } = v.parse(leaseSchema, JSON.parse(await this.#ask("/v3/lease/grant", { TTL: ttlMs / 1000, ID: 0 })));
    await this.#ask("/v3/kv/put", { key: encoded(key), value: encoded(key), lease: ID });
  }

  async has(key: string): Promise<boolean> {
    const { count } = v.parse(rangeSchema, JSON.parse(await this.#ask("/v3/kv/range", { key: encoded(key) })));
    return count === "1";
  }

  close(): Promise<void> {
    return this.#servers.close();
  }

  #ask(path: string, body: object): Promise<string> {
    return this.#servers.ask({ method: "POST", path, body: JSON.stringify(body) });
  }
}

function encoded(text: string): string {
  return Buffer.from(text).toString("base64");
}
