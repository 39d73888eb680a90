// What an upgrade changes in a node's file: one option, whatever the text around it looks like.

import { expect, test } from "bun:test";
import { binDirOf, withBinDir } from "../../../lib/config/bin-dir.ts";

const NEW = "/usr/lib/postgresql/15/bin";

test("the folder of the programs is replaced, and every other byte stays", () => {
  const text = `# of node1\nscope: demo   # a name\npostgresql:\n    data_dir: /d\n    bin_dir: '/old/bin' # of 13\n    use_pg_rewind: on\n`;
  const changed = withBinDir(text, NEW);
  expect(changed).toEqual({ ok: true, value: text.replace("'/old/bin'", `"${NEW}"`) });
  expect(binDirOf(text)).toBe("/old/bin");
  // Again: nothing is left to do.
  expect(changed.ok && withBinDir(changed.value, NEW)).toEqual(changed);
});

test("where the option is missing it comes first in its section, in either style of YAML", () => {
  const block = "postgresql:\n  data_dir: /d\n  listen: a:5432\nname: n\n";
  expect(withBinDir(block, NEW)).toEqual({
    ok: true,
    value: `postgresql:\n  bin_dir: "${NEW}"\n  data_dir: /d\n  listen: a:5432\nname: n\n`,
  });
  const flow = '{"name": "n", "postgresql": {"data_dir": "/d"}}';
  expect(withBinDir(flow, NEW)).toEqual({ ok: true, value: `{"name": "n", "postgresql": {bin_dir: "${NEW}", "data_dir": "/d"}}` });
  expect(binDirOf(block)).toBeNull();
});

test("a text that has no place for it, or would change elsewhere too, is refused", () => {
  expect(withBinDir("name: n\n", NEW)).toEqual({ ok: false, error: "it has no section postgresql" });
  expect(withBinDir("postgresql: {}\n", NEW)).toEqual({ ok: false, error: "its section postgresql is empty" });
  expect(withBinDir("a: [\n", NEW)).toEqual({ ok: false, error: "it cannot be read" });
  const anchored = "postgresql:\n  bin_dir: &folder /old\nbootstrap:\n  dcs:\n    x: *folder\n";
  expect(withBinDir(anchored, NEW)).toMatchObject({ ok: false });
});
