// Makes one executable of the whole product: supervisor, workers, ctl and the rest as its first word. It needs neither Bun nor Node
// nor this tree where it runs.
// usage: bun run build [FILE]      (dist/matriarch unless a file is named)

import { mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { PRODUCT_COMMAND, versionLine } from "../lib/model/product.ts";
import { THREAD_MODULES } from "../lib/model/product-place.ts";

const product = resolve(import.meta.dir, "..");
const [file = join(product, "dist", PRODUCT_COMMAND), ...more] = process.argv.slice(2);
if (more.length > 0 || file.startsWith("-")) {
  console.error("usage: bun run build [FILE]");
  process.exit(2);
}
const outfile = resolve(file);
mkdirSync(dirname(outfile), { recursive: true });
const built = await Bun.build({
  entrypoints: ["scripts/matriarch.ts", ...THREAD_MODULES].map((path) => join(product, path)),
  root: product,
  target: "bun",
  format: "esm",
  // Compiled ahead and loaded in parts: a command starts in a fifth of the time. Names stay as they are, for the sake of stack traces.
  bytecode: true,
  splitting: true,
  compile: {
    outfile,
    // What lies in the folder that it is started in must not change what it does.
    autoloadDotenv: false,
    autoloadBunfig: false,
    autoloadTsconfig: false,
    autoloadPackageJson: false,
  },
});
if (!built.success) {
  for (const message of built.logs) console.error(message);
  process.exit(1);
}
console.log(`${outfile}: ${versionLine()}, ${(Bun.file(outfile).size / 1e6).toFixed(0)} MB`);
