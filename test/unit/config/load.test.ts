// Claims about loading: every class of fault, warnings, directories, the environment, and that no secret is ever shown.

import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { mergeTrees, type Tree, withoutValue, withValue } from "../../../lib/config/tree.ts";
import { BASE, faultsOf, loadText, loadTree, mustLoad, newFolder, removeFiles, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

const set = (option: string, value: unknown): Tree => withValue(BASE, option.split("."), value);

describe("broken files", () => {
  const BROKEN: readonly (readonly [string, string, RegExp])[] = [
    ["an open bracket", "scope: [1\nname: x\n", /: line \d, column \d+: /],
    ["a key that stands twice", "scope: a\nname: b\nscope: c\n", /: line 3, column 1: .*twice/],
    ["a key that stands twice deep inside", "a:\n  b: 1\n  b: 2\n", /: line 3, column 3: .*twice/],
    ["a tab", "a:\n\tb: 1\n", /: line 2, column \d+: .*tab/],
    ["two documents", "a: 1\n---\nb: 1\n", /several documents/],
    ["a list", "- a\n- b\n", /not a mapping/],
    ["a bare word", "hello\n", /not a mapping/],
    ["an unknown alias", "a: *nobody\n", /line 1, column 4: .*alias/],
  ];

  test.each(BROKEN)("%s is named with file, line and column", async (_, text, expected) => {
    const path = writeConfigFile(text);
    const result = await loadNodeConfig({ path, env: {} });
    expect(result.ok).toBe(false);
    const lines = result.ok ? [] : result.error.map((fault) => `${fault.path}: ${fault.message}`);
    expect(lines[0]).toStartWith(path);
    expect(lines[0]).toMatch(expected);
    expect(lines.every((line) => !line.includes("\n"))).toBe(true);
  });

  test("a fault of the YAML never quotes the text, which may hold a password", async () => {
    const result = await loadText('postgresql:\n  authentication:\n    superuser: {password: "hushhush\n  x: y\nhushhush: *hushhush\n');
    expect(result.ok).toBe(false);
    expect(JSON.stringify(result)).not.toContain("hushhush");
  });

  test("an absent file, an unreadable one and a directory without files are one fault each", async () => {
    const absent = await loadNodeConfig({ path: "/nonexistent/x.yml", env: {} });
    expect(absent).toMatchObject({ ok: false, error: [{ path: "/nonexistent/x.yml", message: "cannot be read: there is no such file" }] });
    const empty = await loadNodeConfig({ path: newFolder(), env: {} });
    expect(empty).toMatchObject({ ok: false, error: [{ message: "the directory holds no *.yml and no *.yaml file" }] });
  });

  test("an alias bomb is refused, not expanded", async () => {
    const bomb = `a0: &a0 [x]\n${Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}, *a${i}]`).join("\n")}\n`;
    expect(await loadText(bomb)).toMatchObject({ ok: false, error: [{ message: expect.stringContaining("aliases") }] });
  });
});

describe("wrong values", () => {
  const WRONG: readonly (readonly [string, unknown, string])[] = [
    ["scope", "a/b", "scope: CLUSTER"],
    ["scope", true, "write scope: demo"],
    ["name", null, "write name: NODE"],
    ["log", "loud", "is not a mapping"],
    ["log", ["a"], "is not a mapping"],
    ["log.level", "loud", "write level: INFO"],
    ["log.mode", 644, "write mode: 0644"],
    ["restapi.listen", "127.0.0.1:0", "write listen: 0.0.0.0:8008"],
    ["restapi.listen", "0.0.0.0:8008", "write connect_address: 10.0.0.1:8008"],
    ["restapi.verify_client", "sometimes", "one of none, optional, required"],
    ["restapi.verify_client", "required", "needs certfile and cafile"],
    ["restapi.keyfile", "/k", "write certfile"],
    ["restapi.authentication", { username: "u" }, "write password: PASSWORD"],
    ["restapi.allowlist", { a: 1 }, "a list of words"],
    ["bootstrap.method", "restore", "write restore: {command: /path/to/script}"],
    ["bootstrap.initdb", 5, "a list of options"],
    ["bootstrap.dcs", { ttl: "soon" }, "bootstrap.dcs.ttl"],
    ["bootstrap.dcs", { synchronous_mode: "often" }, "one of off, on, quorum"],
    ["consul.host", "a b", "write host: 127.0.0.1:8500"],
    ["consul.url", "c1:8500", "write url: http://127.0.0.1:8500"],
    ["consul.consistency", "eventual", "one of default, consistent, stale"],
    ["consul.verify", "perhaps", "a boolean"],
    ["postgresql.listen", "127.0.0.1:abc", "write listen: 0.0.0.0:5432"],
    ["postgresql.listen", null, "missing; write listen: 0.0.0.0:5432"],
    ["postgresql.listen", "*:5432", "write connect_address: 10.0.0.1:5432"],
    ["postgresql.connect_address", "0.0.0.0:5432", "no address to connect to"],
    ["postgresql.data_dir", null, "write data_dir: /var/lib/postgresql/data"],
    ["postgresql.authentication.replication", {}, "write username: replicator"],
    ["postgresql.parameters", { work_mem: ["a"] }, "postgresql.parameters.work_mem: a list is not text"],
    ["postgresql.pg_hba", "host all", "a list of lines"],
    ["postgresql.pg_ctl_timeout", "5 apples", "a number of seconds"],
    ["watchdog.mode", "maybe", "one of off, automatic, required"],
    ["watchdog.driver", "magic", "one of linux, process, testing"],
    ["tags.nofailover", "maybe", "a boolean"],
    ["tags.sync_priority", "high", "a whole number"],
    ["citus.group", -1, "a whole number from 0 on"],
  ];

  test.each(WRONG)("%s: %p is one fault that says what to write", async (option, value, words) => {
    const faults = await faultsOf(set(option, value));
    expect(faults.length).toBe(1);
    expect(faults[0]).toContain(words);
    expect(faults[0]).toStartWith(option.split(".")[0] ?? "");
    expect(faults[0]).not.toContain("\n");
  });

  test("all faults come in one run: wrong values, missing ones, foreign stores and wrong variables", async () => {
    const tree: Tree = {
      scope: "x",
      etcd: { host: "h" },
      log: { level: "loud" },
      postgresql: { listen: "x:y" },
      bootstrap: { dcs: { ttl: "x" } },
    };
    const paths = (await faultsOf(tree, { PATRONI_RESTAPI_ALLOWLIST: "[", PATRONI_WATCHDOG_MODE: "x" })).map((line) => line.split(": ")[0]);
    expect(new Set(paths)).toEqual(
      new Set([
        "etcd",
        "log.level",
        "postgresql.listen",
        "bootstrap.dcs.ttl",
        "restapi.allowlist",
        "watchdog.mode",
        "name",
        "postgresql.data_dir",
        "postgresql.authentication.replication.username",
      ]),
    );
    expect(paths.length).toBe(9);
  });

  test("a wrong value from the environment names its variable", async () => {
    expect((await faultsOf(BASE, { PATRONI_LOG_LEVEL: "loud" }))[0]).toContain("(from environment PATRONI_LOG_LEVEL)");
  });

  test("no fault and no warning shows a secret, whatever is wrong around it", async () => {
    const secret = "hush-hush";
    const wrong: readonly Tree[] = [
      set("restapi.authentication", { username: "u", password: [secret] }),
      set("restapi.authentication", secret),
      set("postgresql.authentication.superuser.password", { a: secret }),
      set("postgresql.authentication", secret),
      set("consul.token", [secret]),
      set("consul.url", `ftp://u:${secret}@h:1`),
      set("raft.password", { a: secret }),
      set("postgresql.parameters", { primary_conninfo: [`password=${secret}`] }),
      set("postgresql.recovery_conf", `password=${secret}`),
    ];
    for (const tree of wrong) {
      const result = await loadTree(tree, { PATRONI_SUPERUSER_PASWORD: secret, PATRONI_TAGS: secret });
      expect(result.ok).toBe(false);
      expect(JSON.stringify(result)).not.toContain(secret);
    }
  });
});

describe("stores", () => {
  test.each(["etcd", "etcd3", "zookeeper", "exhibitor", "kubernetes"])("%s is refused with the section to write instead", async (store) => {
    for (const faults of [
      await faultsOf({ ...BASE, [store]: { hosts: "a" } }),
      await faultsOf(BASE, { [`PATRONI_${store.toUpperCase()}_HOSTS`]: "a" }),
    ]) {
      expect(faults.length).toBe(1);
      expect(faults[0]).toMatch(new RegExp(`^${store}: .*write raft: .* or consul:`));
    }
  });

  test("no store at all is a fault, also for tools that need nothing else", async () => {
    expect(await faultsOf(withoutValue(BASE, ["consul"]))).toEqual([
      expect.stringMatching(/^raft: no store is configured; write raft: .*or consul:/),
    ]);
    const result = await loadNodeConfig({ path: writeConfigFile("scope: x\n"), env: {}, purpose: "store" });
    expect(result.ok).toBe(false);
    expect(await loadNodeConfig({ path: writeConfigFile("consul: {host: localhost}\n"), env: {}, purpose: "store" })).toMatchObject({
      ok: true,
      value: { config: { consul: { url: "http://localhost:8500" } } },
    });
  });

  const raft = (section: Tree): Tree => ({ ...withoutValue(BASE, ["consul"]), raft: section });

  test("raft off loopback needs a password, TLS, or insecure: true", async () => {
    const open = { self_addr: "10.0.0.1:5010", partner_addrs: ["10.0.0.2:5010"], data_dir: "/r" };
    expect(await faultsOf(raft(open))).toEqual([expect.stringMatching(/^raft\.password: .*insecure: true/)]);
    expect(await faultsOf(raft({ ...open, self_addr: "127.0.0.1:5010" }))).toHaveLength(1);
    expect(await faultsOf(raft({ ...open, password: "x" }))).toEqual([]);
    expect(await faultsOf(raft({ ...open, insecure: true }))).toEqual([]);
    expect(await faultsOf(raft({ ...open, cafile: "/a", certfile: "/b" }))).toEqual([]);
    expect(await faultsOf(raft({ self_addr: "127.0.0.1:5010", partner_addrs: ["localhost:5011"], data_dir: "/r" }))).toEqual([]);
    expect(await faultsOf(raft({}))).toEqual([expect.stringMatching(/^raft\.self_addr: missing/)]);
  });

  test("a member needs a folder, and not one inside PostgreSQL's data directory; a client needs none", async () => {
    const member = { self_addr: "127.0.0.1:5010" };
    expect(await faultsOf(raft(member))).toEqual([expect.stringMatching(/^raft\.data_dir: missing beside self_addr; write data_dir:/)]);
    expect(await faultsOf(raft({ ...member, data_dir: "/r" }))).toEqual([]);
    for (const inside of ["/var/lib/postgresql/data", "/var/lib/postgresql/data/", "/var/lib/postgresql/x/../data/raft"]) {
      expect(await faultsOf(raft({ ...member, data_dir: inside }))).toEqual([
        expect.stringMatching(/^raft\.data_dir: .*inside PostgreSQL/),
      ]);
    }
    expect(await faultsOf(raft({ ...member, data_dir: "/var/lib/postgresql/data-raft" }))).toEqual([]);
    expect(await faultsOf(raft({ partner_addrs: ["127.0.0.1:5010"] }))).toEqual([]);
  });

  test.each([
    [
      { self_addr: "0.0.0.0:5010", password: "x" },
      /^raft\.self_addr: "0\.0\.0\.0" is no address to connect to.*bind_addr: 0\.0\.0\.0:5010/,
    ],
    [{ partner_addrs: ["[::]:5010"], password: "x" }, /^raft\.partner_addrs: "::" is no address/],
    [
      { partner_addrs: Array.from({ length: 9 }, (_, index) => `127.0.0.1:${index + 1}`) },
      /^raft\.partner_addrs: 10 members.*at most 8 others/,
    ],
    [{ certfile: "/c" }, /^raft\.cafile: missing beside certfile/],
    [{ cafile: "/a" }, /^raft\.certfile: missing beside cafile/],
    [{ min_timeout: 0.3, append_entries_period: 0.2 }, /^raft\.append_entries_period: more than half.*write append_entries_period: 0\.06/],
    [{ min_timeout: 2, max_timeout: 1 }, /^raft\.max_timeout: shorter than min_timeout; write max_timeout: 4/],
  ])("raft: %j is one fault with its remedy", async (section, fault) => {
    expect(await faultsOf(raft({ self_addr: "127.0.0.1:5010", data_dir: "/r", ...section }))).toEqual([expect.stringMatching(fault)]);
  });

  test("a witness needs nothing but the raft section, which wins over consul; a tool needs no folder", async () => {
    const member = "raft: {self_addr: '127.0.0.1:5010', data_dir: /r}\nconsul: {host: localhost}\n";
    const witness = await loadNodeConfig({ path: writeConfigFile(member), env: {}, purpose: "witness" });
    expect(witness).toMatchObject({ ok: true, value: { config: { consul: null, raft: { dataDir: "/r" } }, warnings: [] } });
    const variables = {
      PATRONI_RAFT_SELF_ADDR: "127.0.0.1:1",
      PATRONI_RAFT_PARTNER_ADDRS: "'127.0.0.1:2','127.0.0.1:3'",
      PATRONI_RAFT_DATA_DIR: "/r",
    };
    expect(await loadNodeConfig({ path: null, env: variables, purpose: "witness" })).toMatchObject({ ok: true });
    const client = writeConfigFile("raft: {partner_addrs: ['127.0.0.1:5010']}\n");
    expect(await loadNodeConfig({ path: client, env: {}, purpose: "witness" })).toMatchObject({
      ok: false,
      error: [{ path: "raft.self_addr" }],
    });
    expect(await loadNodeConfig({ path: writeConfigFile("scope: x\n"), env: {}, purpose: "witness" })).toMatchObject({
      ok: false,
      error: [{ path: "raft" }],
    });
    const tool = writeConfigFile("raft: {self_addr: '127.0.0.1:5010'}\n");
    expect(await loadNodeConfig({ path: tool, env: {}, purpose: "store" })).toMatchObject({ ok: true });
  });

  test("what a raft section holds in vain is a warning", async () => {
    const loaded = await mustLoad(
      raft({ partner_addrs: ["127.0.0.1:1"], bind_addr: "127.0.0.1:2", cafile: "/a", certfile: "/c", password: "x" }),
    );
    expect(loaded.warnings.map((fault) => fault.path)).toEqual(["raft.password", "raft.bind_addr"]);
  });

  test("where both stores are configured Consul is used, and a warning says so", async () => {
    const loaded = await mustLoad({ ...BASE, raft: { self_addr: "127.0.0.1:1" } });
    expect(loaded.config.raft).toBeNull();
    expect(loaded.warnings.map((fault) => fault.path)).toEqual(["raft"]);
  });
});

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
    const loaded = await mustLoad(set(option, 5));
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
    const loaded = await mustLoad(set("postgresql.parameters", { Max_Connections: 500, port: 1, hot_standby: "on", work_mem: "1MB" }));
    expect(loaded.warnings.map((fault) => fault.path)).toEqual(["postgresql.parameters.Max_Connections", "postgresql.parameters.port"]);
    expect(loaded.config.postgresql.parameters).toEqual({ work_mem: "1MB" });
    expect(loaded.config.postgresql.controlledParameters["max_connections"]).toBe("100");
  });

  test("a tag that contradicts its priority gives Patroni's warning; one that agrees does not", async () => {
    const tags = async (section: Tree) => (await mustLoad(set("tags", section))).warnings.map((fault) => fault.message);
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
  const other = await mustLoad(set("postgresql", { ...(BASE["postgresql"] as Tree), listen: "*:6001", connect_address: "h2" }));
  expect(other.config.postgresql.connectAddress).toEqual({ host: "h2", port: 6001 });
});

test("tags keep their order and the types that they were written in", async () => {
  const loaded = await mustLoad(set("tags", { z: 1.5, nosync: "true", a: "2", noloadbalance: false, empty: null }));
  expect(Object.entries(loaded.config.tags)).toEqual([
    ["z", 1.5],
    ["nosync", "true"],
    ["a", "2"],
    ["noloadbalance", false],
  ]);
});
