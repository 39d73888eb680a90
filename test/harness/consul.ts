// Owns real Consul agents for tests: on free loopback ports, in a folder of their own, ready when they answer. Each test
// that needs one starts its own; faults (SIGSTOP, SIGKILL, restart with data) are methods. Must not know the product.

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, closeSync, constants, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface ConsulOptions {
  /** `session_ttl_min`; Consul's own default is 10s. Here 1s, so that tests can be short. */
  readonly sessionTtlMin?: string;
  /** Makes a client agent that joins this server; without it, a server of its own. */
  readonly joins?: Consul;
  readonly nodeName?: string;
  /** HTTP port, where the test has to know it beforehand. */
  readonly httpPort?: number;
  /** Gossip port, where other servers have to know it beforehand. */
  readonly serfPort?: number;
  /** A host of its own (namespaces.ts): the address for other agents, the one for the test, and the command in front. */
  readonly host?: { readonly address: string; readonly testAddress: string; readonly enter: readonly string[] };
  /** Merged over the agent's configuration (TLS, ACL …). */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Address that is probed for readiness; where plain HTTP on loopback will not do. */
  readonly ready?: (url: string) => Promise<boolean>;
}

/** How long an agent may take until it answers; a server needs 1.5 s for its election. */
const READY_MAX_MS = 20_000;
/** Nothing announces readiness, so it is asked for; only while starting. */
const PROBE_INTERVAL_MS = 20;
/** A port that was free a moment ago may be taken by then. */
const START_ATTEMPTS = 3;

export class Consul {
  readonly folder: string;
  readonly httpPort: number;
  readonly serfPort: number;
  readonly logPath: string;
  readonly #options: ConsulOptions;
  readonly #binary: string;
  #child: ChildProcess | null = null;
  #exited: Promise<void> = Promise.resolve();

  private constructor(options: ConsulOptions, binary: string, ports: readonly [number, number, number]) {
    const [http, server, serf] = ports;
    this.#options = options;
    this.#binary = binary;
    this.httpPort = http;
    this.serfPort = serf;
    this.folder = mkdtempSync(join(tmpdir(), "consul-test-"));
    this.logPath = join(this.folder, "consul.log");
    mkdirSync(join(this.folder, "data"));
    writeFileSync(join(this.folder, "agent.json"), JSON.stringify(agentConfig(options, this.folder, { http, server, serf })));
  }

  /** Starts an agent and waits until it has a leader and takes sessions. Throws Error with the end of its log. */
  static async start(options: ConsulOptions = {}): Promise<Consul> {
    const binary = consulBinary();
    if (binary === null) throw new Error("no consul found: set CONSUL_BIN, or run scripts/setup");
    for (let attempt = 1; ; attempt++) {
      const [first, second, third] = await freePorts(3);
      const consul = new Consul(options, binary, [
        options.httpPort ?? (first as number),
        second as number,
        options.serfPort ?? (third as number),
      ]);
      try {
        await consul.restart();
        return consul;
      } catch (error) {
        await consul.stop();
        if (attempt === START_ATTEMPTS || !String(error).includes("address already in use")) throw error;
      }
    }
  }

  /** Starts servers that form one cluster. A killed one stays a voter, so that faults can follow each other. */
  static async startServers(count: number, options: ConsulOptions = {}): Promise<readonly Consul[]> {
    const serfPorts = await freePorts(count);
    const config = {
      bootstrap_expect: count,
      retry_join: serfPorts.map((port) => `127.0.0.1:${port}`),
      retry_interval: "200ms",
      autopilot: { cleanup_dead_servers: false },
      ...options.config,
    };
    return Promise.all(serfPorts.map((serfPort, index) => Consul.start({ ...options, config, serfPort, nodeName: `server-${index + 1}` })));
  }

  /** `http://127.0.0.1:PORT`, or at the test's address of its host. */
  get url(): string {
    return `http://${this.#options.host?.testAddress ?? "127.0.0.1"}:${this.httpPort}`;
  }

  /** Where other agents find it: its host's address, else loopback. */
  get address(): string {
    return this.#options.host?.address ?? "127.0.0.1";
  }

  /** Null while it is down. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get log(): string {
    return readFileSync(this.logPath, "utf8");
  }

  /** Starts it (again) with the data it has, and waits until it is ready. */
  async restart(): Promise<void> {
    if (this.#child !== null) await this.terminate();
    const log = openSync(this.logPath, "a");
    // setpriv: should the test itself be killed, the agent goes with it.
    const [program, ...args] = [
      ...(this.#options.host?.enter ?? []),
      ...(Bun.which("setpriv") === null ? [] : ["setpriv", "--pdeathsig", "KILL"]),
      ...[this.#binary, "agent", "-config-file", join(this.folder, "agent.json")],
    ];
    const child = spawn(program as string, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      child.once("exit", () => {
        if (this.#child === child) this.#child = null;
        resolve();
      });
      child.once("error", () => resolve());
    });
    await this.#ready();
  }

  /** SIGTERM and wait: a clean end. The data stays. A client agent leaves its cluster and takes its sessions along. */
  async terminate(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL and wait. The data stays. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Freezes it: connections are accepted by the kernel, and nothing answers. */
  sigstop(): void {
    this.#child?.kill("SIGSTOP");
  }

  sigcont(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Ends it for good and removes its folder. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    child.kill(signal);
    if (signal === "SIGTERM") child.kill("SIGCONT");
    await this.#exited;
  }

  async #ready(): Promise<void> {
    const ready = this.#options.ready ?? takesSessions;
    const end = performance.now() + READY_MAX_MS;
    while (!(await ready(this.url).catch(() => false))) {
      if (this.#child !== null && performance.now() < end) await Bun.sleep(PROBE_INTERVAL_MS);
      else throw new Error(`consul did not get ready:\n${this.log.slice(-2_000)}`);
    }
  }
}

/** CONSUL_BIN, PATH, or what scripts/setup put under .cache; null where there is none. */
export function consulBinary(): string | null {
  const named = process.env["CONSUL_BIN"];
  if (named !== undefined && named !== "") return named;
  const cached = join(import.meta.dir, "../../.cache/consul/usr/bin/consul");
  return Bun.which("consul") ?? (isExecutable(cached) ? cached : null);
}

/** Ports of loopback that nothing listens on at this moment. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  return Promise.all(
    servers.map((server) => {
      const address = server.address();
      const port = address !== null && typeof address === "object" ? address.port : 0;
      return new Promise<number>((resolve) => server.close(() => resolve(port)));
    }),
  );
}

function agentConfig(
  options: ConsulOptions,
  folder: string,
  ports: { readonly http: number; readonly server: number; readonly serf: number },
): Readonly<Record<string, unknown>> {
  const role =
    options.joins === undefined
      ? { server: true, bootstrap_expect: 1 }
      : { server: false, retry_join: [`${options.joins.address}:${options.joins.serfPort}`], retry_interval: "200ms" };
  const { ports: morePorts, ...more } = options.config ?? {};
  return {
    ...role,
    node_name: options.nodeName ?? `consul-${ports.http}`,
    // Agents of one machine share the machine's own id otherwise.
    disable_host_node_id: true,
    data_dir: join(folder, "data"),
    bind_addr: options.host?.address ?? "127.0.0.1",
    client_addr: options.host === undefined ? "127.0.0.1" : "0.0.0.0",
    disable_update_check: true,
    session_ttl_min: options.sessionTtlMin ?? "1s",
    performance: { raft_multiplier: 1 },
    ...more,
    ports: {
      http: ports.http,
      server: ports.server,
      serf_lan: ports.serf,
      serf_wan: -1,
      dns: -1,
      grpc: -1,
      ...(typeof morePorts === "object" ? morePorts : {}),
    },
  };
}

/** A leader exists, this agent's node is registered, and a write goes through. */
async function takesSessions(url: string): Promise<boolean> {
  const signal = AbortSignal.timeout(2_000);
  const body = JSON.stringify({ Name: "ready?", Checks: [], TTL: "60s", Behavior: "delete" });
  const created = await fetch(`${url}/v1/session/create`, { method: "PUT", body, signal });
  if (!created.ok) return false;
  const { ID } = (await created.json()) as { ID: string };
  return (await fetch(`${url}/v1/session/destroy/${ID}`, { method: "PUT", signal })).ok;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // Absent or not executable: the answer.
  }
}
