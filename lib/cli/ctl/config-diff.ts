// Owns the difference of two configurations as people read it, as a diff or in a few words. Pure. Source: the unified format of GNU diffutils' manual.

import { structuredPatch } from "diff";
import { leavesOf, sameContent, type Tree } from "../../config/tree.ts";
import { yamlLine } from "./formats.ts";

const CONTEXT_LINES = 3;

/** The unified diff with its two head lines; empty where nothing differs. Ends with a line end. */
export function unifiedDiff(before: string, after: string): string {
  const { hunks } = structuredPatch("", "", before, after, "", "", { context: CONTEXT_LINES });
  if (hunks.length === 0) return "";
  const body = hunks.flatMap((hunk) => [
    `@@ -${range(hunk.oldStart, hunk.oldLines)} +${range(hunk.newStart, hunk.newLines)} @@`,
    ...hunk.lines.filter((line) => !line.startsWith("\\")),
  ]);
  return ["--- ", "+++ ", ...body].map((line) => `${line}\n`).join("");
}

/** For a terminal: what goes is red, what comes is green. */
export function colourDiff(diff: string): string {
  return diff
    .split("\n")
    .map((line) => {
      const colour = line.startsWith("+") ? 32 : line.startsWith("-") ? 31 : line.startsWith("@") ? 36 : null;
      return colour === null ? line : `\x1b[${colour}m${line}\x1b[0m`;
    })
    .join("\n");
}

/** `ttl: 30 -> 20`: one for each value that was added, taken away or changed. */
export function changedValues(before: Tree, after: Tree): readonly string[] {
  const old = new Map(leavesOf(before).map(({ path, value }) => [path.join("."), value]));
  const present = new Map(leavesOf(after).map(({ path, value }) => [path.join("."), value]));
  const text = (value: unknown): string => (value === undefined ? "(none)" : yamlLine(value));
  return [...new Set([...old.keys(), ...present.keys()])]
    .filter((path) => !sameContent(old.get(path), present.get(path)))
    .sort()
    .map((path) => `${path}: ${text(old.get(path))} -> ${text(present.get(path))}`);
}

/** A length of one is not written; an empty range is that before its first line. */
function range(start: number, length: number): string {
  return length === 1 ? String(start) : `${start},${length}`;
}
