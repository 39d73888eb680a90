// Owns seeing where an address is that moves between the hosts of a test: as another host's client finds it, and as the kernel tells of it.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import type { TestCluster } from "./cluster.ts";
import type { ClusterNode } from "./cluster-node.ts";
import { postgresBinDir } from "./local-server.ts";
import type { HostNetwork } from "./namespaces.ts";
import { PASSWORDS } from "./passwords.ts";
import { until } from "./wait.ts";

/** Waits until the address is on this node's host alone, and a client on the host behind the nodes' gets there by it. */
export async function untilAddressLeadsTo(options: {
  readonly cluster: TestCluster;
  readonly network: HostNetwork;
  readonly address: string;
  readonly node: ClusterNode;
  readonly withinMs: number;
}): Promise<void> {
  const { cluster, network, address, node, withinMs } = options;
  const there = () => {
    const hosts = network.hostsWith(address).map((host) => cluster.node(host).name);
    if (hosts.join() !== node.name) throw new Error(`it is on ${hosts.join(", ") || "no host"}`);
    const { postgresPort } = node.place;
    // No two nodes have the same port: who answers is known by it.
    return answeringPort(network.host(cluster.nodes.length).enter, address, postgresPort) === String(postgresPort);
  };
  await until(`${address} leads to ${node.name}`, there, { withinMs, everyMs: 200 });
}

/** "" where nobody answers. */
function answeringPort(enter: readonly string[], address: string, port: number): string {
  const connection = `host=${address} port=${port} user=postgres dbname=postgres connect_timeout=2`;
  const [program = "", ...args] = [...enter, join(postgresBinDir(), "psql"), "-Atqc", "select inet_server_port()", "-d", connection];
  return spawnSync(program, args, { encoding: "utf8", env: { ...process.env, PGPASSWORD: PASSWORDS.superuser } }).stdout.trim();
}

/**
 * Every coming and going of an address on all hosts, by one socket of the kernel: the order is that in which it happened, however
 * busy the machine is.
 */
export class AddressWatch {
  /** Each time that it came to a host while another had it. */
  readonly overlaps: string[] = [];
  /** The kernel's number of the host that has it. */
  holder: string | null = null;
  readonly #monitor: ChildProcess;
  readonly #line: RegExp;
  #rest = "";

  constructor(address: string) {
    this.#line = new RegExp(`^\\[nsid (\\S+)\\](Deleted )?.* inet6? ${address.replaceAll(".", "\\.")}/`);
    const command = ["ip", "-oneline", "monitor", "all-nsid", "address"];
    const [program = "", ...args] = Bun.which("setpriv") === null ? command : ["setpriv", "--pdeathsig", "KILL", ...command];
    this.#monitor = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#monitor.stdout?.on("data", (data: Buffer) => {
      const lines = (this.#rest + data.toString()).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    });
  }

  close(): void {
    this.#monitor.kill("SIGKILL");
  }

  #take(line: string): void {
    const [, host = "", gone] = this.#line.exec(line) ?? [];
    if (host === "") return;
    if (gone !== undefined) {
      if (this.holder === host) this.holder = null;
      return;
    }
    if (this.holder !== null && this.holder !== host) this.overlaps.push(`it came to ${host} while ${this.holder} had it`);
    this.holder = host;
  }
}
