// Owns THE status query: everything that the loop and the API need of a running server, in one round trip, for
// versions 13 to 18. It changes nothing on the server.

import * as v from "valibot";
import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import { parseLsn } from "../model/lsn.ts";
import type { PostgresStatus, ReplicationConnection, SlotStatus } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Lsn, type Ms, timeline } from "../model/units.ts";
import type { Connection, Row } from "./connection.ts";

const TIME_FORMAT = "YYYY-MM-DD HH24:MI:SS.USTZH:TZM";

/** object_not_in_prerequisite_state */
const ROLE_CHANGED_SQLSTATE = "SQLSTATE 55000";

/**
 * Functions rather than views where the view would look at every backend: the cost must not grow with the number of
 * clients. Columns of slots that only newer versions have are read by their names. What fails in the other role stands behind CASE, which evaluates only the branch it takes.
 * A standby without a receiver: pg_control learns of a new timeline only at the next restartpoint, its WAL files show it.
 */
export const STATUS_QUERY = `
SELECT pg_backend_pid() AS backend_pid,
  to_char(pg_postmaster_start_time(), '${TIME_FORMAT}') AS postmaster_start_time,
  extract(epoch FROM pg_postmaster_start_time())::float8 AS postmaster_start_epoch,
  current_setting('server_version_num')::int4 AS server_version,
  (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
  r.in_recovery,
  CASE WHEN NOT r.in_recovery THEN pg_current_wal_flush_lsn() END::text AS wal_lsn,
  CASE WHEN r.in_recovery THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) END::text AS received_lsn,
  CASE WHEN r.in_recovery THEN pg_last_wal_replay_lsn() END::text AS replayed_lsn,
  CASE WHEN r.in_recovery THEN to_char(pg_last_xact_replay_timestamp(), '${TIME_FORMAT}') END AS replay_timestamp,
  CASE WHEN r.in_recovery THEN pg_is_wal_replay_paused() ELSE false END AS replay_paused,
  CASE WHEN NOT r.in_recovery THEN ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4
    ELSE coalesce(nullif(w.received_tli, 0), (SELECT greatest(p.min_recovery_end_timeline, c.timeline_id, (
        SELECT max(('x' || left(f.name, 8))::bit(32)::int4) FROM pg_ls_waldir() f WHERE f.name ~ '^[0-9A-F]{24}$'))
      FROM pg_control_recovery() p, pg_control_checkpoint() c)) END AS timeline,
  w.status AS receiver_status, w.sender_host, w.sender_port, w.slot_name AS receiver_slot,
  (SELECT json_agg(json_build_object('pid', s.pid, 'usename', pg_get_userbyid(a.usesysid),
      'application_name', coalesce(a.application_name, ''), 'client_addr', host(a.client_addr), 'state', coalesce(s.state, ''),
      'sync_state', coalesce(s.sync_state, ''), 'sync_priority', coalesce(s.sync_priority, 0),
      'write_lsn', s.write_lsn::text, 'flush_lsn', s.flush_lsn::text, 'replay_lsn', s.replay_lsn::text) ORDER BY s.pid)
    FROM pg_stat_get_wal_senders() s, pg_stat_get_activity(s.pid) a) AS replication,
  (SELECT json_agg(json_build_object('name', l.slot_name, 'type', l.slot_type, 'active', l.active, 'plugin', l.plugin,
      'database', l.database, 'temporary', l.temporary, 'restart_lsn', l.restart_lsn::text,
      'confirmed_flush_lsn', l.confirmed_flush_lsn::text, 'xmin', l.xmin::text::int8, 'catalog_xmin', l.catalog_xmin::text::int8,
      'lost', coalesce(l.wal_status = 'lost' OR (j.row->>'conflicting')::bool OR j.row->>'invalidation_reason' IS NOT NULL, false),
      'failover', coalesce((j.row->>'failover')::bool OR (j.row->>'synced')::bool, false)) ORDER BY l.slot_name)
    FROM pg_replication_slots l, to_jsonb(l) AS j(row)) AS slots,
  current_setting('synchronous_standby_names') AS synchronous_standby_names,
  current_setting('primary_conninfo') AS primary_conninfo,
  current_setting('primary_slot_name') AS primary_slot_name,
  current_setting('restore_command') AS restore_command
FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) r
LEFT JOIN pg_stat_get_wal_receiver() w ON w.pid IS NOT NULL`;

const position = v.nullable(
  v.pipe(
    v.string(),
    v.rawTransform(({ dataset, addIssue, NEVER }): Lsn => {
      const value = parseLsn(dataset.value);
      if (value !== null) return value;
      addIssue({ message: "not a WAL position" });
      return NEVER;
    }),
  ),
);

const statusRow = v.object({
  backend_pid: v.number(),
  postmaster_start_time: v.string(),
  postmaster_start_epoch: v.number(),
  server_version: v.number(),
  system_identifier: v.string(),
  in_recovery: v.boolean(),
  wal_lsn: position,
  received_lsn: position,
  replayed_lsn: position,
  replay_timestamp: v.nullable(v.string()),
  replay_paused: v.boolean(),
  timeline: v.nullable(v.number()),
  receiver_status: v.nullable(v.string()),
  sender_host: v.nullable(v.string()),
  sender_port: v.nullable(v.number()),
  receiver_slot: v.nullable(v.string()),
  replication: v.nullable(
    v.array(
      v.object({
        pid: v.number(),
        usename: v.nullable(v.string()),
        application_name: v.string(),
        client_addr: v.nullable(v.string()),
        state: v.string(),
        sync_state: v.string(),
        sync_priority: v.number(),
        write_lsn: position,
        flush_lsn: position,
        replay_lsn: position,
      }),
    ),
  ),
  slots: v.nullable(
    v.array(
      v.object({
        name: v.string(),
        type: v.picklist(["physical", "logical"]),
        active: v.boolean(),
        plugin: v.nullable(v.string()),
        database: v.nullable(v.string()),
        temporary: v.boolean(),
        restart_lsn: position,
        confirmed_flush_lsn: position,
        xmin: v.nullable(v.number()),
        catalog_xmin: v.nullable(v.number()),
        lost: v.boolean(),
        failover: v.boolean(),
      }),
    ),
  ),
  synchronous_standby_names: v.string(),
  primary_conninfo: v.string(),
  primary_slot_name: v.string(),
  restore_command: v.string(),
});

type StatusRow = v.InferOutput<typeof statusRow>;

/** Errors: unreachable (starting up and shutting down count), timeout, failed (the answer cannot be read). */
export async function readStatus(connection: Connection, clock: Clock, deadline: Ms): Promise<Result<PostgresStatus, PostgresError>> {
  const askedAt = clock.now();
  let rows = await connection.query(STATUS_QUERY, [], deadline);
  // A promotion that ended in the middle of the query: some function found the other role.
  if (!rows.ok && rows.error.message.includes(ROLE_CHANGED_SQLSTATE)) rows = await connection.query(STATUS_QUERY, [], deadline);
  return rows.ok ? decodeStatus(rows.value[0], askedAt) : rows;
}

/** Errors: failed (names the field that has another form). */
export function decodeStatus(row: Row | undefined, askedAt: Ms): Result<PostgresStatus, PostgresError> {
  const parsed = v.safeParse(statusRow, row);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    return err({ kind: "failed", message: `the status query answered ${v.getDotPath(issue) ?? "nothing"}: ${issue.message}` });
  }
  const found = parsed.output;
  return ok({
    askedAt,
    backendPid: found.backend_pid,
    postmasterStartTime: found.postmaster_start_time,
    postmasterStartEpochSeconds: found.postmaster_start_epoch,
    serverVersion: found.server_version,
    systemIdentifier: found.system_identifier,
    inRecovery: found.in_recovery,
    walLsn: found.wal_lsn,
    receivedLsn: found.received_lsn,
    replayedLsn: found.replayed_lsn,
    replayTimestamp: found.replay_timestamp,
    replayPaused: found.replay_paused,
    timeline: found.timeline === null || found.timeline < 1 ? null : timeline(found.timeline),
    replicationState: replicationState(found),
    walReceiver:
      found.receiver_status === null
        ? null
        : { senderHost: found.sender_host ?? "", senderPort: found.sender_port ?? 0, slotName: found.receiver_slot },
    replication: (found.replication ?? []).map(replicationConnection),
    slots: (found.slots ?? []).map(slotStatus),
    synchronousStandbyNames: found.synchronous_standby_names,
    primaryConninfo: found.primary_conninfo,
    primarySlotName: found.primary_slot_name,
    restoreCommand: found.restore_command,
  });
}

function replicationState(row: StatusRow): string | null {
  if (!row.in_recovery) return null;
  if (row.receiver_status === "streaming") return "streaming";
  return row.restore_command === "" ? null : "in archive recovery";
}

function replicationConnection(row: NonNullable<StatusRow["replication"]>[number]): ReplicationConnection {
  return {
    pid: row.pid,
    usename: row.usename ?? "",
    applicationName: row.application_name,
    clientAddr: row.client_addr,
    state: row.state,
    syncState: row.sync_state,
    syncPriority: row.sync_priority,
    writeLsn: row.write_lsn,
    flushLsn: row.flush_lsn,
    replayLsn: row.replay_lsn,
  };
}

function slotStatus(row: NonNullable<StatusRow["slots"]>[number]): SlotStatus {
  return {
    name: row.name,
    type: row.type,
    active: row.active,
    plugin: row.plugin,
    database: row.database,
    temporary: row.temporary,
    restartLsn: row.restart_lsn,
    confirmedFlushLsn: row.confirmed_flush_lsn,
    xmin: row.xmin,
    catalogXmin: row.catalog_xmin,
    lost: row.lost,
    failover: row.failover,
  };
}
