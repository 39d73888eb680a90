// Owns by which of its two readers YAML is read: the quick one where that suffices; the whole one, which is loaded only then, where
// it does not, so that every fault is told by the one that knows all of the language.

import type { ConfigFault } from "../model/errors.ts";
import { ok, type Result } from "../model/result.ts";
import { readPlainYaml } from "./plain-yaml.ts";
import type { Tree } from "./tree.ts";

/** A document whose top is a mapping (an empty document counts as an empty one). `name` stands in the faults. */
export async function readYamlTree(text: string, name: string): Promise<Result<Tree, readonly ConfigFault[]>> {
  const plain = readPlainYaml(text);
  if (plain !== null) return ok(plain);
  const { parseYamlTree } = await import("./yaml-text.ts");
  return parseYamlTree(text, name);
}

/** Any YAML value. */
export async function readYaml(text: string, name: string): Promise<Result<unknown, readonly ConfigFault[]>> {
  const { parseYaml } = await import("./yaml-text.ts");
  return parseYaml(text, name);
}
