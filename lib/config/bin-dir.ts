// Owns the one option that the supervisor changes in a node's file: postgresql.bin_dir. Everything else in the text stays as it is, comments
// and order included. Reads and writes no file.

import { isMap, isScalar, type Pair, parseDocument } from "yaml";
import { err, ok, type Result } from "../model/result.ts";
import { sameContent, type Tree, valueAt, withValue } from "./tree.ts";
import { parseYamlTree } from "./yaml-text.ts";

const PATH = ["postgresql", "bin_dir"] as const;

/** The text with that folder of programs. Errors: one line; the text cannot be read, or has no place for it. */
export function withBinDir(text: string, binDir: string): Result<string, string> {
  const before = parsed(text);
  if (before === null) return err("it cannot be read");
  const section = parseDocument(text, { version: "1.1", keepSourceTokens: true }).get("postgresql", true);
  if (!isMap(section)) return err("it has no section postgresql");
  const quoted = JSON.stringify(binDir);
  const changed = spliced(text, section.items as readonly Pair[], quoted, section.flow === true);
  if (changed === null) return err("its section postgresql is empty");
  const after = parsed(changed);
  // An alias or an anchor in that place would change more than this.
  if (after === null || !sameContent(after, withValue(before, PATH, binDir)))
    return err("postgresql.bin_dir cannot be changed alone in it");
  return ok(changed);
}

/** The option's value as the text has it; null where it has none. */
export function binDirOf(text: string): string | null {
  const tree = parsed(text);
  const value = tree === null ? null : valueAt(tree, PATH);
  return typeof value === "string" ? value : null;
}

function spliced(text: string, items: readonly Pair[], quoted: string, isFlow: boolean): string | null {
  for (const { key, value } of items) {
    if (!isScalar(key) || key.value !== "bin_dir" || !isScalar(value) || !value.range) continue;
    return text.slice(0, value.range[0]) + quoted + text.slice(value.range[1]);
  }
  const first = items[0]?.key;
  if (!isScalar(first) || !first.range) return null;
  const start = first.range[0];
  const indent = text.slice(text.lastIndexOf("\n", start - 1) + 1, start);
  return `${text.slice(0, start)}bin_dir: ${quoted}${isFlow ? ", " : `\n${indent}`}${text.slice(start)}`;
}

function parsed(text: string): Tree | null {
  const read = parseYamlTree(text, "");
  return read.ok ? read.value : null;
}
