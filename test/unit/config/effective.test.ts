// Claims about the effective configuration: precedence, controlled parameters, floors and the rule between the timeouts, and
// that nothing in the DCS can stop a node.

import { afterAll, describe, expect, test } from "bun:test";
import { effectiveConfig } from "../../../lib/config/effective.ts";
import { mergeTrees, type Tree } from "../../../lib/config/tree.ts";
import { RAFT_LIMITS } from "../../../lib/model/dynamic-config.ts";
import { ms } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { BASE, loadTree, mustLoad, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

const loaded = await mustLoad(BASE);
const dynamicOf = (key: Tree) => effectiveConfig(loaded, key).dynamic;
const faultPaths = (key: Tree) => effectiveConfig(loaded, key).faults.map((fault) => fault.path);

test("without a config key every option has its documented default", () => {
  const { dynamic, faults } = effectiveConfig(loaded, null);
  expect(faults).toEqual([]);
  expect(JSON.parse(JSON.stringify(dynamic))).toEqual({
    loopWaitMs: 10_000,
    ttlMs: 30_000,
    leaseTtlMs: 30_000,
    retryTimeoutMs: 10_000,
    maximumLagOnFailoverBytes: 1_048_576,
    maximumLagOnSyncnodeBytes: -1,
    maxTimelinesHistory: 0,
    primaryStartTimeoutMs: 300_000,
    primaryStopTimeoutMs: 0,
    primaryRaceBackoffMs: 0,
    synchronousMode: "off",
    synchronousModeStrict: false,
    synchronousNodeCount: 1,
    failsafeMode: false,
    checkTimeline: false,
    memberSlotsTtlMs: 1_800_000,
    pause: false,
    standbyCluster: null,
    slots: [],
    ignoreSlots: [],
  });
});

test("every dynamic option is read", () => {
  const key = {
    loop_wait: "5s",
    ttl: "1min",
    retry_timeout: 4,
    maximum_lag_on_failover: "2MB",
    maximum_lag_on_syncnode: 5,
    max_timelines_history: 9,
    master_start_timeout: 7,
    master_stop_timeout: "8",
    primary_race_backoff: 1,
    synchronous_mode: "quorum",
    synchronous_mode_strict: "on",
    synchronous_node_count: 2,
    failsafe_mode: true,
    check_timeline: true,
    member_slots_ttl: 0,
    pause: true,
    slots: { a: { type: "physical" }, b: { database: "d", plugin: "p" } },
    ignore_slots: [{ name: "x" }],
  };
  const { dynamic, faults, sources } = effectiveConfig(loaded, key);
  expect(faults).toEqual([]);
  expect(dynamic).toMatchObject({
    loopWaitMs: 5000,
    ttlMs: 60_000,
    retryTimeoutMs: 4000,
    maximumLagOnFailoverBytes: 2_097_152,
    maximumLagOnSyncnodeBytes: 5,
    maxTimelinesHistory: 9,
    primaryStartTimeoutMs: 7000,
    primaryStopTimeoutMs: 8000,
    primaryRaceBackoffMs: 1000,
    synchronousMode: "quorum",
    synchronousModeStrict: true,
    synchronousNodeCount: 2,
    failsafeMode: true,
    checkTimeline: true,
    memberSlotsTtlMs: 0,
    pause: true,
    standbyCluster: null,
    slots: [
      { kind: "physical", name: "a", clusterType: null },
      { kind: "logical", name: "b", database: "d", plugin: "p", clusterType: null },
    ],
    ignoreSlots: [{ name: "x", type: null, database: null, plugin: null }],
  });
  expect(sources.get("ttl")).toBe("dcs");
  expect(sources.get("primary_start_timeout")).toBe("dcs");
});

test("a standby cluster is read for the rules and for the servers, and nobody in it is synchronous", () => {
  const { dynamic, node, faults } = effectiveConfig(loaded, {
    synchronous_mode: "quorum",
    standby_cluster: {
      host: "h",
      port: "5432,5433",
      primary_slot_name: "s",
      create_replica_methods: ["basebackup"],
      restore_command: "cp %f %p",
      archive_cleanup_command: "clean %r",
      recovery_min_apply_delay: "5min",
    },
  });
  expect(faults).toEqual([]);
  expect(dynamic).toMatchObject({ synchronousMode: "off", standbyCluster: { host: "h", port: "5432,5433", primary_slot_name: "s" } });
  expect(node.postgresql.standbyCluster).toEqual({
    createReplicaMethods: ["basebackup"],
    recovery: { restore_command: "cp %f %p", archive_cleanup_command: "clean %r" },
    leaderRecovery: { recovery_min_apply_delay: "5min" },
  });
  expect(effectiveConfig(loaded, { standby_cluster: { primary_slot_name: "s" } }).dynamic.standbyCluster).toBeNull();
});

test.each([
  [{ ttl: 20, loop_wait: 10, retry_timeout: 10 }, "where ttl=20. Adjusting loop_wait from 10 to 1 and retry_timeout from 10 to 9"],
  [{ ttl: 21, loop_wait: 10, retry_timeout: 10 }, "where ttl=21 and retry_timeout=10. Adjusting loop_wait from 10 to 1"],
])("the rule that %j breaks is told in Patroni's words", (key, words) => {
  const told = effectiveConfig(loaded, key).faults.map(({ message }) => message);
  expect(told).toHaveLength(1);
  expect(told[0]).toStartWith(`Violated the rule "loop_wait + 2*retry_timeout <= ttl", ${words}:`);
});

test("a value below its minimum is told with the value that is used, and in Patroni's words", () => {
  const told = effectiveConfig(loaded, { ttl: 5, loop_wait: 2, retry_timeout: 5 }).faults.map(({ message }) => message);
  expect(told).toEqual(["5 is below the minimum; 20 is used; write ttl: 20 (ttl=5 can't be smaller than 20, adjusting...)"]);
});

describe("a session check of this node's own", () => {
  test("shortens its leases alone, and keeps loop_wait + 2·retry_timeout within them, with a fault that names it", async () => {
    const checked = await mustLoad({ ...BASE, consul: { host: "127.0.0.1:8500", session_check_ttl: 3 } });
    const { dynamic, faults, sources } = effectiveConfig(checked, { ttl: 30, loop_wait: 10, retry_timeout: 10 });
    expect(dynamic).toMatchObject({ ttlMs: 30_000, leaseTtlMs: 3000, loopWaitMs: 1000, retryTimeoutMs: 1000 });
    expect(faults.map(({ path, message }) => `${path}: ${message}`)).toEqual([
      "consul.session_check_ttl: the rule loop_wait + 2·retry_timeout ≤ session_check_ttl is broken: 10 + 2·10 is more than 3; " +
        "loop_wait: 1 and retry_timeout: 1 are used on this node; write these, or a longer session_check_ttl",
    ]);
    expect([sources.get("loop_wait"), sources.get("ttl")]).toEqual(["dcs, adjusted", "dcs"]);
    const fits = effectiveConfig(checked, { ttl: 20, loop_wait: 1, retry_timeout: 1 }, RAFT_LIMITS);
    expect([fits.dynamic.leaseTtlMs, fits.dynamic.retryTimeoutMs, fits.faults.length]).toEqual([ms(3000), ms(1000), 0]);
  });

  test("lengthens nothing, and counts only where the store is Consul", async () => {
    const long = await mustLoad({ ...BASE, consul: { host: "127.0.0.1:8500", session_check_ttl: "1min" } });
    expect(effectiveConfig(long, { ttl: 25 })).toMatchObject({ dynamic: { ttlMs: 25_000, leaseTtlMs: 25_000 } });
    expect(dynamicOf({ ttl: 25 }).leaseTtlMs).toBe(ms(25_000));
  });

  test("is refused below 3 s, with its path", async () => {
    const refused = await loadTree({ ...BASE, consul: { host: "127.0.0.1:8500", session_check_ttl: 2 } });
    expect(refused.ok ? [] : refused.error.map(({ path, message }) => `${path}: ${message}`)).toEqual([
      'consul.session_check_ttl: "2" is not a number of seconds, or with ms, s, min, h, d from 3 on; write session_check_ttl: 6',
    ]);
  });
});

describe("wrong values", () => {
  test("each costs only itself and becomes its default, with one fault", () => {
    const { dynamic, faults } = effectiveConfig(loaded, {
      ttl: "abc",
      loop_wait: 5,
      slots: { a: 1, b: { type: "physical" } },
      synchronous_mode: "often",
      pause: "x",
    });
    expect(dynamic).toMatchObject({
      ttlMs: 30_000,
      loopWaitMs: 5000,
      slots: [{ kind: "physical", name: "b", clusterType: null }],
      synchronousMode: "off",
      pause: false,
    });
    expect(faults.map((fault) => fault.path).sort()).toEqual(["pause", "slots.a", "synchronous_mode", "ttl"]);
  });

  test("old names give way to new ones, and unknown ones are reported", () => {
    expect(dynamicOf({ master_start_timeout: 5, primary_start_timeout: 6 }).primaryStartTimeoutMs as number).toBe(6000);
    expect(faultPaths({ master_start_timeout: 5, primary_start_timeout: 6, foo: 1, permanent_slots: {} })).toEqual([
      "master_start_timeout",
      "foo",
      "permanent_slots",
    ]);
  });

  test("an empty standby_cluster section makes no standby cluster", () => {
    expect(dynamicOf({ standby_cluster: {} }).standbyCluster).toBeNull();
    expect(dynamicOf({ standby_cluster: { restore_command: "cp" } }).standbyCluster).not.toBeNull();
  });

  test("whatever the key holds, the result is valid and keeps the rule between the timeouts", () => {
    const value = fc.oneof(
      fc.integer(),
      fc.double(),
      fc.string(),
      fc.boolean(),
      fc.constant(null),
      fc.array(fc.anything(), { maxLength: 2 }),
      fc.object({ maxDepth: 2 }),
    );
    const names = [
      "ttl",
      "loop_wait",
      "retry_timeout",
      "slots",
      "ignore_slots",
      "standby_cluster",
      "postgresql",
      "pause",
      "synchronous_mode",
      "foo",
    ];
    const key = fc.dictionary(fc.constantFrom(...names), value, { noNullPrototype: true });
    fc.assert(
      fc.property(key, (data) => {
        const { dynamic, node } = effectiveConfig(loaded, data);
        expect(dynamic.ttlMs).toBeGreaterThanOrEqual(20_000);
        expect(dynamic.loopWaitMs).toBeGreaterThanOrEqual(1000);
        expect(dynamic.retryTimeoutMs).toBeGreaterThanOrEqual(3000);
        expect(dynamic.loopWaitMs + 2 * dynamic.retryTimeoutMs).toBeLessThanOrEqual(dynamic.ttlMs);
        expect(node.postgresql.dataDir).toBe("/var/lib/postgresql/data");
      }),
    );
  });
});

describe("timeouts", () => {
  // Observed on Patroni 4.1.5 with the same input: nodes of a mixed cluster must agree.
  const OBSERVED: readonly (readonly [Tree, readonly [number, number, number]])[] = [
    [{ ttl: 10 }, [20, 1, 9]],
    [{ ttl: 20, loop_wait: 10, retry_timeout: 10 }, [20, 1, 9]],
    [{ ttl: 30, loop_wait: 5, retry_timeout: 20 }, [30, 1, 14]],
    [{ ttl: 25, loop_wait: 20, retry_timeout: 3 }, [25, 19, 3]],
    [{ ttl: 20, loop_wait: 19, retry_timeout: 3 }, [20, 14, 3]],
    [{ ttl: 30, loop_wait: -1, retry_timeout: 1 }, [30, 1, 3]],
    [{ ttl: 40, loop_wait: 10, retry_timeout: 16 }, [40, 8, 16]],
    [{ ttl: 21, loop_wait: 16, retry_timeout: 9 }, [21, 3, 9]],
    [{ ttl: 31, loop_wait: 12, retry_timeout: 10 }, [31, 11, 10]],
  ];

  test.each(OBSERVED)("%p becomes ttl, loop_wait, retry_timeout %p, and is reported", (key, expected) => {
    const { dynamic, faults } = effectiveConfig(loaded, key);
    expect([dynamic.ttlMs, dynamic.loopWaitMs, dynamic.retryTimeoutMs].map((value) => value / 1000)).toEqual([...expected]);
    expect(faults.length).toBeGreaterThan(0);
  });

  test("over Raft the floors are lower", () => {
    const { dynamic, faults } = effectiveConfig(loaded, { ttl: 3, loop_wait: 1, retry_timeout: 1 }, RAFT_LIMITS);
    expect([dynamic.ttlMs, dynamic.loopWaitMs, dynamic.retryTimeoutMs].map(Number)).toEqual([3000, 1000, 1000]);
    expect(faults).toEqual([]);
  });
});

describe("postgresql", () => {
  const local = {
    postgresql: {
      use_slots: true,
      use_pg_rewind: false,
      recovery_conf: { restore_command: "local" },
      pg_hba: ["local"],
      parameters: { max_connections: 77, Work_Mem: "1MB", both: "local" },
    },
  };
  const key = {
    postgresql: {
      use_slots: false,
      use_pg_rewind: true,
      data_dir: "/elsewhere",
      recovery_conf: { other: 1 },
      pg_ident: ["dcs"],
      pg_hba: ["dcs"],
      pg_ctl_timeout: "2min",
      parameters: { max_connections: 200, work_mem: "9MB", both: "dcs", only_dcs: 2, hot_standby: "on", port: 1 },
    },
  };

  test("the file is stronger than the DCS; parameters are merged one by one, other options whole; use_slots and controlled ones come from the DCS alone", async () => {
    const both = await mustLoad(mergeTrees(BASE, local), { PATRONI_POSTGRESQL_PARAMETERS: "{from_env: 1}" });
    const { node, faults, sources } = effectiveConfig(both, key);
    expect(node.postgresql).toMatchObject({
      useSlots: false,
      usePgRewind: false,
      recoveryConf: { restore_command: "local" },
      pgHba: ["local"],
      pgIdent: ["dcs"],
      dataDir: "/var/lib/postgresql/data",
      parameters: { Work_Mem: "1MB", both: "local", only_dcs: 2, from_env: 1 },
    });
    expect(node.postgresql.parameters["work_mem"]).toBeUndefined();
    expect(node.postgresql.pgCtlTimeoutMs as number).toBe(120_000);
    expect(node.postgresql.controlledParameters["max_connections"]).toBe("200");
    expect(faults.map((fault) => fault.path).sort()).toEqual([
      "postgresql.data_dir",
      "postgresql.parameters.max_connections",
      "postgresql.parameters.port",
    ]);
    const source = (path: string) => sources.get(`postgresql.${path}`);
    expect([source("use_slots"), source("pg_hba"), source("pg_ident"), source("parameters.max_connections")]).toEqual([
      "dcs",
      source("data_dir"),
      "dcs",
      "dcs",
    ]);
    expect(source("parameters.from_env")).toBe("environment PATRONI_POSTGRESQL_PARAMETERS");
    expect(source("parameters.only_dcs")).toBe("dcs");
    expect(source("parameters.wal_level")).toBe("default");
    expect(source("use_unix_socket")).toBe("default");
  });

  const CONTROLLED: readonly (readonly [string, unknown, string])[] = [
    ["max_connections", 25, "25"],
    ["max_connections", 24, "100"],
    ["max_locks_per_transaction", 31, "64"],
    ["max_worker_processes", 1, "8"],
    ["max_prepared_transactions", -1, "0"],
    ["max_wal_senders", "abc", "10"],
    ["max_replication_slots", "4", "4"],
    ["wal_keep_segments", 0, "8"],
    ["wal_keep_size", "1MB", "128MB"],
    ["wal_keep_size", "1gb", "1024MB"],
    ["wal_keep_size", 256, "256MB"],
    ["wal_level", "minimal", "replica"],
    ["wal_level", "hot_standby", "replica"],
    ["wal_level", "LOGICAL", "logical"],
    ["track_commit_timestamp", true, "on"],
    ["wal_log_hints", "off", "off"],
    ["wal_log_hints", "perhaps", "on"],
  ];

  test.each(CONTROLLED)("controlled %s: %p becomes %p", (name, value, expected) => {
    const { node } = effectiveConfig(loaded, { postgresql: { parameters: { [name]: value } } });
    expect(node.postgresql.controlledParameters[name]).toBe(expected);
    expect(node.postgresql.parameters).toEqual({});
  });

  test("one form of wal_keep tells the other one", () => {
    const keep = (parameters: Tree) => effectiveConfig(loaded, { postgresql: { parameters } }).node.postgresql.controlledParameters;
    expect(keep({ wal_keep_segments: 10 })["wal_keep_size"]).toBe("160MB");
    expect(keep({ wal_keep_size: "1GB" })["wal_keep_segments"]).toBe("64");
    expect(keep({ wal_keep_size: "1GB", wal_keep_segments: 3 })).toMatchObject({ wal_keep_size: "1GB", wal_keep_segments: "3" });
  });

  test("it is pure: the same arguments give the same result, and stay as they were", async () => {
    const frozen = structuredClone(key);
    expect(JSON.stringify(effectiveConfig(loaded, key))).toBe(JSON.stringify(effectiveConfig(loaded, key)));
    expect(key).toEqual(frozen);
  });
});

test("a permanent logical slot makes standbys send feedback, except where none is copied", async () => {
  const slots = { events: { database: "d", plugin: "p" } };
  const enforces = (key: Record<string, unknown>, from = loaded) => effectiveConfig(from, key).node.postgresql.enforcesFeedback;
  expect(enforces({ slots })).toBe(true);
  expect(enforces({ slots: { backup: 0 } })).toBe(false);
  expect(enforces({ slots, postgresql: { use_slots: false } })).toBe(false);
  expect(enforces({ slots, standby_cluster: { host: "h" } })).toBe(false);
  expect(enforces({ slots: { events: { ...slots.events, cluster_type: "standby" } } })).toBe(false);
  expect(enforces({ slots }, await mustLoad(mergeTrees(BASE, { tags: { nostream: true } })))).toBe(false);
});

test("slots: short forms, kinds by what is named, and each wrong one by itself", () => {
  const key = {
    slots: { a: 0, b: null, c: {}, d: { type: "logical" }, "no-good": 0, e: { type: "physical", cluster_type: "standby" }, f: 1 },
  };
  const { dynamic, faults } = effectiveConfig(loaded, key);
  expect(dynamic.slots.map(({ kind, name, clusterType }) => `${kind} ${name} ${clusterType}`)).toEqual([
    "physical a null",
    "physical b null",
    "physical c null",
    "physical e standby",
  ]);
  expect(faults.map(({ path }) => path).sort()).toEqual(["slots.d", "slots.f", "slots.no-good"]);
});
