// Goal: it is told from a primary's settings whether it could acknowledge a commit without one certain standby. Method: one setting a case.

import { expect, test } from "bun:test";
import { acknowledgesOnlyWith } from "../../../lib/core/sync-names.ts";

test.each([
  ["b", "on", true],
  ["1 (b)", "on", true],
  ['"B"', "remote_apply", true],
  ["2 (b,c)", "remote_write", true],
  ["ANY 2 (c,b)", "on", true],
  // Somebody else may do as well.
  ["b,c", "on", false],
  ["ANY 1 (b,c)", "on", false],
  ["*", "on", false],
  ["c", "on", false],
  // Nobody is waited for.
  ["", "on", false],
  ["b", "local", false],
  ["b", "off", false],
])("with %p and synchronous_commit %s each commit waits for b: %p", (names, commit, expected) => {
  expect(acknowledgesOnlyWith("b", { names, commit })).toBe(expected);
});
