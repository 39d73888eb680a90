// Owns where the product's own modules are while it runs: in their source tree, or inside the one executable that scripts/build
// makes. Knows paths only; it opens nothing.

import { fileURLToPath } from "node:url";

/** How the paths of what is inside an executable begin. Source: Bun, "Single-file executable". */
const INSIDE = "file:///$bunfs/root/";

/** `executable`: process.execPath is the product itself, and there is no Bun beside it. */
export const PRODUCT_FORM: "source" | "executable" = import.meta.url.startsWith("file:///$bunfs/") ? "executable" : "source";

/** The modules that run in threads: each has to be named to the bundler as well, which follows no computed path. */
export const THREAD_MODULES = ["lib/runtime/raft-thread.ts", "lib/postgres/postmaster-exit-worker.ts"] as const;

/** What `new Worker` is given. */
export function threadModule(path: (typeof THREAD_MODULES)[number]): URL {
  return new URL(path, PRODUCT_FORM === "executable" ? INSIDE : new URL("../../", import.meta.url));
}

/** What starts one of the workers in a process of its own: the program and its first words. */
export function workerProgram(worker: string): readonly [string, ...string[]] {
  if (PRODUCT_FORM === "executable") return [process.execPath, worker];
  return [process.execPath, "run", fileURLToPath(new URL(`../../workers/${worker}.ts`, import.meta.url))];
}

/** How a person starts one of the workers here, for a line that says how it is used. */
export function workerCommand(worker: string): string {
  return PRODUCT_FORM === "executable" ? `matriarch ${worker}` : `bun run workers/${worker}.ts`;
}

/** How a hook starts one of the scripts, wherever it is started: with the Bun that runs this, or the executable itself. */
export function scriptCommand(script: string): string {
  if (PRODUCT_FORM === "executable") return `${process.execPath} ${script}`;
  return `${process.execPath} run ${fileURLToPath(new URL(`../../scripts/${script}.ts`, import.meta.url))}`;
}
