// Owns an installation of PostgreSQL in which an extension `citus` can be created: the installed programs and files under another
// root, and beside them the stand-in of test/harness/citus. Citus itself is not needed, and nothing is written outside of the folder.

import { execFileSync } from "node:child_process";
import { copyFileSync, linkSync, mkdirSync, readdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { postgresBinDir } from "./local-server.ts";

const FILES = join(import.meta.dir, "citus");
/** Preloaded under the name of Citus' library: one that every PostgreSQL has, and that does nothing by itself. */
const ANY_LIBRARY = "plpgsql.so";

/** Value: its bin_dir. PostgreSQL finds all else from where its program is. */
export function installCitusStandIn(folder: string): string {
  const told = (name: string): string => execFileSync(join(postgresBinDir(), "pg_config"), [`--${name}`], { encoding: "utf8" }).trim();
  const [bin, library, share] = [told("bindir"), told("pkglibdir"), told("sharedir")];
  mkdirSync(join(folder, bin), { recursive: true });
  for (const name of readdirSync(bin)) {
    // A symbolic link would lead back to the place that it was installed in.
    if (statSync(join(bin, name)).isFile()) sameFile(join(bin, name), join(folder, bin, name));
  }
  linkAll(library, join(folder, library));
  symlinkSync(join(library, ANY_LIBRARY), join(folder, library, "citus.so"));
  linkAll(share, join(folder, share), ["extension"]);
  linkAll(join(share, "extension"), join(folder, share, "extension"));
  for (const name of readdirSync(FILES)) copyFileSync(join(FILES, name), join(folder, share, "extension", name));
  return join(folder, bin);
}

function linkAll(from: string, to: string, except: readonly string[] = []): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) if (!except.includes(name)) symlinkSync(join(from, name), join(to, name));
}

function sameFile(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to); // Another file system, or not ours to link.
  }
}
