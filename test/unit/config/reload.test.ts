// Claims about reloading: what a change asks for, what cannot change, and that a broken file changes nothing.

import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { effectiveConfig } from "../../../lib/config/effective.ts";
import { diffConfig, type ReloadNeed, reloadNodeConfig } from "../../../lib/config/reload.ts";
import { type Tree, withValue } from "../../../lib/config/tree.ts";
import { BASE, mustLoad, removeFiles, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

const before = (await mustLoad(BASE)).config;
const changed = async (option: string, value: unknown) =>
  diffConfig(before, (await mustLoad(withValue(BASE, option.split("."), value))).config);

test("the same configuration asks for nothing", async () => {
  const difference = diffConfig(before, (await mustLoad(BASE)).config);
  expect(difference).toMatchObject({ changed: [], faults: [] });
  expect([...difference.needs]).toEqual([]);
});

const NEEDS: readonly (readonly [string, unknown, readonly string[], readonly ReloadNeed[]])[] = [
  ["postgresql.parameters", { work_mem: 1 }, ["postgresql.parameters"], ["postgresql"]],
  ["postgresql.connect_address", "h:1", ["postgresql.connectAddress"], ["member", "postgresql"]],
  ["restapi.listen", "127.0.0.1:9", ["restapi.listen", "restapi.connectAddress"], ["restapi-listener", "member", "restapi-options"]],
  ["restapi.allowlist", ["h"], ["restapi.allowlist"], ["restapi-options"]],
  [
    "restapi.authentication",
    { username: "u", password: "p" },
    ["restapi.authentication", "ctl.authentication"],
    ["restapi-options", "ctl"],
  ],
  ["consul.token", "t", ["consul.token"], ["consul"]],
  ["tags", { nosync: true }, ["tags"], ["member", "tags"]],
  ["log.level", "DEBUG", ["log.level"], ["log"]],
  ["watchdog.mode", "off", ["watchdog.mode"], ["watchdog"]],
  ["bootstrap.dcs", { ttl: 40 }, ["bootstrap.dcs"], []],
];

test.each(NEEDS)("%s: %p", async (option, value, names, needs) => {
  const difference = await changed(option, value);
  expect([...difference.changed].sort()).toEqual([...names].sort());
  expect([...difference.needs].sort()).toEqual([...needs].sort());
  expect(difference.faults).toEqual([]);
});

test.each([
  ["scope", "other"],
  ["namespace", "/other"],
  ["name", "other"],
  ["postgresql.data_dir", "/other"],
  ["citus", { group: 1, database: "d" }],
])("%s cannot change while the node runs: a fault, and the old value stays", async (option, value) => {
  const difference = await changed(option, value);
  expect(difference.faults.map((fault) => fault.path)).toContain(option);
  expect(difference.accepted).toEqual(before);
});

test("the store cannot be exchanged", async () => {
  const difference = diffConfig(
    before,
    (await mustLoad({ ...BASE, consul: null, raft: { self_addr: "127.0.0.1:1", data_dir: "/r" } } as Tree)).config,
  );
  expect(difference.faults.map((fault) => fault.path)).toEqual(["consul"]);
  expect(difference.accepted).toEqual(before);
});

test("nothing of the raft section changes while the node runs: a fault, and the old section stays", async () => {
  const member = (section: Tree): Tree => ({ ...BASE, consul: null, raft: { self_addr: "127.0.0.1:1", data_dir: "/r", ...section } });
  const was = (await mustLoad(member({}))).config;
  for (const section of [{ password: "x" }, { partner_addrs: ["127.0.0.1:2"] }, { max_timeout: 3 }, { data_dir: "/s" }]) {
    const difference = diffConfig(was, (await mustLoad(member(section))).config);
    expect(difference.faults.map((fault) => fault.path)).toEqual(["raft"]);
    expect(difference.accepted).toEqual(was);
  }
});

test("a broken file leaves the old configuration in force and says what is broken; a good one is taken", async () => {
  const path = writeConfigFile(stringify(BASE));
  const current = await mustLoad(BASE);
  writeFileSync(path, "scope: [\n");
  const broken = await reloadNodeConfig(current, { path, env: {} });
  expect(broken.loaded).toBe(current);
  expect(broken.difference.changed).toEqual([]);
  expect(broken.faults[0]?.message).toContain("line");
  writeFileSync(path, stringify({ ...BASE, name: "other", tags: { a: 1 } }));
  const good = await reloadNodeConfig(current, { path, env: {} });
  expect(good.loaded.config).toMatchObject({ name: "node1", tags: { a: 1 } });
  expect(good.faults.map((fault) => fault.path)).toEqual(["name"]);
});

test("a refused option stays refused in the effective configuration that is computed later", async () => {
  const current = await mustLoad(BASE);
  const path = writeConfigFile(stringify(withValue(BASE, ["postgresql", "data_dir"], "/other")));
  const { loaded, faults } = await reloadNodeConfig(current, { path, env: {} });
  expect(faults.map((fault) => fault.path)).toEqual(["postgresql.data_dir"]);
  expect(effectiveConfig(loaded, null).node.postgresql).toMatchObject({
    dataDir: "/var/lib/postgresql/data",
    configDir: "/var/lib/postgresql/data",
  });
});
