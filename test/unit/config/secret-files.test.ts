// Goal: a secret may stand in a file of its own instead of the configuration: it counts as if it stood there, a reload takes over another
// one, whatever is wrong is one fault with its option, and no fault, warning or print holds it.

import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { loadNodeConfig } from "../../../lib/config/load.ts";
import { maskTree } from "../../../lib/config/mask.ts";
import { reloadNodeConfig } from "../../../lib/config/reload.ts";
import { SECRET_OPTIONS } from "../../../lib/config/secret-files.ts";
import { type Tree, valueAt, withValue } from "../../../lib/config/tree.ts";
import { BASE, faultsOf, mustLoad, newFolder, removeFiles, writeConfigFile } from "./fixtures.ts";

afterAll(removeFiles);

const folder = newFolder();
const secretFile = (name: string, text: string, mode = 0o600): string => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  return path;
};
const TOKEN = ["consul", "token_file"];

describe("a secret in a file", () => {
  test("is taken for each option that is a secret, without the end of its line, and its source is the file", async () => {
    expect(SECRET_OPTIONS.map(({ path }) => path.join("."))).toEqual(
      expect.arrayContaining([
        "consul.token",
        "raft.password",
        "restapi.authentication.password",
        "postgresql.authentication.superuser.password",
      ]),
    );
    let tree: Tree = ["restapi", "ctl"].reduce((base, section) => withValue(base, [section, "authentication", "username"], "u"), BASE);
    tree = withValue(tree, ["pgbouncer"], { databases: ["app"], databases_file: "/d", users: { file: "/u", username: "u" } });
    // The Raft's section would be another store.
    const options = SECRET_OPTIONS.filter(({ path }) => path[0] !== "raft");
    for (const [index, { filePath }] of options.entries())
      tree = withValue(tree, filePath, secretFile(`s${index}`, `hush-${index}-0123456789${index % 2 === 0 ? "\n" : ""}`));
    const loaded = await mustLoad(tree);
    for (const [index, { path }] of options.entries()) {
      expect([path.join("."), valueAt(loaded.raw, path)]).toEqual([path.join("."), `hush-${index}-0123456789`]);
      expect(loaded.sources.get(path.join("."))).toBe(`file:${join(folder, `s${index}`)}`);
    }
    expect(loaded.config.consul?.token).toStartWith("hush");
    expect(loaded.config.postgresql.superuser.password).toStartWith("hush");
    // ctl's token goes before its user, which is all that there is to say.
    expect(loaded.warnings.map(({ path }) => path)).toEqual(["ctl.authentication"]);
    expect(JSON.stringify(maskTree(loaded.raw))).not.toContain("hush");
  });

  test("may be named by a variable, and the environment wins in either form", async () => {
    const path = secretFile("token", "from-file");
    expect((await mustLoad(BASE, { PATRONI_CONSUL_TOKEN_FILE: path })).config.consul?.token).toBe("from-file");
    expect((await mustLoad(BASE, { PATRONI_SUPERUSER_PASSWORD_FILE: path })).config.postgresql.superuser.password).toBe("from-file");
    const inFile = withValue(BASE, ["consul", "token"], "from-yaml");
    expect((await mustLoad(inFile, { MATRIARCH_CONSUL_TOKEN_FILE: path })).config.consul?.token).toBe("from-file");
    expect((await mustLoad(withValue(BASE, TOKEN, path), { PATRONI_CONSUL_TOKEN: "from-variable" })).config.consul?.token).toBe(
      "from-variable",
    );
  });

  test.each([
    ["that is not there", join(folder, "nowhere"), "no such file"],
    ["that is empty", secretFile("empty", "\n"), "is empty"],
    ["of several lines", secretFile("lines", "hush\nhush\n"), "more than one line"],
    ["that is too large", secretFile("large", "hush".repeat(3000)), "larger than 8192 bytes"],
    ["that is a folder", folder, "is no file"],
    ["without its folder", "hush", "from / on"],
  ])("%s is one fault with its option", async (_, path, message) => {
    const lines = await faultsOf(withValue(BASE, TOKEN, path));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toStartWith("consul.token_file: ");
    expect(lines[0]).toContain(message);
    expect(lines[0]).not.toContain("hush");
  });

  test("beside the secret itself is a fault; one that everybody reads, a warning", async () => {
    const both = withValue(withValue(BASE, TOKEN, secretFile("both", "hush")), ["consul", "token"], "hush");
    expect(await faultsOf(both)).toEqual(["consul.token_file: consul.token is set too; write one of them"]);
    const loaded = await mustLoad(withValue(BASE, TOKEN, secretFile("open", "hush", 0o644)));
    expect(loaded.warnings.map(({ path }) => path)).toEqual(["consul.token_file"]);
  });

  test("that was rotated counts from the next reload on, and one that is broken leaves the former in force", async () => {
    const path = secretFile("rotated", "first");
    const file = writeConfigFile(stringify(withValue(BASE, TOKEN, path)));
    const loaded = await loadNodeConfig({ path: file, env: {} });
    if (!loaded.ok) throw new Error("it is right");
    writeFileSync(path, "second");
    const { difference } = await reloadNodeConfig(loaded.value, { path: file, env: {} });
    expect(difference.changed).toEqual(["consul.token"]);
    expect([...difference.needs]).toEqual(["consul"]);
    writeFileSync(path, "");
    const broken = await reloadNodeConfig(loaded.value, { path: file, env: {} });
    expect(broken.loaded).toBe(loaded.value);
    expect(broken.faults.map(({ path: at }) => at)).toEqual(["consul.token_file"]);
  });
});
