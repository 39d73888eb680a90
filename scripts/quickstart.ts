// Owns the entry of the quickstart: hands the command line to lib/cli/quickstart. Started by scripts/quickstart, which
// installs what is missing first.

import { resolve } from "node:path";
import { runQuickstart } from "../lib/cli/quickstart/quickstart.ts";

process.exit(await runQuickstart({ words: process.argv.slice(2), product: resolve(import.meta.dir, ".."), program: "scripts/quickstart" }));
