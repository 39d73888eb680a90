// Owns the URL form of the built-in Raft, `raft://host:port,host:port?password=…`, as the command line takes it. Never
// prints a password. Connects nowhere.

import type { ConfigFault } from "../../model/errors.ts";
import { parseHostPort } from "../../model/host-port.ts";
import type { HostPort, RaftConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { ms } from "../../model/units.ts";

/** The port of the examples in the documentation. */
const DEFAULT_PORT = 5010;
const PARAMETERS: readonly string[] = ["password", "cafile", "certfile", "keyfile", "insecure"];

/** The members that a URL names, and how to talk to them; null where it says nothing. */
export interface RaftUrl {
  readonly addresses: readonly HostPort[];
  readonly password: string | null;
  readonly cafile: string | null;
  readonly certfile: string | null;
  readonly keyfile: string | null;
  readonly insecure: boolean | null;
}

/**
 * Reads `raft://host[:port][,host[:port]…][?password=…&cafile=…&certfile=…&keyfile=…&insecure=true]`. Faults name the part
 * that is wrong, never the password.
 *
 * @example parseRaftUrl("raft://10.0.0.1:5010,10.0.0.2:5010") // two addresses, nothing else
 */
export function parseRaftUrl(text: string): Result<RaftUrl, ConfigFault> {
  const match = /^raft:\/\/([^/?#]*)\/?(?:\?([^#]*))?$/i.exec(text);
  if (match === null) return fault("url", "not an address of the Raft; write raft://host:port,host:port");
  const hosts = match[1] ?? "";
  if (hosts.includes("@")) return fault("url", "no user and password here; write ?password=…");
  const addresses = hosts.split(",").map((host) => parseHostPort(host, DEFAULT_PORT));
  if (!addresses.every((address) => address !== undefined))
    return fault("url", "a host is missing or wrong; write raft://host:port,host:port");
  const given = new URLSearchParams(match[2] ?? "");
  const unknown = [...given.keys()].find((name) => !PARAMETERS.includes(name));
  if (unknown !== undefined) return fault(unknown, `unknown parameter; known are ${PARAMETERS.join(", ")}`);
  const insecure = given.get("insecure");
  if (insecure !== null && insecure !== "true" && insecure !== "false") return fault("insecure", "write true or false");
  const { password, cafile, certfile, keyfile } = Object.fromEntries(PARAMETERS.map((name) => [name, given.get(name) || null]));
  return ok({
    addresses,
    password: password ?? null,
    cafile: cafile ?? null,
    certfile: certfile ?? null,
    keyfile: keyfile ?? null,
    insecure: insecure === null ? null : insecure === "true",
  });
}

/** A client of the members in the URL; what that does not say is taken from `base`, or is the default. */
export function clientConfig(url: RaftUrl, base: RaftConfig | null): RaftConfig {
  return {
    selfAddr: null,
    bindAddr: null,
    partnerAddrs: url.addresses,
    dataDir: null,
    password: url.password ?? base?.password ?? null,
    insecure: url.insecure ?? base?.insecure ?? false,
    cafile: url.cafile ?? base?.cafile ?? null,
    certfile: url.certfile ?? base?.certfile ?? null,
    keyfile: url.keyfile ?? url.certfile ?? base?.keyfile ?? null,
    keyfilePassword: base?.keyfilePassword ?? null,
    minTimeoutMs: base?.minTimeoutMs ?? ms(500),
    maxTimeoutMs: base?.maxTimeoutMs ?? ms(1000),
    appendEntriesPeriodMs: base?.appendEntriesPeriodMs ?? ms(100),
    connectionTimeoutMs: base?.connectionTimeoutMs ?? ms(5000),
    connectionRetryTimeMs: base?.connectionRetryTimeMs ?? ms(1000),
    leaderFallbackTimeoutMs: base?.leaderFallbackTimeoutMs ?? ms(2000),
  };
}

function fault(path: string, message: string): Result<never, ConfigFault> {
  return err({ path, message });
}
