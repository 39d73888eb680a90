// Owns several hosts on one machine: a network namespace each, joined by a bridge, and the faults that a network has. A host
// that is cut off is silent: its packets are dropped, nothing is refused. A second wire leads from each host to the test
// alone and is never cut, so that the test sees both sides of a split. Needs root. Must not know the product.

import { spawnSync } from "node:child_process";
import { type ServerUser, serverUser } from "../../lib/cli/quickstart/folder.ts";
import { canonicalAddress } from "../../lib/model/host-port.ts";

export interface NetworkHost {
  /** Its address for the other hosts. */
  readonly address: string;
  /** Its address for the test. */
  readonly testAddress: string;
  /** In front of a command: runs it on this host, as the caller. */
  readonly enter: readonly string[];
  /** The same, as the servers' user. */
  readonly prefix: readonly string[];
}

interface Wire extends NetworkHost {
  readonly namespace: string;
  /** The bridge's end of its wire. */
  readonly port: string;
}

const open = new Set<HostNetwork>();

/** Null where namespaces, veth pairs and bridges can be had; else the reason. */
export function whyNoNamespaces(): string | null {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const program of ["ip", "nsenter", "setpriv"]) if (Bun.which(program) === null) return `the program ${program} is not installed`;
  try {
    HostNetwork.create(1).close();
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export class HostNetwork {
  readonly #tag: string;
  readonly #wires: Wire[] = [];
  #net = "";
  #closed = false;

  private constructor(tag: string) {
    this.#tag = tag;
    open.add(this);
  }

  /** A bridge and `count` hosts on it. Throws Error with what `ip` says where the kernel lacks something. */
  static create(count: number): HostNetwork {
    const network = new HostNetwork(crypto.randomUUID().slice(0, 6));
    try {
      network.#make(count);
      return network;
    } catch (error) {
      network.close();
      throw error;
    }
  }

  /** For afterAll. */
  static closeAll(): void {
    for (const network of [...open]) network.close();
  }

  host(index: number): NetworkHost {
    return this.#wire(index);
  }

  /** An address of the hosts' net that none of them has. */
  get freeAddress(): string {
    return `${this.#net}.200`;
  }

  /** Gives each host an address of a net of IPv6 on its wire; one of that net that none of them has. Throws Error with what `ip` says. */
  addIpv6(): string {
    const net = `fd00:${this.#tag.slice(0, 2)}:${this.#tag.slice(2, 6)}:`;
    for (const index of this.#wires.keys()) this.#inside(index, "address", "add", `${net}:${index + 1}/64`, "dev", "wire", "nodad");
    // As the kernel writes it.
    return canonicalAddress(`${net}:200`) ?? net;
  }

  /** Hosts whose wire has this address now. Throws Error with what `ip` says. */
  hostsWith(address: string): readonly number[] {
    return this.#wires.flatMap(({ namespace }, index) => {
      const { ok, text } = run("ip", ["-n", namespace, "-o", "address", "show", "dev", "wire"]);
      if (!ok) throw new Error(`ip -n ${namespace}: ${text.trim()}`);
      return text.includes(` ${address}/`) ? [index] : [];
    });
  }

  /** From now on nothing that it sends arrives, and nothing reaches it; connections stay as they are and hear nothing. */
  cut(index: number): void {
    ip("link", "set", this.#wire(index).port, "nomaster");
  }

  heal(index: number): void {
    ip("link", "set", this.#wire(index).port, "master", this.#bridge);
  }

  /** Answers from this TCP port of the host to other hosts are dropped: connections to it stay half open. */
  silencePort(index: number, port: number): void {
    this.#inside(index, "rule", "add", "from", this.#wire(index).address, "ipproto", "tcp", "sport", String(port), "blackhole");
  }

  unsilencePort(index: number, port: number): void {
    this.#inside(index, "rule", "del", "from", this.#wire(index).address, "ipproto", "tcp", "sport", String(port), "blackhole");
  }

  /** Removes namespaces, wires and bridge. What still runs in them keeps running without a network. Can be repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    open.delete(this);
    for (const { namespace, port } of this.#wires) {
      run("ip", ["link", "del", port]);
      run("ip", ["link", "del", `${port}t`]);
      run("ip", ["netns", "del", namespace]);
    }
    run("ip", ["link", "del", this.#bridge]);
  }

  get #bridge(): string {
    return `mb${this.#tag}`;
  }

  #wire(index: number): Wire {
    const wire = this.#wires[index];
    if (wire === undefined) throw new Error(`there is no host ${index}`);
    return wire;
  }

  #make(count: number): void {
    const [second, third] = freeSubnet();
    this.#net = `10.${second}.${third}`;
    // Without a learning phase, so that a healed wire carries packets at once.
    ip("link", "add", this.#bridge, "type", "bridge", "forward_delay", "0");
    ip("link", "set", this.#bridge, "up");
    for (let index = 0; index < count; index++) {
      const namespace = `mn${this.#tag}-${index}`;
      const port = `mv${this.#tag}${index}`;
      const address = `10.${second}.${third}.${index + 1}`;
      const testAddress = `10.${second}.${third + 1}.${4 * index + 2}`;
      this.#wires.push({ namespace, port, address, testAddress, ...entering(namespace, serverUser()) });
      ip("netns", "add", namespace);
      this.#inside(index, "link", "set", "lo", "up");
      ip(
        "link",
        "add",
        port,
        "address",
        hardware(index, 0),
        "type",
        "veth",
        "peer",
        "name",
        "wire",
        "address",
        hardware(index, 1),
        "netns",
        namespace,
      );
      ip("link", "set", port, "master", this.#bridge, "up");
      this.#inside(index, "address", "add", `${address}/24`, "dev", "wire");
      this.#inside(index, "link", "set", "wire", "up");
      ip("link", "add", `${port}t`, "type", "veth", "peer", "name", "test", "netns", namespace);
      ip("address", "add", `10.${second}.${third + 1}.${4 * index + 1}/30`, "dev", `${port}t`);
      ip("link", "set", `${port}t`, "up");
      this.#inside(index, "address", "add", `${testAddress}/30`, "dev", "test");
      this.#inside(index, "link", "set", "test", "up");
    }
    // Neighbours are known for good: a silent host must not become an unreachable one, which would be an answer.
    for (let from = 0; from < count; from++) {
      for (let to = 0; to < count; to++) {
        if (from === to) continue;
        this.#inside(from, "neighbour", "replace", this.#wire(to).address, "lladdr", hardware(to, 1), "dev", "wire", "nud", "permanent");
      }
    }
  }

  #inside(index: number, ...args: readonly string[]): void {
    ip("-n", this.#wire(index).namespace, ...args);
  }
}

function entering(namespace: string, user: ServerUser): Pick<NetworkHost, "enter" | "prefix"> {
  const enter = ["nsenter", `--net=/run/netns/${namespace}`];
  const asUser = user.uid === null ? [] : ["setpriv", `--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  return { enter, prefix: [...enter, ...asUser] };
}

/** Locally administered addresses: the same in every network, which never meet. */
function hardware(index: number, end: 0 | 1): string {
  return `02:00:00:00:0${end}:${(index + 1).toString(16).padStart(2, "0")}`;
}

/** Two neighbouring /24 nets of 10/8 that this machine has no route to. Throws where there are none. */
function freeSubnet(): readonly [number, number] {
  const routes = run("ip", ["-4", "route"]).text;
  for (let attempt = 0; attempt < 100; attempt++) {
    const second = 64 + Math.floor(Math.random() * 128);
    const third = 2 * Math.floor(Math.random() * 126);
    if (!routes.includes(`10.${second}.${third}.`) && !routes.includes(`10.${second}.${third + 1}.`)) return [second, third];
  }
  throw new Error("no free private net found");
}

function ip(...args: readonly string[]): void {
  const { ok, text } = run("ip", args);
  if (!ok) throw new Error(`ip ${args.join(" ")}: ${text.trim()}`);
}

function run(program: string, args: readonly string[]): { readonly ok: boolean; readonly text: string } {
  const done = spawnSync(program, args, { encoding: "utf8" });
  return { ok: done.status === 0, text: `${done.stdout ?? ""}${done.stderr ?? ""}${done.error?.message ?? ""}` };
}
