// Owns the doctor's look at the cluster: the Raft's members, the dynamic configuration and its timing rules, the other nodes' REST
// APIs and their clocks. Asks only; it changes nothing.

import { acceptDynamic } from "../../config/dynamic.ts";
import { limitsOf } from "../../config/load.ts";
import { ClusterStore } from "../../dcs/cluster-store.ts";
import { openStore } from "../../dcs/open-store.ts";
import { clientAddresses } from "../../dcs/raft/section.ts";
import type { Clock } from "../../model/clock.ts";
import type { Cluster } from "../../model/cluster.ts";
import { describeStoreError } from "../../model/errors.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import type { Log } from "../../model/log.ts";
import type { NodeConfig } from "../../model/node-config.ts";
import { err, type Result } from "../../model/result.ts";
import { type Ms, ms, seconds } from "../../model/units.ts";
import { askEveryone, statusesOf } from "../raft/conversation.ts";
import { openMembersLink } from "../raft/members-link.ts";

const ANSWERS_WITHIN_MS = 5_000;
/** Schedules and logs follow the wall clock; leases do not. */
const CLOCK_APART_MS = 1_000;
const QUIET: Log = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {}, critical: () => {} };

/** The cluster as the store has it. The error says why it cannot be read. */
export async function readCluster(config: NodeConfig, clock: Clock): Promise<Result<Cluster, string>> {
  try {
    const store = await openStore({ consul: config.consul, raft: config.raft }, { clock, log: QUIET });
    const group = config.citus?.group ?? null;
    const { namespace, scope } = config;
    const cluster = new ClusterStore({ store, clock, log: QUIET, namespace, scope, group, name: "doctor", ttl: seconds(30) });
    try {
      const read = await cluster.getCluster({ deadline: ms(clock.now() + ANSWERS_WITHIN_MS), consistency: "consistent" });
      return read.ok ? read : err(describeStoreError(read.error));
    } finally {
      await store.close();
    }
  } catch (error) {
    return err(error instanceof Error ? error.message : String(error));
  }
}

export async function raftFindings(config: NodeConfig, clock: Clock): Promise<readonly Finding[]> {
  const { raft } = config;
  if (raft === null) return [];
  const link = openMembersLink(raft, { clock, log: QUIET });
  if (!link.ok) return [fault("raft", `${link.error.path}: ${link.error.message}`, "correct the raft section")];
  try {
    const asked = await askEveryone(link.value, clientAddresses(raft), ms(clock.now() + ANSWERS_WITHIN_MS));
    const statuses = statusesOf(asked);
    const silent = asked.filter(({ heard }) => heard.kind !== "status");
    const findings = silent.map(({ address, heard }) =>
      warning(
        "raft",
        `${address} does not answer${heard.kind === "silent" ? `: ${heard.reason}` : ""}`,
        "start that node; check its port, its password and its certificates",
      ),
    );
    const leader = statuses.find(({ role }) => role === "leader");
    if (leader !== undefined) {
      const voters = leader.members.filter(({ part }) => part === "voter").length;
      const even = voters % 2 === 0 ? " (an even number outlives no more losses than one less)" : "";
      return [fine("raft", `${leader.member.address} leads in term ${leader.term}; ${voters} members vote${even}`), ...findings];
    }
    if (statuses.length === 0)
      return [warning("raft", "no member answers", "start the nodes: a majority of the members makes the store"), ...findings];
    return [
      fault("raft", "nobody leads", "start members until a majority is there; where it is lost for good, see raft recover"),
      ...findings,
    ];
  } finally {
    await link.value.close();
  }
}

/** The rules between ttl, loop_wait and retry_timeout, and every other value that is not taken as it is written. */
export function timingFindings(config: NodeConfig, cluster: Cluster | null): readonly Finding[] {
  const where = cluster?.config ? "the dynamic configuration" : "bootstrap.dcs";
  const accepted = acceptedOf(config, cluster);
  const { ttlMs, loopWaitMs, retryTimeoutMs } = accepted.config;
  const [ttl, loop, retry] = [ttlMs, loopWaitMs, retryTimeoutMs].map((value) => value / 1000);
  const rule = `ttl ${ttl} ≥ loop_wait ${loop} + 2 × retry_timeout ${retry}`;
  const faults = accepted.faults.map(({ path, message }) =>
    warning("timing", `${where}: ${path}: ${message}`, `ctl edit-config, or correct bootstrap.dcs before the first start`),
  );
  return [fine("timing", `in force: ${rule}`), ...faults];
}

/** In force, or from the first start on. */
export function leaseTtl(config: NodeConfig, cluster: Cluster | null): Ms {
  return acceptedOf(config, cluster).config.leaseTtlMs;
}

function acceptedOf(config: NodeConfig, cluster: Cluster | null): ReturnType<typeof acceptDynamic> {
  return acceptDynamic(cluster?.config?.data ?? config.bootstrap.dcs, limitsOf(config), config.consul?.sessionCheckTtlMs ?? null);
}

/** Each other node's API: whether it answers, and how far its clock is from ours. */
export async function peerFindings(config: NodeConfig, cluster: Cluster): Promise<readonly Finding[]> {
  const others = cluster.members.filter(({ name, apiUrl }) => name !== config.name && apiUrl !== null);
  return await Promise.all(others.map(({ name, apiUrl }) => peer(name, apiUrl ?? "")));
}

async function peer(name: string, url: string): Promise<Finding> {
  const subject = `peer ${name}`;
  const base = URL.parse(url);
  if (base === null) return unknown(subject, `its member key has no URL that can be asked: ${url}`);
  const target = `${base.origin}/liveness`;
  try {
    // Only the clock is read, so anybody's answer will do; who it is, the members prove to each other.
    const before = Date.now();
    const answer = await fetch(target, { signal: AbortSignal.timeout(ANSWERS_WITHIN_MS), tls: { rejectUnauthorized: false } });
    const middle = (before + Date.now()) / 2;
    const told = Date.parse(answer.headers.get("date") ?? "");
    if (Number.isNaN(told)) return fine(subject, `${base.host} answers`);
    // The header has whole seconds.
    const apart = Math.max(0, Math.abs(told + 500 - middle) - 500);
    const text = `${base.host} answers; its clock is ${apart < CLOCK_APART_MS ? "with ours" : `${(apart / 1000).toFixed(0)} s from ours`}`;
    return apart < CLOCK_APART_MS
      ? fine(subject, text)
      : warning(subject, text, "run chrony or systemd-timesyncd on each node: schedules and logs follow the clock (leases do not)");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return unknown(
      subject,
      `${base.host} does not answer: ${reason}`,
      "start it; open its port; where it demands a client certificate, that is all this says",
    );
  }
}
