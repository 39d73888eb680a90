// Owns the form of the JSON answers as data, for GET /openapi.json. Answers are made elsewhere (status-document.ts,
// lib/core/cluster-view.ts); a test holds each of them to these schemas, so that the document tells the truth.

import * as v from "valibot";

/** Position in the WAL in bytes; exact beyond 2^53. */
const position = v.pipe(v.union([v.pipe(v.number(), v.integer()), v.bigint()]), v.description("position in the WAL, in bytes"));
const whole = v.pipe(v.number(), v.integer());
const lag = v.pipe(
  v.union([v.pipe(v.number(), v.integer()), v.bigint(), v.literal("unknown")]),
  v.description("bytes behind the leader, or unknown"),
);
const yes = v.literal(true);

const TAGS = v.record(v.string(), v.unknown());
const PENDING_RESTART_REASON = v.record(v.string(), v.object({ old_value: v.unknown(), new_value: v.unknown() }));
const SCHEDULED_RESTART = v.record(v.string(), v.unknown());

const XLOG_OF_PRIMARY = v.strictObject({ location: position });
const XLOG_OF_REPLICA = v.strictObject({
  received_location: position,
  replayed_location: position,
  replayed_timestamp: v.nullable(v.string()),
  paused: v.boolean(),
});

const REPLICATION = v.strictObject({
  usename: v.string(),
  application_name: v.string(),
  client_addr: v.nullable(v.string()),
  state: v.string(),
  sync_state: v.string(),
  sync_priority: whole,
});

const VIP = v.strictObject({
  address: v.pipe(v.string(), v.description("with its prefix")),
  interface: v.string(),
  here: v.boolean(),
});

const RAFT = v.strictObject({
  state: v.picklist(["waiting", "joining", "serving"]),
  role: v.string(),
  term: whole,
  leader: v.nullable(v.string()),
});

export const STATUS_DOCUMENT = v.strictObject({
  state: v.pipe(v.string(), v.description("of PostgreSQL, such as running, starting, stopped")),
  postmaster_start_time: v.optional(v.string()),
  role: v.pipe(v.string(), v.description("primary, replica, standby_leader, demoted, promoted or uninitialized")),
  server_version: v.optional(v.pipe(whole, v.description("such as 150006"))),
  xlog: v.optional(v.union([XLOG_OF_PRIMARY, XLOG_OF_REPLICA])),
  sync_standby: v.optional(yes),
  quorum_standby: v.optional(yes),
  timeline: v.optional(whole),
  replication_state: v.optional(v.string()),
  replication: v.optional(v.array(REPLICATION)),
  pause: v.optional(yes),
  cluster_unlocked: v.optional(yes),
  failsafe_mode_is_active: v.optional(yes),
  dcs_last_seen: v.pipe(whole, v.description("epoch seconds")),
  tags: v.optional(TAGS),
  database_system_identifier: v.optional(v.string()),
  pending_restart: v.optional(yes),
  pending_restart_reason: v.optional(PENDING_RESTART_REASON),
  scheduled_restart: v.optional(SCHEDULED_RESTART),
  watchdog_failed: v.optional(yes),
  patroni: v.pipe(
    v.strictObject({ version: v.string(), scope: v.string(), name: v.string() }),
    v.description("version: of the Patroni that this node is compatible with"),
  ),
  product: v.strictObject({ name: v.string(), version: v.string() }),
  fencing: v.pipe(v.string(), v.description("what stops PostgreSQL if the supervisor dies")),
  raft: v.optional(v.pipe(RAFT, v.description("how the node's own member of the Raft stands"))),
  vip: v.optional(v.pipe(VIP, v.description("whether the address of the primary's host is on this one"))),
  copy: v.optional(v.strictObject({ bytes: v.number(), total_bytes: v.nullable(v.number()), percent: v.nullable(v.number()) })),
  lease_held: v.optional(yes),
  decision: v.optional(v.strictObject({ rule: v.string(), why: v.string() })),
});

const MEMBER = v.strictObject({
  name: v.string(),
  role: v.picklist(["leader", "standby_leader", "sync_standby", "quorum_standby", "replica"]),
  state: v.string(),
  api_url: v.optional(v.string()),
  host: v.optional(v.string()),
  port: v.optional(whole),
  timeline: v.optional(whole),
  pending_restart: v.optional(yes),
  pending_restart_reason: v.optional(PENDING_RESTART_REASON),
  scheduled_restart: v.optional(SCHEDULED_RESTART),
  tags: v.optional(TAGS),
  receive_lag: v.optional(lag),
  receive_lsn: v.optional(v.string()),
  replay_lag: v.optional(lag),
  replay_lsn: v.optional(v.string()),
  lag: v.optional(lag),
  lsn: v.optional(v.pipe(v.string(), v.description("such as 0/5000060"))),
});

export const CLUSTER_DOCUMENT = v.strictObject({
  members: v.array(MEMBER),
  scope: v.string(),
  pause: v.optional(yes),
  scheduled_switchover: v.optional(v.strictObject({ at: v.string(), from: v.optional(v.string()), to: v.optional(v.string()) })),
});

export const HISTORY_DOCUMENT = v.pipe(
  v.array(v.array(v.union([position, v.string()]))),
  v.description("a line for each timeline that ended: [timeline, position, reason, time, new leader]"),
);

export const FAILSAFE_DOCUMENT = v.pipe(v.record(v.string(), v.string()), v.description("the URL of each member's API, by name"));
