// Owns GET /metrics and Patroni's part of it. Names, help texts and order are fixed: dashboards use them.
// Ours stand below, with the product's own prefix (own-metrics.ts).

import { stateNumber, tagEnabled } from "../model/member.ts";
import { COMPATIBLE_PATRONI_VERSION } from "../model/product.ts";
import type { NodeFacts, NodeMeasures } from "../runtime/node-service.ts";
import { shownRole, synchronousStanding } from "../runtime/role-facts.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { escapeLabel } from "./exposition.ts";
import { OwnMetrics } from "./own-metrics.ts";
import { isUnlocked } from "./status-document.ts";

type Kind = "gauge" | "counter";
/** Name without prefix, kind, help, value. */
type Metric = readonly [name: string, kind: Kind, help: string, value: bigint | number | string];

const STATE_VALUES =
  "0=initdb, 1=initdb_failed, 2=custom_bootstrap, 3=custom_bootstrap_failed, 4=creating_replica, 5=running, 6=starting, " +
  "7=bootstrap_starting, 8=start_failed, 9=restarting, 10=restart_failed, 11=stopping, 12=stopped, 13=stop_failed, 14=crashed";

/** As old as the facts themselves may be: a crowd of readers costs one text, and health checks wait behind no other. */
const TEXT_MAX_AGE_MS = 250;
/** Where one of these is another one, the text is written anew at once. */
const TEXT_HANGS_ON = ["config", "postgres", "cluster", "state", "role", "holdsLock", "paused", "dcsReachable"] as const;

export function metricRoutes(app: ApiApp, context: ApiContext): void {
  const texts = new MetricsText();
  app.get("/metrics", async () => {
    const facts = await context.service.facts();
    const text = texts.of(facts, context.service.measures(), context.wallNow());
    return new Response(text, { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } });
  });
}

/** The text of the last answer, for as long as it is true. */
export class MetricsText {
  readonly #own = new OwnMetrics();
  #last: { readonly facts: NodeFacts; readonly revision: number; readonly text: string } | null = null;

  /** `wallNow` in epoch milliseconds. */
  of(facts: NodeFacts, measures: NodeMeasures, wallNow: number): string {
    const last = this.#last;
    if (last !== null && last.revision === measures.revision && stillTold(last.facts, facts)) return last.text;
    const { scope, name } = facts.config;
    const text = patroniText(facts) + this.#own.text(facts, measures, { scope, name }, wallNow);
    this.#last = { facts, revision: measures.revision, text };
    return text;
  }
}

function stillTold(told: NodeFacts, facts: NodeFacts): boolean {
  return facts.now - told.now < TEXT_MAX_AGE_MS && TEXT_HANGS_ON.every((name) => told[name] === facts[name]);
}

function patroniText(facts: NodeFacts): string {
  const labels = `{scope="${escapeLabel(facts.config.scope)}",name="${escapeLabel(facts.config.name)}"}`;
  return [...nodeMetrics(facts), ...positionMetrics(facts), ...clusterMetrics(facts)].map((metric) => block(labels, metric)).join("");
}

function block(labels: string, [name, kind, help, value]: Metric): string {
  return `# HELP patroni_${name} ${help}\n# TYPE patroni_${name} ${kind}\npatroni_${name}${labels} ${value}\n`;
}

function nodeMetrics(facts: NodeFacts): readonly Metric[] {
  const postgres = facts.postgres;
  const role = shownRole(facts);
  const standing = synchronousStanding(facts);
  return [
    ["version", "gauge", "Patroni semver without periods.", packedVersion(COMPATIBLE_PATRONI_VERSION)],
    ["postgres_running", "gauge", "Value is 1 if Postgres is running, 0 otherwise.", bit(facts.state === "running" && postgres !== null)],
    ["postmaster_start_time", "gauge", "Epoch seconds since Postgres started.", epochSeconds(postgres?.postmasterStartTime ?? null)],
    ["primary", "gauge", "Value is 1 if this node is the leader, 0 otherwise.", bit(role === "primary")],
    [
      "xlog_location",
      "counter",
      "Current location of the Postgres transaction log, 0 if this node is not the leader.",
      (postgres?.inRecovery === false ? postgres.walLsn : null) ?? 0,
    ],
    ["standby_leader", "gauge", "Value is 1 if this node is the standby_leader, 0 otherwise.", bit(role === "standby_leader")],
    ["replica", "gauge", "Value is 1 if this node is a replica, 0 otherwise.", bit(role === "replica")],
    ["sync_standby", "gauge", "Value is 1 if this node is a sync standby, 0 otherwise.", bit(standing === "sync")],
    ["quorum_standby", "gauge", "Value is 1 if this node is a quorum standby, 0 otherwise.", bit(standing === "quorum")],
  ];
}

function positionMetrics(facts: NodeFacts): readonly Metric[] {
  const replica = facts.postgres?.inRecovery === true ? facts.postgres : null;
  return [
    [
      "xlog_received_location",
      "counter",
      "Current location of the received Postgres transaction log, 0 if this node is not a replica.",
      replica?.receivedLsn ?? 0,
    ],
    [
      "xlog_replayed_location",
      "counter",
      "Current location of the replayed Postgres transaction log, 0 if this node is not a replica.",
      replica?.replayedLsn ?? 0,
    ],
    [
      "xlog_replayed_timestamp",
      "gauge",
      "Current timestamp of the replayed Postgres transaction log, 0 if null.",
      epochSeconds(replica?.replayTimestamp ?? null),
    ],
    ["xlog_paused", "gauge", "Value is 1 if the Postgres xlog is paused, 0 otherwise.", bit(replica?.replayPaused === true)],
    ["postgres_streaming", "gauge", "Value is 1 if Postgres is streaming, 0 otherwise.", bit(replica?.replicationState === "streaming")],
    [
      "postgres_in_archive_recovery",
      "gauge",
      "Value is 1 if Postgres is replicating from archive, 0 otherwise.",
      bit(replica?.replicationState === "in archive recovery"),
    ],
    ["postgres_server_version", "gauge", "Version of Postgres (if running), 0 otherwise.", facts.postgres?.serverVersion ?? 0],
  ];
}

function clusterMetrics(facts: NodeFacts): readonly Metric[] {
  const failsafeMember = facts.dynamic.failsafeMode && facts.cluster?.failsafe?.[facts.config.name] !== undefined;
  return [
    ["cluster_unlocked", "gauge", "Value is 1 if the cluster is unlocked, 0 if locked.", bit(isUnlocked(facts))],
    ["failsafe_mode_is_active", "gauge", "Value is 1 if failsafe mode is active, 0 if inactive.", bit(facts.failsafeActive)],
    ["failsafe_mode_enabled", "gauge", "Value is 1 if failsafe mode is enabled, 0 if disabled.", bit(facts.dynamic.failsafeMode)],
    ["failsafe_member", "gauge", "Value is 1 if this node is a member of the failsafe topology, 0 otherwise.", bit(failsafeMember)],
    ["postgres_timeline", "gauge", "Postgres timeline of this node (if running), 0 otherwise.", facts.postgres?.timeline ?? 0],
    [
      "dcs_last_seen",
      "gauge",
      "Epoch timestamp when DCS was last contacted successfully by Patroni.",
      Math.trunc(facts.dcsLastSeenEpochSeconds),
    ],
    ["pending_restart", "gauge", "Value is 1 if the node needs a restart, 0 otherwise.", bit(Object.keys(facts.pendingRestart).length > 0)],
    ["is_paused", "gauge", "Value is 1 if auto failover is disabled, 0 otherwise.", bit(facts.paused)],
    ["postgres_state", "gauge", `Numeric representation of Postgres state.\n# Values: ${STATE_VALUES}`, stateNumber(facts.state)],
    ["failover_priority", "gauge", "Priority of this node in a leader race, 0 if it never takes part.", failoverPriority(facts)],
  ];
}

function failoverPriority(facts: NodeFacts): number {
  const explicit = facts.tags["nofailover"];
  if (explicit !== undefined && explicit !== null) {
    if (tagEnabled(facts.tags, "nofailover")) return 0;
    return Math.max(1, priorityTag(facts) ?? 1);
  }
  return Math.max(0, priorityTag(facts) ?? 1);
}

function priorityTag(facts: NodeFacts): number | null {
  const priority = facts.tags["failover_priority"];
  if (priority === undefined || priority === null || priority === "") return null;
  const number = Number(priority);
  return Number.isFinite(number) ? number : null;
}

function bit(value: boolean): 0 | 1 {
  return value ? 1 : 0;
}

/** 4.1.5 → 040105 */
function packedVersion(version: string): string {
  return version
    .split(".")
    .map((part) => part.padStart(2, "0"))
    .join("");
}

/** `2026-11-21 21:45:28.610349+00:00` in epoch seconds with all its digits; 0 when absent or in another form. */
export function epochSeconds(text: string | null): string {
  const match = text === null ? null : /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?([+-]\d\d)(?::?(\d\d))?$/.exec(text);
  if (match === null) return "0";
  const [, day, time, fraction = "", hours, minutes = "00"] = match;
  const seconds = Date.parse(`${day}T${time}${hours}:${minutes}`) / 1000;
  if (Number.isNaN(seconds)) return "0";
  const digits = fraction.replace(/0+$/, "");
  return digits === "" ? `${seconds}` : `${seconds}.${digits}`;
}
