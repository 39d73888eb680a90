// Owns the command `bun run scripts/fsm.ts`: docs/fsm.md written from the table of rules itself, so that it cannot say anything else
// than what is decided. `--check` only compares.

import { readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fsmPage } from "./fsm/page.ts";

const path = resolve(import.meta.dir, "../docs/fsm.md");
const [option, ...more] = process.argv.slice(2);
if ((option !== undefined && option !== "--check") || more.length > 0) {
  console.error(
    "usage: bun run scripts/fsm.ts [--check]\nWrites docs/fsm.md from the rules; --check: exit status 1 where the page is not what the rules say.",
  );
  process.exit(2);
}
const page = fsmPage();
if (option === undefined) writeFileSync(path, page);
else if (readFileSync(path, "utf8") !== page) {
  console.error("docs/fsm.md is not what lib/core/rules says: bun run scripts/fsm.ts");
  process.exit(1);
}
