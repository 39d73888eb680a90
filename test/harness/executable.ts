// Owns the product as one executable for a test: it is built into a folder of its own, and run where no Bun and no Node can be found.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PRODUCT = join(import.meta.dir, "../..");
/** Whatever could run the product's source. */
const RUNTIMES = /^(bun|bunx|node|nodejs|npm|npx|deno)$/;

export interface Executable {
  readonly path: string;
  /** A PATH with this machine's programs, less every runtime. */
  readonly environment: Readonly<Record<"PATH", string>>;
  /** Runs it to its end, in an empty folder, as the caller. */
  run(words: readonly string[], environment?: Readonly<Record<string, string>>): { readonly status: number | null; readonly text: string };
  remove(): void;
}

/** As `bun run build` makes it, or, where `make` says so, as it is found in the folder that `make` filled. */
export function buildExecutable(make: (folder: string) => string = buildInto): Executable {
  const folder = mkdtempSync(join(tmpdir(), "executable-"));
  // The servers run as another user.
  chmodSync(folder, 0o755);
  const programs = join(folder, "programs");
  const empty = join(folder, "empty");
  for (const made of [programs, empty]) mkdirSync(made, { mode: 0o755 });
  const found = new Map(["/bin", "/usr/bin"].flatMap((from) => readdirSync(from).map((name) => [name, join(from, name)] as const)));
  for (const [name, target] of found) if (!RUNTIMES.test(name)) symlinkSync(target, join(programs, name));
  const environment = { PATH: programs };
  const path = make(folder);
  return {
    path,
    environment,
    run: (words, more = {}) => {
      const ended = spawnSync(path, [...words], { cwd: empty, encoding: "utf8", env: { ...environment, HOME: empty, ...more } });
      return { status: ended.status, text: `${ended.stdout}${ended.stderr}` };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function buildInto(folder: string): string {
  const path = join(folder, "matriarch");
  const built = spawnSync(process.execPath, ["run", "build", path], { cwd: PRODUCT, encoding: "utf8" });
  if (built.status !== 0) throw new Error(`the executable could not be built: ${built.stdout}${built.stderr}`);
  return path;
}

/** Unpacked, as it would lie below /. */
export function buildPackage(folder: string): string {
  const built = spawnSync(join(PRODUCT, "scripts/package/build-deb"), [folder], { encoding: "utf8" });
  if (built.status !== 0) throw new Error(`the package could not be built: ${built.stdout}${built.stderr}`);
  const root = join(folder, "root");
  const unpacked = spawnSync("dpkg-deb", ["-x", built.stdout.trim(), root], { encoding: "utf8" });
  if (unpacked.status !== 0) throw new Error(`the package could not be unpacked: ${unpacked.stderr}`);
  return join(root, "usr/bin/matriarch");
}
