// Owns the doctor's round: which looks there are, and in which order what they found is told. It performs nothing on the node.

import { loadNodeConfig } from "../../config/load.ts";
import { surroundings } from "../../config/surroundings.ts";
import type { Clock } from "../../model/clock.ts";
import type { ConfigFault } from "../../model/errors.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import { runLockOwner, runLockPath } from "../../runtime/run-lock.ts";
import { certificateFindings, plainFindings } from "./certificates.ts";
import { leaseTtl, peerFindings, raftFindings, readCluster, timingFindings } from "./cluster.ts";
import { consulFindings } from "./consul-rights.ts";
import { diskFindings, fencingFindings, modeFindings, nameFindings } from "./machine.ts";
import { poolerFindings } from "./pooler.ts";
import { serverFindings, supervisorFinding } from "./server.ts";
import { addressFindings } from "./vip.ts";

/** `path` and `env` as for a supervisor's start. */
export async function examine(options: {
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}): Promise<readonly Finding[]> {
  const { path, env, clock } = options;
  const loaded = await loadNodeConfig({ path, env });
  const named = path ?? "the environment";
  if (!loaded.ok) return loaded.error.map((wrong) => fault("configuration", line(wrong), `correct it in ${named}`));
  const { config, warnings } = loaded.value;
  const runs = runLockOwner(runLockPath(config.postgresql.dataDir)) !== null;
  // The ports of a node that runs are its own.
  const machine = await surroundings(config, { listenPorts: runs ? "ignore" : "try" });
  const [consul, raft, cluster, disks, names, modes, certificates, server, pooler] = await Promise.all([
    consulFindings(config, clock),
    raftFindings(config, clock),
    readCluster(config, clock),
    diskFindings(config),
    nameFindings(config),
    modeFindings(config, path),
    certificateFindings(config, Date.now()),
    serverFindings(config, clock),
    poolerFindings(config, clock),
  ]);
  const known = cluster.ok ? cluster.value : null;
  return [
    fine("configuration", `${named} is a node's: ${config.name} of ${config.scope}`),
    // Modes and timing rules have looks of their own.
    ...warnings
      .filter(({ path: at }) => at !== path && !TIMING.test(at))
      .map((told) => warning("configuration", line(told), `correct it in ${named}`)),
    ...machine.faults.map((wrong) => fault("configuration", line(wrong), `correct it in ${named}, or the file's mode`)),
    // Addresses of loopback are told by name below.
    ...machine.notes
      .filter(({ path: at }) => !at.endsWith("connect_address"))
      .map((note) => warning("configuration", line(note), "free the port, or choose another; install what is missing")),
    supervisorFinding(config),
    ...modes,
    ...names,
    ...disks,
    ...server,
    ...pooler,
    ...consul,
    ...raft,
    ...(cluster.ok ? [] : [unknown("cluster", `it cannot be read: ${cluster.error}`)]),
    ...timingFindings(config, known),
    ...addressFindings({ config, cluster: known, ttlMs: leaseTtl(config, known), supervised: runs }),
    ...(known === null ? [] : await peerFindings(config, known)),
    ...certificates,
    ...plainFindings(config),
    ...fencingFindings(config),
  ];
}

const TIMING = /^bootstrap\.dcs\.(ttl|loop_wait|retry_timeout)$/;

function line({ path, message }: ConfigFault): string {
  return `${path}: ${message}`;
}
