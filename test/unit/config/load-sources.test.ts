// Claims about loading what is no fault: warnings, where each value comes from, and how YAML is read.

import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { mergeTrees, type Tree } from "../../../lib/config/tree.ts";
import { BASE, loadText, loadTree, mustLoad, newFolder, removeFiles, withOption, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

describe("warnings", () => {
  const OBSOLETE = [
    "thread_pool_size",
    "thread_stack_size",
    "restapi.thread_pool_size",
    "log.traceback_level",
    "log.max_queue_size",
    "permanent_slots",
    "postgresql.replica_method",
    "bootstrap.users",
  ];

  test.each(OBSOLETE)("%s is obsolete: one warning, ignored", async (option) => {
    const loaded = await mustLoad(withOption(option, 5));
    expect(loaded.warnings).toEqual([{ path: option, message: expect.stringContaining("obsolete and ignored") }]);
  });

  test("unknown options are one warning each, with the name that was meant where it is near", async () => {
    const loaded = await mustLoad(mergeTrees(BASE, { restapi: { lissten: "x" }, colour: "red", postgresql: { data_dirr: "/x" } }));
    expect(loaded.warnings.toSorted((a, b) => a.path.localeCompare(b.path))).toEqual([
      { path: "colour", message: "unknown and ignored; remove it" },
      { path: "postgresql.data_dirr", message: "unknown and ignored; did you mean data_dir?" },
      { path: "restapi.lissten", message: "unknown and ignored; did you mean listen?" },
    ]);
  });

  test("unknown and obsolete variables are one warning each, without their value", async () => {
    const loaded = await mustLoad(BASE, {
      PATRONI_FOO_PASSWORD: "hush",
      PATRONI_LOG_MAX_QUEUE_SIZE: "1",
      PATH: "/bin",
      PATRONICTL_CONFIG_FILE: "x",
    });
    expect(loaded.warnings.map((fault) => fault.path)).toEqual(["PATRONI_FOO_PASSWORD", "PATRONI_LOG_MAX_QUEUE_SIZE"]);
    expect(JSON.stringify(loaded.warnings)).not.toContain("hush");
  });

  test("sections of methods are known: those that a method names, and those with a command", async () => {
    const loaded = await mustLoad(
      mergeTrees(BASE, {
        bootstrap: { method: "restore", restore: { command: "/r", keep_existing_recovery_conf: true, no_params: true } },
        postgresql: {
          create_replica_methods: ["wal_e", "basebackup"],
          wal_e: { command: "/w", keep_data: true },
          spare: { command: "/s" },
        },
      }),
    );
    expect(loaded.warnings).toEqual([]);
    expect(loaded.config.bootstrap.methodOptions).toEqual({ command: "/r", keep_existing_recovery_conf: true, no_params: true });
    expect(loaded.config.postgresql.methodOptions).toEqual({ wal_e: { command: "/w", keep_data: true }, spare: { command: "/s" } });
  });

  test("controlled parameters and those that nobody may set are dropped from the file, one warning each", async () => {
    const loaded = await mustLoad(
      withOption("postgresql.parameters", { Max_Connections: 500, port: 1, hot_standby: "on", work_mem: "1MB" }),
    );
    expect(loaded.warnings.map((fault) => fault.path)).toEqual(["postgresql.parameters.Max_Connections", "postgresql.parameters.port"]);
    expect(loaded.config.postgresql.parameters).toEqual({ work_mem: "1MB" });
    expect(loaded.config.postgresql.controlledParameters["max_connections"]).toBe("100");
  });

  test("a tag that contradicts its priority gives Patroni's warning; one that agrees does not", async () => {
    const tags = async (section: Tree) => (await mustLoad(withOption("tags", section))).warnings.map((fault) => fault.message);
    const text = "Conflicting configuration between nofailover: True and failover_priority: 1. Defaulting to nofailover: True";
    expect(await tags({ nofailover: true, failover_priority: 1 })).toEqual([text]);
    expect(await tags({ nosync: false, sync_priority: 0 })).toEqual([
      "Conflicting configuration between nosync: False and sync_priority: 0. Defaulting to nosync: False",
    ]);
    expect(await tags({ nofailover: true, failover_priority: 0, nosync: false, sync_priority: 1 })).toEqual([]);
  });

  test("a file that everybody may read is one warning when it holds a password, none when it does not", async () => {
    const secret =
      "scope: a\nname: b\nconsul: {token: t}\npostgresql: {listen: 'a:1', data_dir: /d, authentication: {replication: {username: r}}}\n";
    const open = await loadNodeConfig({ path: writeConfigFile(secret, { mode: 0o644 }), env: {} });
    expect(open).toMatchObject({ ok: true, value: { warnings: [{ message: expect.stringContaining("chmod 600") }] } });
    const harmless = await loadNodeConfig({ path: writeConfigFile(secret.replace("token: t", "dc: t"), { mode: 0o644 }), env: {} });
    expect(harmless).toMatchObject({ ok: true, value: { warnings: [] } });
  });
});

describe("where values come from", () => {
  test("the files of a directory are merged in the order of their names, and each value says its file", async () => {
    const folder = newFolder();
    writeFileSync(join(folder, "10-base.yml"), "scope: a\nname: b\nconsul: {host: 'c:1', dc: x}\n", { mode: 0o600 });
    writeFileSync(
      join(folder, "20-more.yaml"),
      "consul: {dc: y}\npostgresql: {listen: 'a:1', data_dir: /d, authentication: {replication: {username: r}}}\n",
      { mode: 0o600 },
    );
    writeFileSync(join(folder, "30-other.txt"), "scope: ignored\n");
    const result = await loadNodeConfig({ path: folder, env: {} });
    expect(result).toMatchObject({ ok: true, value: { config: { scope: "a", consul: { url: "http://c:1", dc: "y" } } } });
    if (!result.ok) return;
    expect(result.value.sources.get("consul.host")).toBe("file:10-base.yml");
    expect(result.value.sources.get("consul.dc")).toBe("file:20-more.yaml");
    expect(result.value.sources.get("log.level")).toBe("default");
  });

  test("one broken file of a directory refuses the whole, and every broken one is named", async () => {
    const folder = newFolder();
    for (const name of ["a.yml", "b.yml"]) writeFileSync(join(folder, name), "x: [\n");
    writeFileSync(join(folder, "c.yml"), "scope: a\n");
    const result = await loadNodeConfig({ path: folder, env: {} });
    expect(result.ok ? [] : result.error.map((fault) => fault.path)).toEqual([join(folder, "a.yml"), join(folder, "b.yml")]);
  });

  const WHOLE =
    "scope: env\nname: n\nconsul: {host: 'c:1'}\npostgresql: {listen: 'a:1', data_dir: /d, authentication: {replication: {username: r}}}\n";

  test("PATRONI_CONFIGURATION counts only where no file is given, and then alone", async () => {
    const env = { PATRONI_CONFIGURATION: WHOLE, PATRONI_SCOPE: "other" };
    expect(await loadNodeConfig({ path: null, env })).toMatchObject({ ok: true, value: { config: { scope: "env" } } });
    expect(await loadTree(BASE, env)).toMatchObject({ ok: true, value: { config: { scope: "other", name: "node1" } } });
    const broken = await loadNodeConfig({ path: null, env: { PATRONI_CONFIGURATION: "a: [" } });
    expect(broken).toMatchObject({
      ok: false,
      error: [{ path: "PATRONI_CONFIGURATION", message: expect.stringMatching(/^line 1, column/) }],
    });
  });

  test("variables alone make a configuration, an empty one counts as not set, and our prefix beats Patroni's", async () => {
    const env = {
      PATRONI_SCOPE: "a",
      MATRIARCH_SCOPE: "b",
      PATRONI_NAME: "n",
      PATRONI_NAMESPACE: "",
      PATRONI_CONSUL_HOST: "c:1",
      PATRONI_POSTGRESQL_LISTEN: "a:1",
      PATRONI_POSTGRESQL_DATA_DIR: "/d",
      PATRONI_REPLICATION_USERNAME: "r",
    };
    expect(await loadNodeConfig({ path: null, env })).toMatchObject({ ok: true, value: { config: { scope: "b", namespace: "service" } } });
  });
});

test("YAML is read as Patroni reads it: on and off are booleans, 0644 is octal, a merge key merges, n and y are words", async () => {
  const result = await loadText(`
scope: y
name: n
log: {mode: 0644, deduplicate_heartbeat_logs: on}
defaults: &users {sslmode: require}
consul: {}
postgresql:
  listen: 127.0.0.1:5432
  data_dir: /d
  authentication:
    superuser: {<<: *users, username: postgres, password: 12345}
    replication: {<<: *users, username: r}
  parameters: {wal_compression: on, log_file_mode: 0600, deadline: 12:30, day: 2026-01-01}
`);
  expect(result).toMatchObject({
    ok: true,
    value: {
      config: {
        scope: "y",
        name: "n",
        log: { mode: 0o644, deduplicateHeartbeatLogs: true },
        consul: { url: "http://127.0.0.1:8500" },
        postgresql: {
          superuser: { password: "12345", options: { sslmode: "require" } },
          parameters: { wal_compression: true, log_file_mode: 0o600, deadline: "12:30", day: "2026-01-01" },
        },
      },
    },
  });
});

test("an address without a port has the usual one, and connect_address that of listen", async () => {
  const tree = mergeTrees(BASE, {
    restapi: { listen: "0.0.0.0", connect_address: "h1" },
    postgresql: { listen: "127.0.0.1", connect_address: "h2:6000" },
  });
  expect((await mustLoad(tree)).config).toMatchObject({
    restapi: { listen: { port: 8008 }, connectAddress: { host: "h1", port: 8008 } },
    postgresql: { port: 5432, connectAddress: { host: "h2", port: 6000 } },
  });
  const other = await mustLoad(withOption("postgresql", { ...(BASE["postgresql"] as Tree), listen: "*:6001", connect_address: "h2" }));
  expect(other.config.postgresql.connectAddress).toEqual({ host: "h2", port: 6001 });
});

test("tags keep their order and the types that they were written in", async () => {
  const loaded = await mustLoad(withOption("tags", { z: 1.5, nosync: "true", a: "2", noloadbalance: false, empty: null }));
  expect(Object.entries(loaded.config.tags)).toEqual([
    ["z", 1.5],
    ["nosync", "true"],
    ["a", "2"],
    ["noloadbalance", false],
  ]);
});
