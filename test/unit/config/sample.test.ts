// Goal: what Patroni 4.1.5 writes with --generate-sample-config loads unchanged, apart from the store's section.
// Method: its content (without the comments) as data; only the store is added.

import { afterAll, expect, test } from "bun:test";
import { effectiveConfig } from "../../../lib/config/effective.ts";
import { sampleConfig } from "../../../lib/config/sample.ts";
import { pgbackrestTree } from "../../../lib/config/sample-pgbackrest.ts";
import { loadText, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

const SAMPLE = `
scope: '#FIXME'
name: vm
log:
  format: '%(asctime)s %(levelname)s: %(message)s'
  level: INFO
  max_queue_size: 1000
  traceback_level: ERROR
  type: plain
restapi:
  connect_address: 127.0.0.1:8008
  listen: 127.0.0.1:8008
bootstrap:
  dcs:
    loop_wait: 10
    retry_timeout: 10
    ttl: 30
    postgresql:
      parameters:
        hot_standby: 'on'
        max_connections: 100
        max_locks_per_transaction: 64
        max_prepared_transactions: 0
        max_replication_slots: 10
        max_wal_senders: 10
        max_worker_processes: 8
        track_commit_timestamp: 'off'
        wal_keep_size: 128MB
        wal_level: replica
        wal_log_hints: 'on'
      use_pg_rewind: true
      use_slots: true
postgresql:
  authentication:
    replication: {password: '#FIXME', username: replicator}
    rewind: {password: '#FIXME', username: rewind_user}
    superuser: {password: '#FIXME', username: postgres}
  bin_dir: ''
  connect_address: 127.0.0.1:5432
  data_dir: '#FIXME'
  listen: 127.0.0.1:5432
  parameters:
    password_encryption: scram-sha-256
  pg_hba:
  - host all all all scram-sha-256
  - host replication replicator all scram-sha-256
tags:
  clonefrom: true
  failover_priority: 1
  noloadbalance: false
  nostream: false
  nosync: false
  sync_priority: 1
consul: {host: 127.0.0.1:8500}
`;

test("Patroni's sample loads; what is obsolete in it and what is left to fill in are one warning each", async () => {
  const result = await loadText(SAMPLE);
  expect(result.ok ? result.value.warnings.map((fault) => fault.path).toSorted() : result.error).toEqual([
    "log.max_queue_size",
    "log.traceback_level",
    "postgresql.authentication.replication.password",
    "postgresql.authentication.rewind.password",
    "postgresql.authentication.superuser.password",
    "postgresql.data_dir",
    "scope",
  ]);
});

test("its bootstrap.dcs, once in the store, is taken without a fault", async () => {
  const result = await loadText(SAMPLE);
  if (!result.ok) throw new Error("the sample must load");
  const { faults, node } = effectiveConfig(result.value, result.value.config.bootstrap.dcs);
  expect(faults).toEqual([]);
  expect(node.postgresql).toMatchObject({ usePgRewind: true, useSlots: true, parameters: { password_encryption: "scram-sha-256" } });
});

test("what pgBackRest adds to the sample loads, and names the node's file to the hooks", async () => {
  const machine = { hostname: "vm", address: "10.0.0.1" };
  const text = sampleConfig(machine, { PATRONI_SCOPE: "demo" }, (stanza) =>
    pgbackrestTree({ stanza, backrest: "/bin/backrest", file: "/n.yml" }),
  );
  const loaded = await loadText(text);
  expect(loaded).toMatchObject({
    ok: true,
    value: {
      config: {
        pgbackrest: { stanza: "demo", config: "/etc/pgbackrest.conf", command: "pgbackrest" },
        bootstrap: { postBootstrap: "/bin/backrest /n.yml stanza" },
        postgresql: {
          createReplicaMethods: ["pgbackrest", "basebackup"],
          methodOptions: { pgbackrest: { command: "/bin/backrest /n.yml restore", no_leader: true } },
        },
      },
    },
  });
  expect(text).toContain("archive_command: pgbackrest --stanza=demo archive-push %p");
  expect(sampleConfig(machine, {})).not.toContain("pgbackrest");
});
