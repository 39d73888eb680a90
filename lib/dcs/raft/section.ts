// Owns what the `raft` section of a configuration means to the parts of the Raft: how connections are protected, and which
// addresses a client asks. Opens nothing.

import type { ConfigFault } from "../../model/errors.ts";
import { formatHostPort, isLoopback } from "../../model/host-port.ts";
import type { RaftConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { type RaftMemberConfig, raftMemberConfig } from "./member/config.ts";
import type { Security } from "./transport/security.ts";
import { DEFAULT_TRANSPORT_TIMINGS } from "./transport/transport.ts";

/**
 * Certificates where they are named, else the password, else nothing. Errors: an address off loopback without either, unless
 * `insecure` says that this is meant.
 */
export function securityOf(config: RaftConfig): Result<Security, ConfigFault> {
  const { cafile, certfile, keyfile, keyfilePassword, password } = config;
  if (cafile !== null && certfile !== null)
    return ok({ kind: "tls", caFile: cafile, certFile: certfile, keyFile: keyfile ?? certfile, keyPassword: keyfilePassword });
  if (password !== null) return ok({ kind: "password", password });
  const open = [config.selfAddr, config.bindAddr, ...config.partnerAddrs].find((address) => address !== null && !isLoopback(address.host));
  if (open === undefined || open === null || config.insecure) return ok({ kind: "plain" });
  const message = `${open.host} is not a loopback address, and traffic would not be protected; write password: SECRET, or cafile, certfile and keyfile, or insecure: true`;
  return err({ path: "raft.password", message });
}

/** The own member first, where there is one: it is the nearest. */
export function clientAddresses(config: RaftConfig): readonly string[] {
  const all = [...(config.selfAddr === null ? [] : [config.selfAddr]), ...config.partnerAddrs];
  return [...new Set(all.map(formatHostPort))];
}

/** What a member is started with. Errors: as securityOf. Throws Error without `self_addr`: the configuration demands it. */
export function memberConfigOf(config: RaftConfig, founding: RaftMemberConfig["founding"]): Result<RaftMemberConfig, ConfigFault> {
  const security = securityOf(config);
  if (!security.ok) return security;
  if (config.selfAddr === null) throw new Error("a member without an address");
  return ok(
    raftMemberConfig({
      selfAddress: formatHostPort(config.selfAddr),
      bindAddress: formatHostPort(config.bindAddr ?? config.selfAddr),
      partnerAddresses: config.partnerAddrs.map(formatHostPort),
      security: security.value,
      timings: {
        heartbeatMs: config.appendEntriesPeriodMs,
        electionMinMs: config.minTimeoutMs,
        electionMaxMs: config.maxTimeoutMs,
      },
      connections: {
        ...DEFAULT_TRANSPORT_TIMINGS,
        connectMs: config.connectionTimeoutMs,
        retryMs: config.connectionRetryTimeMs,
      },
      founding,
    }),
  );
}
