// Owns the rules of the `raft` section: what a member or a client of the built-in Raft must have, and what contradicts itself.
// Judges single values nowhere; touches no file.

import { resolve, sep } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import { formatHostPort, isLoopback, isWildcard } from "../model/host-port.ts";
import type { Purpose } from "./rules.ts";
import type { RaftTree } from "./schema-node.ts";

/** What to write where the section is missing. */
export const RAFT_LINE =
  "write raft: {self_addr: 10.0.0.1:5010, partner_addrs: ['10.0.0.2:5010', '10.0.0.3:5010'], data_dir: /var/lib/matriarch/raft, password: SECRET}";

/** As many as one Raft holds: each further one makes every write slower and no failure more bearable. */
const RAFT_MEMBERS_MAX = 9;

/** `data`: PostgreSQL's data directory, where it is known. */
export function raftFaults(raft: RaftTree, beside: { readonly data: string | null; readonly purpose: Purpose }): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  if (raft.self_addr === null && (raft.partner_addrs.length === 0 || beside.purpose === "witness")) {
    const why = beside.purpose === "witness" ? "a member needs its own address" : "missing, and partner_addrs too";
    faults.push({ path: "raft.self_addr", message: `${why}; write self_addr: 10.0.0.1:5010` });
  }
  for (const [path, address] of [
    ["self_addr", raft.self_addr] as const,
    ...raft.partner_addrs.map((one) => ["partner_addrs", one] as const),
  ]) {
    if (address === null || !isWildcard(address.host)) continue;
    const message = `"${address.host}" is no address to connect to; write the one at which the others reach it, and bind_addr: ${address.host}:${address.port}`;
    faults.push({ path: `raft.${path}`, message });
  }
  const members = new Set([raft.self_addr, ...raft.partner_addrs].flatMap((one) => (one === null ? [] : [formatHostPort(one)])));
  if (members.size > RAFT_MEMBERS_MAX) {
    faults.push({
      path: "raft.partner_addrs",
      message: `${members.size} members with this one; write at most ${RAFT_MEMBERS_MAX - 1} others`,
    });
  }
  return [...faults, ...raftFolderFaults(raft, beside), ...raftSecurityFaults(raft), ...raftTimingFaults(raft)];
}

function raftFolderFaults(raft: RaftTree, beside: { readonly data: string | null; readonly purpose: Purpose }): readonly ConfigFault[] {
  const path = "raft.data_dir";
  const line = "write data_dir: /var/lib/matriarch/raft";
  if (raft.data_dir === null) {
    return raft.self_addr === null || beside.purpose === "store" || beside.purpose === "pooler"
      ? []
      : [{ path, message: `missing beside self_addr; ${line}` }];
  }
  if (beside.data === null || !`${resolve(raft.data_dir)}${sep}`.startsWith(`${resolve(beside.data)}${sep}`)) return [];
  return [{ path, message: `${raft.data_dir} is inside PostgreSQL's data directory, which a new copy of the node replaces; ${line}` }];
}

function raftSecurityFaults(raft: RaftTree): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  const files = { cafile: raft.cafile, certfile: raft.certfile, keyfile: raft.keyfile };
  const named = Object.entries(files).find(([, file]) => file !== null);
  if (named !== undefined) {
    for (const name of ["cafile", "certfile"] as const) {
      if (files[name] !== null) continue;
      faults.push({
        path: `raft.${name}`,
        message: `missing beside ${named[0]}; members prove themselves to each other: write cafile, certfile and keyfile`,
      });
    }
  }
  const addresses = [raft.self_addr, raft.bind_addr, ...raft.partner_addrs].filter((address) => address !== null);
  const open = addresses.find(({ host }) => !isLoopback(host));
  if (open !== undefined && raft.password === null && named === undefined && !raft.insecure) {
    const message = `${open.host} is not a loopback address, and traffic would not be protected; write password: SECRET, or cafile, certfile and keyfile, or insecure: true`;
    faults.push({ path: "raft.password", message });
  }
  return faults;
}

function raftTimingFaults(raft: RaftTree): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  if (raft.min_timeout > raft.max_timeout) {
    faults.push({ path: "raft.max_timeout", message: `shorter than min_timeout; write max_timeout: ${(2 * raft.min_timeout) / 1000}` });
  }
  if (2 * raft.append_entries_period > raft.min_timeout) {
    const message = `more than half of min_timeout, so that one late heartbeat would be an election; write append_entries_period: ${raft.min_timeout / 5000}`;
    faults.push({ path: "raft.append_entries_period", message });
  }
  return faults;
}

export function raftWarnings(raft: RaftTree): readonly ConfigFault[] {
  const warnings: ConfigFault[] = [];
  if (raft.password !== null && raft.certfile !== null) {
    warnings.push({ path: "raft.password", message: "not used: the members prove themselves with certificates; remove one of the two" });
  }
  if (raft.self_addr === null && raft.bind_addr !== null) {
    warnings.push({ path: "raft.bind_addr", message: "not used without self_addr: this node is no member" });
  }
  return warnings;
}
