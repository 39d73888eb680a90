// Claims about loading: every class of fault, with its place, and that no secret is ever shown.

import { afterAll, describe, expect, test } from "bun:test";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { type Tree, withoutValue } from "../../../lib/config/tree.ts";
import { BASE, faultsOf, loadText, loadTree, mustLoad, newFolder, removeFiles, withOption, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

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
    const faults = await faultsOf(withOption(option, value));
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
      withOption("restapi.authentication", { username: "u", password: [secret] }),
      withOption("restapi.authentication", secret),
      withOption("postgresql.authentication.superuser.password", { a: secret }),
      withOption("postgresql.authentication", secret),
      withOption("consul.token", [secret]),
      withOption("consul.url", `ftp://u:${secret}@h:1`),
      withOption("raft.password", { a: secret }),
      withOption("postgresql.parameters", { primary_conninfo: [`password=${secret}`] }),
      withOption("postgresql.recovery_conf", `password=${secret}`),
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
