// Claims about tokens of the REST API in the node's file: their forms, what is wrong with them, what a member shows, and that none is seen.

import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { maskTree } from "../../../lib/config/mask.ts";
import { reloadNodeConfig } from "../../../lib/config/reload.ts";
import type { Tree } from "../../../lib/config/tree.ts";
import { BASE, faultsOf, loadTree, mustLoad, newFolder, removeFiles, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

const READ = "hush-read-0123456789";
const OPERATE = "hush-operate-0123456789";
const ADMIN = "hush-admin-0123456789";
const tokens = (named: Tree, restapi: Tree = {}): Tree => ({ ...BASE, restapi: { tokens: named, ...restapi } });

describe("tokens", () => {
  test("come from the file, files of their own and variables, in this order, and are masked", async () => {
    const path = join(newFolder(), "token");
    writeFileSync(path, `${OPERATE}\n`, { mode: 0o600 });
    const loaded = await mustLoad(tokens({ grafana: { token: READ }, ci: { role: "operate", token_file: path } }), {
      PATRONI_RESTAPI_TOKENS_DBA_ROLE: "admin",
      PATRONI_RESTAPI_TOKENS_DBA_TOKEN: ADMIN,
    });
    expect(loaded.config.restapi.tokens).toEqual([
      { name: "grafana", role: "read", token: READ },
      { name: "ci", role: "operate", token: OPERATE },
      { name: "dba", role: "admin", token: ADMIN },
    ]);
    expect(loaded.warnings).toEqual([]);
    expect(JSON.stringify(maskTree(loaded.raw))).not.toContain("hush");
    expect((await mustLoad(BASE)).config.restapi).toMatchObject({ tokens: [], protectedPaths: [] });
    const byVariable = await mustLoad(BASE, {
      PATRONI_RESTAPI_TOKENS_CI_ROLE: "operate",
      MATRIARCH_RESTAPI_TOKENS_CI_TOKEN_FILE: path,
    });
    expect(byVariable.config.restapi.tokens).toEqual([{ name: "ci", role: "operate", token: OPERATE }]);
  });

  test.each<[string, Tree, string]>([
    ["without a token", tokens({ ci: { role: "admin" } }), "restapi.tokens.ci: has no token"],
    ["too short", tokens({ ci: { role: "admin", token: "hush" } }), "restapi.tokens.ci.token: the value is not a token of 16"],
    [
      "that no header carries",
      tokens({ ci: { role: "admin", token: "hush hush hush hush" } }),
      "restapi.tokens.ci.token: the value is not",
    ],
    ["of no role", tokens({ ci: { role: "root", token: ADMIN } }), 'restapi.tokens.ci.role: "root" is not one of read, operate, admin'],
    [
      "that two have",
      tokens({ ci: { role: "admin", token: ADMIN }, dba: { role: "operate", token: ADMIN } }),
      "restapi.tokens.dba: has the token of ci; write another one",
    ],
    ["that only read, without a user", tokens({ ci: { token: READ } }), "restapi.tokens: none of them may operate"],
    [
      "of the node itself that may only read",
      { ...tokens({ a: { token: READ }, b: { role: "admin", token: ADMIN } }), ctl: { token: READ } },
      "ctl.token: is a, which may only read",
    ],
    [
      "for paths that cannot be closed",
      tokens({ a: { role: "admin", token: ADMIN } }, { protected_paths: ["/primary"] }),
      "restapi.protected_paths: ",
    ],
    [
      "of which there is none, for closed paths",
      { ...BASE, restapi: { protected_paths: ["/config"] } },
      "restapi.protected_paths: nobody could read them",
    ],
    [
      "of which there are too many",
      tokens(Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`t${n}`, { role: "admin", token: `${ADMIN}-${n}` }]))),
      "restapi.tokens: more than 64",
    ],
  ])("%s are one fault that shows none", async (_, tree, message) => {
    const lines = await faultsOf(tree);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toStartWith(message);
    expect(lines[0]).not.toContain("hush");
  });
});

describe("what a node shows to the other members", () => {
  const all = {
    a: { token: READ },
    b: { role: "operate", token: OPERATE },
    c: { role: "admin", token: ADMIN },
    d: { role: "admin", token: `${ADMIN}-2` },
  };
  const shown = async (tree: Tree) => {
    const { ctl } = (await mustLoad(tree)).config;
    return [ctl.token, ctl.authentication?.username ?? null];
  };

  test("is ctl.token, or else the user, or else the first of the strongest tokens", async () => {
    const user = { authentication: { username: "u", password: "p" } };
    expect(await shown({ ...tokens(all, user), ctl: { token: OPERATE } })).toEqual([OPERATE, "u"]);
    expect(await shown(tokens(all, user))).toEqual([null, "u"]);
    expect(await shown(tokens(all))).toEqual([ADMIN, null]);
    expect(await shown(tokens({ a: { token: READ }, b: { role: "operate", token: OPERATE } }))).toEqual([OPERATE, null]);
    expect(await shown(BASE)).toEqual([null, null]);
  });

  test("a token that the others would not know, and a user beside it, are warned of", async () => {
    const { warnings } = await mustLoad({
      ...tokens(all),
      ctl: { token: "hush-other-0123456789", authentication: { username: "u", password: "p" } },
    });
    expect(warnings.map(({ path }) => path)).toEqual(["ctl.authentication", "ctl.token"]);
    expect(JSON.stringify(warnings)).not.toContain("hush");
  });

  test("ctl alone may have one that only reads", async () => {
    const path = writeConfigFile(stringify({ consul: { host: "127.0.0.1:8500" }, ctl: { token: READ } }));
    const loaded = await loadNodeConfig({ path, env: {}, purpose: "store" });
    expect(loaded.ok && loaded.value.config.ctl.token).toBe(READ);
    const variable = await loadTree(BASE, { PATRONI_CTL_TOKEN: READ });
    expect(variable.ok && variable.value.config.ctl.token).toBe(READ);
  });
});

test("a reload takes a rotated token, for the door and for the requests to others, without a new listener", async () => {
  const path = join(newFolder(), "token");
  writeFileSync(path, ADMIN, { mode: 0o600 });
  const file = writeConfigFile(stringify(tokens({ members: { role: "admin", token_file: path } })));
  const loaded = await loadNodeConfig({ path: file, env: {} });
  if (!loaded.ok) throw new Error("it is right");
  writeFileSync(path, `${ADMIN}-2`);
  const { difference, loaded: next } = await reloadNodeConfig(loaded.value, { path: file, env: {} });
  expect([...difference.needs].sort()).toEqual(["ctl", "restapi-options"]);
  expect([next.config.restapi.tokens[0]?.token, next.config.ctl.token]).toEqual([`${ADMIN}-2`, `${ADMIN}-2`]);
  expect(JSON.stringify(difference.changed)).not.toContain("hush");
});
