// Goal: a program that failed is told with its last words, and without a colon that nothing follows where it said none.

import { expect, test } from "bun:test";
import { lastLines, withReason } from "../../../lib/postgres/program-output.ts";

test("a failure ends with the program's last words, where it said any", () => {
  expect(withReason("/bin/copy exited with code=3", lastLines("one\ntwo\n"))).toBe("/bin/copy exited with code=3: one | two");
  expect(withReason("/bin/copy exited with code=3", lastLines(" \n"))).toBe("/bin/copy exited with code=3");
});
