// Owns what pg_controldata prints of a data directory, as far as we read it, for tests that have no such program at hand.

/** `state` and the rest as pg_controldata writes them. */
export function controlText(
  fields: {
    readonly state?: string;
    readonly timeline?: number;
    readonly recoveryEnd?: string;
    readonly recoveryEndTimeline?: number;
  } = {},
): string {
  const { state = "shut down", timeline = 1, recoveryEnd = "0/0", recoveryEndTimeline = 0 } = fields;
  return `pg_control version number:            1300
Database system identifier:           7710758555136322125
Database cluster state:               ${state}
Latest checkpoint location:           0/178C8E0
Latest checkpoint's REDO location:    0/178C8A8
Latest checkpoint's TimeLineID:       ${timeline}
Latest checkpoint's oldestCommitTsXid:0
Minimum recovery ending location:     ${recoveryEnd}
Min recovery ending loc's timeline:   ${recoveryEndTimeline}
wal_log_hints setting:                on
max_connections setting:              100
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
Data page checksum version:           1
`;
}
