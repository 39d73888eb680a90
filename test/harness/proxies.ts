// Owns running the programs that find the primary for clients, as others made them: HAProxy by our health checks, vip-manager by the
// leader's key in Consul. Knows of the product what their own manuals tell of Patroni.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { TestCluster } from "./cluster.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { PASSWORDS } from "./passwords.ts";
import { serverPorts } from "./ports.ts";
import { until } from "./wait.ts";
import type { WriterTarget } from "./writer.ts";

const ROOT = join(import.meta.dir, "../..");
const FETCH_WITHIN_MS = 180_000;
const READY_WITHIN_MS = 20_000;
/** The old primary has to be rewound first, on a busy machine. */
const FOLLOWS_WITHIN_MS = 60_000;
/** In a test nobody waits for the 3 s that HAProxy is usually given. */
const CHECK_EVERY_MS = 200;

/** Where its program is. */
export interface ProxyProgram {
  readonly path: string;
}

/** Fetches it where it is missing; a text says why it cannot be had. */
export function findProxy(name: "haproxy" | "vip-manager" | "arping" | "ndptool"): ProxyProgram | string {
  const fetched = spawnSync(join(ROOT, "scripts/suite/get-proxy"), [name], { encoding: "utf8", timeout: FETCH_WITHIN_MS });
  if (fetched.status !== 0) return fetched.stderr.trim().split("\n").at(-1) || "scripts/suite/get-proxy failed";
  return { path: join(ROOT, ".cache", name, "run") };
}

/** HAProxy in front of a cluster: one port for the primary, one for the replicas. Ended with `stop`, or with the test's process. */
export class Haproxy {
  readonly writer: WriterTarget;
  readonly reader: WriterTarget;
  readonly #program: Program;
  readonly #socket: string;

  private constructor(parts: { readonly program: Program; readonly socket: string; readonly ports: readonly [number, number] }) {
    this.#program = parts.program;
    this.#socket = parts.socket;
    const target = (name: string, port: number) => ({ name, dsn: `postgres://postgres:${PASSWORDS.superuser}@127.0.0.1:${port}/postgres` });
    this.writer = target("writer", parts.ports[0]);
    this.reader = target("reader", parts.ports[1]);
  }

  /** Resolves when its socket answers. Throws Error with its log. */
  static async start(proxy: ProxyProgram, cluster: TestCluster): Promise<Haproxy> {
    const [writer = 0, reader = 0] = await serverPorts(2);
    const socket = join(cluster.folder, "haproxy.sock");
    const config = join(cluster.folder, "haproxy.cfg");
    writeFileSync(config, haproxyConfig(cluster.nodes, { writer, reader, socket }));
    const program = new Program([proxy.path, "-db", "-f", config], join(cluster.folder, "haproxy.log"));
    const haproxy = new Haproxy({ program, socket, ports: [writer, reader] });
    await until("HAProxy answers", () => haproxy.up("writer").then(() => true), { withinMs: READY_WITHIN_MS }).catch(async (error) => {
      await program.stop();
      throw new Error(`${error}: ${program.log}`);
    });
    return haproxy;
  }

  /** Names of the nodes that it now sends clients of that port to. Throws where its socket does not answer. */
  async up(port: "writer" | "reader"): Promise<readonly string[]> {
    const [head = "", ...rows] = (await this.#ask("show stat")).trim().split("\n");
    const columns = head.replace(/^# /, "").split(",");
    const column = (row: string, name: string) => row.split(",")[columns.indexOf(name)] ?? "";
    return rows
      .filter((row) => column(row, "pxname") === port && !["FRONTEND", "BACKEND"].includes(column(row, "svname")))
      .filter((row) => column(row, "status").startsWith("UP"))
      .map((row) => column(row, "svname"))
      .sort();
  }

  /** Waits until it sends clients of that port to exactly these. */
  async untilUp(port: "writer" | "reader", nodes: readonly ClusterNode[], withinMs = FOLLOWS_WITHIN_MS): Promise<void> {
    const wanted = nodes
      .map(({ name }) => name)
      .sort()
      .join(" ");
    const look = async () => {
      const up = (await this.up(port)).join(" ");
      if (up !== wanted) throw new Error(`it has ${up || "nobody"}`);
      return true;
    };
    await until(`HAProxy's ${port} goes to ${wanted || "nobody"}`, look, { withinMs });
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }

  #ask(command: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#socket, () => socket.write(`${command}\n`));
      let text = "";
      socket.on("data", (data) => {
        text += data.toString();
      });
      socket.once("error", reject);
      socket.once("close", () => (text === "" ? reject(new Error("HAProxy says nothing")) : resolve(text)));
    });
  }
}

/** As Patroni's manual has it, with a second port for the replicas. */
function haproxyConfig(
  nodes: readonly ClusterNode[],
  options: { readonly writer: number; readonly reader: number; readonly socket: string },
): string {
  const servers = nodes.map(
    ({ name, place }) => `    server ${name} ${place.host}:${place.postgresPort} maxconn 100 check port ${place.apiPort}`,
  );
  const listen = (name: string, port: number, path: string) => [
    `listen ${name}`,
    `    bind 127.0.0.1:${port}`,
    `    option httpchk OPTIONS ${path}`,
    "    http-check expect status 200",
    "    balance roundrobin",
    `    default-server inter ${CHECK_EVERY_MS}ms fall 2 rise 1 on-marked-down shutdown-sessions`,
    ...servers,
  ];
  return [
    "global",
    "    maxconn 200",
    `    stats socket ${options.socket} mode 600`,
    "defaults",
    "    mode tcp",
    "    retries 2",
    "    timeout client 30m",
    "    timeout connect 4s",
    "    timeout server 30m",
    "    timeout check 5s",
    ...listen("writer", options.writer, "/primary"),
    ...listen("reader", options.reader, "/replica"),
    "",
  ].join("\n");
}

export interface VipManagerOptions {
  readonly node: ClusterNode;
  readonly cluster: TestCluster;
  /** Consul as the node's host reaches it. */
  readonly consulUrl: string;
  readonly address: string;
  readonly netmask: number;
  readonly interface: string;
  /** In front of its command: enters the node's host as root. */
  readonly enter: readonly string[];
}

/** vip-manager on the host of one node, with the options of its manual. */
export function startVipManager(proxy: ProxyProgram, options: VipManagerOptions): Program {
  const { node, cluster } = options;
  const flags: Readonly<Record<string, string | number>> = {
    ip: options.address,
    netmask: options.netmask,
    interface: options.interface,
    "trigger-key": `/service/${cluster.scope}/leader`,
    "trigger-value": node.name,
    "manager-type": "basic",
    "dcs-type": "consul",
    "dcs-endpoints": options.consulUrl,
    interval: 200,
  };
  const words = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  return new Program([...options.enter, proxy.path, ...words], join(node.place.folder, "vip-manager.log"));
}

/** A program that runs until it is stopped, or until the test's process is gone. */
export class Program {
  readonly #child: ChildProcess;
  readonly #logPath: string;
  readonly #exited: Promise<void>;

  constructor(command: readonly string[], logPath: string) {
    const log = openSync(logPath, "a");
    const [program = "", ...args] = Bun.which("setpriv") === null ? command : ["setpriv", "--pdeathsig", "KILL", ...command];
    this.#logPath = logPath;
    this.#child = spawn(program, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    this.#exited = new Promise((resolve) => {
      this.#child.once("exit", () => resolve());
      this.#child.once("error", () => resolve());
    });
  }

  get log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}
