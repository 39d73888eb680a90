// Goal: the run's search for secrets (scripts/suite/secret-search.ts) covers every server of a test. Method: no test gives or takes a
// password of its own making for a server of the harness.

import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";

const TESTS = resolve(import.meta.dir, "../..");
/** Folders of tests that start servers. */
const WITH_SERVERS = ["harness", "integration", "full"];
const BY_HAND = /postgres:secret@|(PGPASSWORD|password): ["'`]secret["'`]/;

test("tests take the passwords of their servers from test/harness/passwords.ts, and write none by hand", () => {
  const files = WITH_SERVERS.flatMap((folder) =>
    readdirSync(join(TESTS, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  expect(files.length).toBeGreaterThan(50);
  const found = files.filter((file) => BY_HAND.test(readFileSync(file, "utf8"))).map((file) => relative(TESTS, file));
  // Write PASSWORDS.superuser of test/harness/passwords.ts instead.
  expect(found).toEqual([]);
});
