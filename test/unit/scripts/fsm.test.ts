// Goal: docs/fsm.md says what the table of rules says. Method: the page is made anew and compared.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { RULES } from "../../../lib/core/decide.ts";
import { fsmPage } from "../../../scripts/fsm/page.ts";

test("docs/fsm.md is what the rules say; `bun run scripts/fsm.ts` writes it anew", () => {
  expect(readFileSync(resolve(import.meta.dir, "../../../docs/fsm.md"), "utf8")).toBe(fsmPage());
});

test("every rule has a row with what it does and says, and no text of code is cut in a cell", () => {
  const rows = fsmPage()
    .split("\n")
    .filter((line) => RULES.some(({ id }) => line.startsWith(`| ${id} |`)));
  expect(rows).toHaveLength(RULES.length);
  for (const row of rows) expect(row.replaceAll("\\|", "").split("|")).toHaveLength(6);
});
