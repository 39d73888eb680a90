// Owns reading configuration files from disk: one file, or a directory of them. Nothing is executed, nothing is written.

import { open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { leavesOf, mergeTrees, type Source, type Tree } from "./tree.ts";
import { parseYamlTree } from "./yaml-text.ts";

/** More files than this in one directory are not a configuration. */
const FILES_MAX = 1000;
/** As in yaml-text.ts, plus one byte to notice what is larger. */
const FILE_MAX_BYTES = 1_048_577;
const READABLE_BY_OTHERS = 0o004;

export interface ReadFiles {
  readonly tree: Tree;
  /** Dotted path of each leaf → `file:NAME`. */
  readonly sources: ReadonlyMap<string, Source>;
  /** Files that every user of the machine may read. */
  readonly worldReadable: readonly { readonly name: string; readonly tree: Tree }[];
}

/** Reads a file, or the *.yml and *.yaml of a directory in the order of their names. Faults: unreadable, broken; of every file. */
export async function readFiles(path: string): Promise<Result<ReadFiles, readonly ConfigFault[]>> {
  const named = await configFiles(path);
  if (!named.ok) return named;
  const faults: ConfigFault[] = [];
  let tree: Tree = {};
  const sources = new Map<string, Source>();
  const worldReadable: { name: string; tree: Tree }[] = [];
  for (const file of named.value) {
    const read = await readOne(file);
    if (!read.ok) {
      faults.push(...read.error);
      continue;
    }
    tree = mergeTrees(tree, read.value.tree);
    for (const leaf of leavesOf(read.value.tree)) sources.set(leaf.path.join("."), `file:${basename(file)}`);
    if (read.value.worldReadable) worldReadable.push({ name: file, tree: read.value.tree });
  }
  return faults.length > 0 ? err(faults) : ok({ tree, sources, worldReadable });
}

/** The file, or those of the directory in the order in which they count. */
export async function configFiles(path: string): Promise<Result<readonly string[], readonly ConfigFault[]>> {
  try {
    if (!(await stat(path)).isDirectory()) return ok([path]);
    const names = (await readdir(path)).filter((name) => /\.ya?ml$/.test(name)).sort();
    if (names.length === 0) return err([{ path, message: "the directory holds no *.yml and no *.yaml file" }]);
    if (names.length > FILES_MAX) return err([{ path, message: `the directory holds more than ${FILES_MAX} files` }]);
    return ok(names.map((name) => join(path, name)));
  } catch (error) {
    return err([{ path, message: `cannot be read: ${systemMessage(error)}` }]);
  }
}

async function readOne(file: string): Promise<Result<{ readonly tree: Tree; readonly worldReadable: boolean }, readonly ConfigFault[]>> {
  try {
    const handle = await open(file, "r");
    try {
      const { mode, size } = await handle.stat();
      if (size > FILE_MAX_BYTES) return err([{ path: file, message: `larger than ${FILE_MAX_BYTES - 1} bytes` }]);
      const parsed = parseYamlTree(await handle.readFile("utf8"), file);
      return parsed.ok ? ok({ tree: parsed.value, worldReadable: (mode & READABLE_BY_OTHERS) !== 0 }) : parsed;
    } finally {
      await handle.close();
    }
  } catch (error) {
    return err([{ path: file, message: `cannot be read: ${systemMessage(error)}` }]);
  }
}

/** The system's word for it, without the path (which stands before it). */
export function systemMessage(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const words: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file",
    EACCES: "permission denied",
    EISDIR: "it is a directory",
    ENOTDIR: "a part of the path is not a directory",
    EROFS: "the file system is read-only",
    ENOSPC: "the disk is full",
  };
  return words[code] ?? (code === "" ? "unexpected error" : code);
}
