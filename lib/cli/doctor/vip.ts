// Owns the doctor's look at the address of the primary's host, where the node's file has one: what it takes to put it on its interface,
// and whether it is where it belongs. Asks only.

import { BlockList } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import type { Cluster } from "../../model/cluster.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import { isIpv6Text } from "../../model/host-port.ts";
import type { NodeConfig, VipConfig } from "../../model/node-config.ts";
import { shellWords } from "../../postgres/shell-words.ts";
import { ndptoolOf, presence, withPrefix } from "../../runtime/vip/interface-address.ts";
import { SHORTEST_TTL_MS } from "../../runtime/vip/vip.ts";

const SUBJECT = "vip";

export interface AddressSight {
  readonly config: Pick<NodeConfig, "name" | "vip">;
  /** Null where it cannot be read. */
  readonly cluster: Pick<Cluster, "leader"> | null;
  /** In force, as far as is known. */
  readonly ttlMs: number;
  /** A supervisor of this node runs. */
  readonly supervised: boolean;
  /** Default: this machine's. */
  readonly interfaces?: ReturnType<typeof networkInterfaces>;
}

export function addressFindings({
  config,
  cluster,
  ttlMs,
  supervised,
  interfaces = networkInterfaces(),
}: AddressSight): readonly Finding[] {
  const { vip } = config;
  if (vip === null) return [];
  const there = interfaces[vip.interface] !== undefined;
  const missing = `there is no interface ${vip.interface} that is up and has an address`;
  const findings = [
    ...(there ? [] : [fault(SUBJECT, missing, "write vip.interface: as `ip address` names it")]),
    ...networkFindings(vip, interfaces[vip.interface] ?? []),
    ...programFindings(vip),
    ...(ttlMs < SHORTEST_TTL_MS ? [shortLease(ttlMs)] : []),
  ];
  return there ? [...findings, placeFinding(vip, { name: config.name, cluster, supervised })] : findings;
}

/** The neighbours are those who look for it on that wire: hosts of one of the interface's own networks. */
function networkFindings(vip: VipConfig, entries: readonly NetworkInterfaceInfo[]): readonly Finding[] {
  const family = isIpv6Text(vip.address) ? "IPv6" : "IPv4";
  const own = entries.filter(
    (entry) => entry.family === family && entry.address !== vip.address && entry.scopeid === (family === "IPv6" ? 0 : undefined),
  );
  // Whatever is on loopback has no neighbours.
  if (entries.length === 0 || entries.some(({ internal }) => internal)) return [];
  const networks = own.flatMap(({ cidr }) => (cidr === null ? [] : [cidr]));
  if (networks.some((cidr) => contains(cidr, vip.address))) return [];
  const says = `${vip.address} is in none of the networks of ${vip.interface} (${networks.join(", ") || `no address of ${family}`})`;
  return [
    warning(SUBJECT, `${says}: its neighbours look for it elsewhere`, "correct vip.address or vip.interface, unless a route leads there"),
  ];
}

function contains(cidr: string, address: string): boolean {
  const [network = "", length = ""] = cidr.split("/");
  const family = isIpv6Text(address) ? "ipv6" : "ipv4";
  const list = new BlockList();
  list.addSubnet(network, Number(length), family);
  return list.check(address, family);
}

function programFindings(vip: VipConfig): readonly Finding[] {
  const late = "without it neighbours find the address late";
  const announcer = isIpv6Text(vip.address)
    ? (["vip.ndptool_command", ndptoolOf(vip), warning, `install libndp-tools: ${late}`] as const)
    : (["vip.arping_command", vip.arpingCommand, warning, `install iputils-arping: ${late}`] as const);
  const commands = [["vip.ip_command", vip.ipCommand, fault, "install iproute2"] as const, announcer];
  return commands.flatMap(([option, command, found, fix]) => {
    const words = shellWords(command);
    if (words === null) return [fault(SUBJECT, `${option}: a quote is not closed`, `correct ${option}`)];
    // Behind sudo or timeout stands what is really run.
    const missing = words.filter((word, at) => (at === 0 || word.startsWith("/")) && Bun.which(word) === null);
    return missing.length === 0 ? [] : [found(SUBJECT, `${option}: there is no ${missing.join(", ")}`, fix)];
  });
}

function shortLease(ttlMs: number): Finding {
  const least = SHORTEST_TTL_MS / 1000;
  const fix = `ctl edit-config -s ttl=${least}, or more; the same for consul.session_check_ttl`;
  return fault(SUBJECT, `a ttl of ${ttlMs / 1000} s is too short for it: it is put nowhere`, fix);
}

function placeFinding(
  vip: VipConfig,
  { name, cluster, supervised }: Pick<AddressSight, "cluster" | "supervised"> & { readonly name: string },
): Finding {
  const at = `${withPrefix(vip)} is`;
  const found = presence(vip);
  if (found === "other-prefix")
    return warning(
      SUBJECT,
      `${at} on ${vip.interface} with another prefix, put there by somebody else`,
      `take it off, or correct vip.address`,
    );
  const word = found === "here" ? `on ${vip.interface}` : `not on ${vip.interface}`;
  if (cluster === null) return unknown(SUBJECT, `${at} ${word}; who leads is not known`);
  const leads = cluster.leader?.name === name;
  if (found === "here" && !leads)
    return warning(
      SUBJECT,
      `${at} ${word}, but this node does not lead`,
      "start its supervisor, which takes it off; or matriarch vip --release",
    );
  if (found === "absent" && leads && supervised)
    return warning(
      SUBJECT,
      `${at} ${word}, although this node leads`,
      "its log says why: most often a right that is missing (docs/vip.md)",
    );
  return fine(SUBJECT, `${at} ${word}, where ${leads ? "the leader is" : "another than the leader is"}`);
}
