// Owns the measures that are ours, `matriarch_…`, and what each of them says. Patroni's are metrics.ts.

import { type ScheduledBackup, scheduledBackups } from "../core/scheduled-backups.ts";
import type { Labels, MetricFamily, Sample } from "../model/metric.ts";
import { PRODUCT_VERSION } from "../model/product.ts";
import type { MemberFigures } from "../model/raft.ts";
import type { NodeFacts, NodeMeasures } from "../runtime/node-service.ts";
import { familyText, labelPairs } from "./exposition.ts";

const PREFIX = "matriarch_";
const RAFT_ROLES = ["leader", "follower", "candidate", "pre-candidate"] as const;
const NONE: Labels = {};

/** The text of all of them. What was counted is written anew only where it changed. */
export class OwnMetrics {
  #revision = -1;
  #base = "";
  #counted = "";

  /** `wallNow` in epoch milliseconds. */
  text(facts: NodeFacts, measures: NodeMeasures, common: Labels, wallNow: number): string {
    const base = labelPairs(common);
    if (measures.revision !== this.#revision || base !== this.#base) {
      this.#counted = measures
        .families()
        .map((family) => familyText(PREFIX, base, family))
        .join("");
      this.#revision = measures.revision;
      this.#base = base;
    }
    const now = [
      ...nodeFamilies(facts, measures),
      ...addressFamilies(facts),
      ...copyFamilies(facts),
      ...backupFamilies(facts, wallNow),
      ...raftFamilies(measures.raft),
      ...processFamilies(),
    ];
    return now.map((family) => familyText(PREFIX, base, family)).join("") + this.#counted;
  }
}

function nodeFamilies(facts: NodeFacts, { guard, leaseRemainingMs }: NodeMeasures): readonly MetricFamily[] {
  const { actsInMs } = guard;
  return [
    {
      kind: "gauge",
      name: "info",
      help: "Version of the product, and what fences this node.",
      samples: [{ labels: { version: PRODUCT_VERSION, fencing: facts.fencing }, value: 1 }],
    },
    gauge("holds_lock", "Value is 1 if this node's own lease of the leader lock is valid, 0 otherwise.", bit(facts.holdsLock)),
    gauge("lease_remaining_seconds", "What is left of this node's lease of the leader lock, 0 without one.", leaseRemainingMs / 1000),
    gauge("dcs_reachable", "Value is 1 if the DCS answered within the last cycle, 0 otherwise.", bit(facts.dcsReachable)),
    gauge("last_cycle_age_seconds", "Seconds since the HA loop last finished a cycle.", Math.max(0, facts.now - facts.lastCycleAt) / 1000),
    gauge("watchdog_failed", "Value is 1 if the configured watchdog could not be armed, 0 otherwise.", bit(facts.watchdogFailed)),
    gauge(
      "guard_armed",
      "Value is 1 if something stops PostgreSQL at the end of the lease although this process hangs, 0 otherwise.",
      bit(guard.armed),
    ),
    gauge("guard_healthy", "Value is 1 if it is armed and, as far as can be seen, able to act, 0 otherwise.", bit(guard.healthy)),
    {
      kind: "gauge",
      name: "guard_acts_in_seconds",
      help: "When it acts if it hears nothing more; absent where it does not.",
      samples: actsInMs === null ? [] : [{ labels: NONE, value: actsInMs / 1000 }],
    },
  ];
}

/** Nothing where the node keeps no address. */
function addressFamilies({ vip }: NodeFacts): readonly MetricFamily[] {
  if (vip === null) return [];
  const labels = { address: vip.address, interface: vip.interface };
  const help = "Value is 1 if the address of the primary's host is on this one, 0 otherwise.";
  return [{ kind: "gauge", name: "vip", help, samples: [{ labels, value: bit(vip.here) }] }];
}

function copyFamilies({ copy }: NodeFacts): readonly MetricFamily[] {
  return [
    gauge("copy_running", "Value is 1 while a base backup is being made here whose progress is known, 0 otherwise.", bit(copy !== null)),
    gauge("copy_done_bytes", "Bytes of the base backup that are here, 0 where none is being made.", copy?.doneBytes ?? 0),
    gauge(
      "copy_total_bytes",
      "Bytes that the base backup will have, as estimated at its beginning, 0 where none is being made.",
      copy?.totalBytes ?? 0,
    ),
  ];
}

/** Of the whole cluster, as each node with a schedule sees it; nothing where there is none. */
function backupFamilies({ cluster, config }: NodeFacts, wallNow: number): readonly MetricFamily[] {
  const schedule = config.pgbackrest?.schedule ?? null;
  if (schedule === null) return [];
  const { running, types } = scheduledBackups(schedule, cluster?.backup ?? null, wallNow);
  const perType = (name: string, help: string, value: (backup: ScheduledBackup) => number | null): MetricFamily => ({
    kind: "gauge",
    name: `backup_${name}`,
    help,
    samples: types.flatMap((backup) => {
      const found = value(backup);
      return found === null ? [] : [{ labels: { type: backup.type }, value: found }];
    }),
  });
  const late = ({ due }: ScheduledBackup) => (due === null ? null : Math.max(0, Math.floor(wallNow / 1000) - due));
  return [
    perType(
      "last_success_timestamp_seconds",
      "When the last scheduled one of the type was done; absent before.",
      ({ done }) => done?.at ?? null,
    ),
    perType("last_duration_seconds", "How long it took.", ({ done }) => done?.seconds ?? null),
    perType("failed", "Value is 1 if the last attempt failed and none has succeeded since, 0 otherwise.", ({ failed }) =>
      bit(failed !== null),
    ),
    perType("running", "Value is 1 while one of the type is being taken, on whichever node, 0 otherwise.", ({ type }) =>
      bit(running?.type === type),
    ),
    perType("overdue_seconds", "Since when one is due and was not begun, 0 where none is.", late),
  ];
}

/** Nothing where the node has no member of the Raft. */
function raftFamilies(raft: MemberFigures | null): readonly MetricFamily[] {
  if (raft === null) return [];
  const roles: readonly Sample[] = RAFT_ROLES.map((role) => ({ labels: { role }, value: bit(raft.role === role) }));
  return [
    gauge("raft_serving", "Value is 1 if this node's member of the Raft serves, 0 while it waits or joins.", bit(raft.state === "serving")),
    { kind: "gauge", name: "raft_role", help: "Value is 1 for the role of this node's member of the Raft.", samples: roles },
    gauge("raft_term", "Its term.", raft.term),
    gauge("raft_last_index", "Index of the last entry of its log.", raft.lastIndex),
    gauge("raft_commit_index", "Index of the last entry that it knows to be committed.", raft.commit),
    gauge("raft_applied_index", "Index of the last entry that it has applied.", raft.applied),
    gauge(
      "raft_commit_lag_entries",
      "Entries of its log that are not committed yet, as far as it knows.",
      Math.max(0, raft.lastIndex - raft.commit),
    ),
    gauge("raft_snapshot_index", "Index of the last entry in its newest snapshot.", raft.snapshotIndex),
    gauge("raft_log_bytes", "Bytes of the entries behind the snapshot.", raft.logBytes),
    gauge("raft_snapshot_bytes", "Bytes of its newest snapshot.", raft.snapshotBytes),
    {
      kind: "gauge",
      name: "raft_sync_seconds",
      help: "Moving mean of the time until a write to its log is durable; absent before the first.",
      samples: raft.syncMs === null ? [] : [{ labels: NONE, value: raft.syncMs / 1000 }],
    },
    {
      kind: "histogram",
      name: "raft_fsync_seconds",
      help: "Time that each sync of its log took.",
      samples: [{ labels: NONE, ...raft.fsyncs }],
    },
    {
      kind: "counter",
      name: "raft_elections_total",
      help: "How often it stood for election.",
      samples: [{ labels: NONE, value: raft.elections }],
    },
    gauge("raft_voters", "Voters of the Raft.", raft.voters),
    gauge("raft_voters_connected", "Voters that it has a connection with, itself included.", raft.votersConnected),
  ];
}

function processFamilies(): readonly MetricFamily[] {
  const { user, system } = process.cpuUsage();
  return [
    {
      kind: "counter",
      name: "process_cpu_seconds_total",
      help: "Processor time of the supervisor.",
      samples: [{ labels: NONE, value: (user + system) / 1e6 }],
    },
    gauge(
      "process_resident_memory_bytes",
      "Resident memory of the supervisor, pages shared with others included.",
      process.memoryUsage.rss(),
    ),
  ];
}

function gauge(name: string, help: string, value: number): MetricFamily {
  return { kind: "gauge", name, help, samples: [{ labels: NONE, value }] };
}

function bit(value: boolean): 0 | 1 {
  return value ? 1 : 0;
}
