// Owns one trap of testing as root: PostgreSQL and what supervises it run as another user, who may be kept out of root's
// checkout (it is below /root, or below a private temporary folder). Then the tests run in a copy that everybody can read.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { serverUser } from "../../lib/cli/quickstart/folder.ts";

/** The checkout itself, or a copy of it below `temporary`. Throws Error when it cannot be copied. */
export function readableTree(product: string, temporary: string): string {
  const { uid, gid } = serverUser();
  if (uid === null || gid === null) return product;
  const probe = spawnSync("test", ["-r", join(product, "package.json"), "-a", "-x", process.execPath], { uid, gid, cwd: "/" });
  if (probe.status === 0) return product;
  const copy = join(temporary, "tree");
  mkdirSync(copy, { mode: 0o755 });
  const steps: readonly (readonly string[])[] = [
    [
      "sh",
      "-c",
      `cd "$1" && tar -cf - --exclude=./.git --exclude=./node_modules --exclude=./.cache/apt --exclude=./dist . | tar -xf - -C "$2"`,
      "sh",
      product,
      copy,
    ],
    // Links cost neither time nor space; across file systems it is a copy.
    [
      "sh",
      "-c",
      `cp -al "$1/node_modules" "$2/" 2>/dev/null || { rm -rf "$2/node_modules"; cp -a "$1/node_modules" "$2/"; }`,
      "sh",
      product,
      copy,
    ],
    ["sh", "-c", `chmod a+rx "$1" && find "$1" -path "$1/node_modules" -prune -o -exec chmod a+rX {} +`, "sh", copy],
  ];
  for (const [program = "", ...args] of steps) {
    const done = spawnSync(program, args, { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`the tree could not be copied for the server user: ${done.stderr}`);
  }
  if (!existsSync(join(copy, "node_modules"))) throw new Error("the copied tree has no node_modules");
  return copy;
}
