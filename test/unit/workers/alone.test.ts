// What the workers alone say and write, as far as it needs no servers.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { revision } from "../../../lib/model/units.ts";
import { apiLockPath, localApiRuns } from "../../../lib/runtime/alone/local-api.ts";
import { readArguments } from "../../../lib/runtime/alone/open.ts";
import { keyChanges } from "../../../lib/runtime/alone/watch.ts";
import { acquireRunLock } from "../../../lib/runtime/run-lock.ts";

function entry(key: string, value: string, at: number, session: string | null = null) {
  return { key: `service/demo/${key}`, value, revision: revision(at), session };
}

function snapshot(entries: ReturnType<typeof entry>[]) {
  return { entries, revision: revision(Math.max(0, ...entries.map(({ revision }) => revision))) };
}

describe("keyChanges", () => {
  test("names what was written and what vanished, without the prefix, in the order of the keys", () => {
    const before = snapshot([entry("config", "{}", 1), entry("leader", "a", 2, "s"), entry("status", '{"optime":1}', 3)]);
    const after = snapshot([entry("config", "{}", 1), entry("members/b", "{}", 5, "t"), entry("status", '{"optime":2}', 6)]);
    expect(keyChanges("service/demo/", before, after)).toEqual([
      { kind: "delete", key: "leader" },
      { kind: "put", key: "members/b", value: {}, revision: revision(5), session: "t" },
      { kind: "put", key: "status", value: { optime: 2 }, revision: revision(6), session: null },
    ]);
  });

  test("keeps positions beyond 2^53 exact, and text as text", () => {
    const after = snapshot([entry("leader", "a", 2, "s"), entry("status", '{"optime":9223372036854775807}', 3)]);
    expect(keyChanges("service/demo/", snapshot([]), after)).toMatchObject([{ value: "a" }, { value: { optime: 9223372036854775807n } }]);
  });

  test("two equal snapshots are no news", () => {
    const same = snapshot([entry("config", "{}", 1)]);
    expect(keyChanges("service/demo/", same, same)).toEqual([]);
  });
});

describe("words on the command line", () => {
  const read = (argv: readonly string[]) => readArguments({ worker: "leader-race", flags: ["--perform"], argv });

  test("a file, flags in any place, or nothing at all", () => {
    expect(read(["node.yml", "--perform"])).toEqual({ ok: true, value: { path: "node.yml", flags: new Set(["--perform"]) } });
    expect(read([])).toEqual({ ok: true, value: { path: null, flags: new Set() } });
  });

  test.each([[["a.yml", "b.yml"]], [["--unknown"]], [["-x", "a.yml"]]])("%p is status 2", (argv) => {
    expect(read(argv)).toEqual({ ok: false, error: 2 });
  });
});

test("an API that runs alone on this machine is seen while its process holds its lock", () => {
  const folder = mkdtempSync(join(tmpdir(), "local-api-"));
  const dataDir = join(folder, "data");
  expect(localApiRuns(dataDir)).toBe(false);
  const lock = acquireRunLock(apiLockPath(dataDir), "http-api");
  expect(localApiRuns(dataDir)).toBe(true);
  if (lock.ok) lock.value.release();
  expect(localApiRuns(dataDir)).toBe(false);
  rmSync(folder, { recursive: true });
});
