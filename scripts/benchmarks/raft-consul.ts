// Owns Consul as a system that is measured: three servers of the installed program, with Consul's own default timings, driven
// through its HTTP interface.

import { spawnSync } from "node:child_process";
import * as v from "valibot";
import { Consul, consulBinary } from "../../test/harness/consul.ts";
import { HttpServers } from "./raft-http.ts";
import { type Client, found, type RaftSystem, SERVERS, type Server } from "./raft-system.ts";

const selfSchema = v.object({ Stats: v.object({ raft: v.object({ state: v.string() }), consul: v.object({ leader_addr: v.string() }) }) });
const sessionSchema = v.object({ ID: v.string() });

/** Version of the program; null where it is not installed. */
export function consulVersion(): string | null {
  const program = consulBinary();
  if (program === null) return null;
  const asked = spawnSync(program, ["version"], { encoding: "utf8" });
  return asked.status === 0 ? (/Consul v?(\S+)/.exec(asked.stdout)?.[1] ?? null) : null;
}

export async function startConsul(version: string): Promise<RaftSystem> {
  // Consul's default; the tests' servers are quicker.
  const agents = await Consul.startServers(SERVERS, { sessionTtlMin: "10s", config: { performance: { raft_multiplier: 5 } } });
  const servers = agents.map((agent, index) => new ConsulServer(agent, `consul-${index + 1}`));
  return {
    name: "Consul",
    version,
    servers,
    leader: () => leaderOf(servers),
    client: (to) => new ConsulClient(servers.filter((server) => to.includes(server)).map(({ url }) => url)),
    close: async () => void (await Promise.all(agents.map((agent) => agent.stop()))),
  };
}

class ConsulServer implements Server {
  readonly name: string;
  readonly #agent: Consul;

  constructor(agent: Consul, name: string) {
    this.#agent = agent;
    this.name = name;
  }

  get url(): string {
    return this.#agent.url;
  }

  get pid(): number {
    const { pid } = this.#agent;
    if (pid === null) throw new Error(`${this.name} does not run`);
    return pid;
  }

  start(): Promise<void> {
    return this.#agent.restart();
  }

  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGTERM"): void {
    process.kill(this.pid, signal);
  }

  end(): Promise<void> {
    return this.#agent.kill();
  }
}

async function leaderOf(servers: readonly ConsulServer[]): Promise<ConsulServer> {
  return found("all of Consul follow one leader", async () => {
    const selves = await Promise.all(servers.map(({ url }) => selfOf(url)));
    const addresses = new Set(selves.map((self) => self?.Stats.consul.leader_addr));
    const [address] = addresses;
    if (addresses.size !== 1 || address === undefined || address === "") return undefined;
    return servers[selves.findIndex((self) => self?.Stats.raft.state === "Leader")];
  });
}

async function selfOf(url: string): Promise<v.InferOutput<typeof selfSchema> | null> {
  try {
    return v.parse(selfSchema, await (await fetch(`${url}/v1/agent/self`, { signal: AbortSignal.timeout(1000) })).json());
  } catch {
    return null; // It does not answer (yet): whoever asks asks again.
  }
}

class ConsulClient implements Client {
  readonly #servers: HttpServers;

  constructor(urls: readonly string[]) {
    this.#servers = new HttpServers(urls);
  }

  async put(key: string, value: string): Promise<void> {
    await this.#servers.ask({ method: "PUT", path: `/v1/kv/${key}`, body: value }, isTrue);
  }

  async putForAWhile(key: string, ttlMs: number): Promise<void> {
    const body = JSON.stringify({ Name: key, Checks: [], TTL: `${ttlMs}ms`, Behavior: "delete", LockDelay: "0s" });
    const { ID } = v.parse(sessionSchema, JSON.parse(await this.#servers.ask({ method: "PUT", path: "/v1/session/create", body })));
    await this.#servers.ask({ method: "PUT", path: `/v1/kv/${key}?acquire=${ID}`, body: key }, isTrue);
  }

  async has(key: string): Promise<boolean> {
    let there = false;
    await this.#servers.ask({ method: "GET", path: `/v1/kv/${key}?consistent` }, (status) => {
      there = status === 200;
      return status === 200 || status === 404;
    });
    return there;
  }

  close(): Promise<void> {
    return this.#servers.close();
  }
}

function isTrue(status: number, text: string): boolean {
  return status === 200 && text.trim() === "true";
}
