// Owns hiding secrets: options that are secrets by name, and passwords inside conninfo strings and URLs. What is printed or
// reported passes through here. Knows no source of values.

import { factsOf } from "./option.ts";
import { DYNAMIC_SCHEMA } from "./schema-dynamic.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { schemaAt } from "./schema-walk.ts";
import { entriesOf, isTree, type Tree } from "./tree.ts";

export const MASK = "***";

/** Names that are secrets wherever they stand, also in sections that a file makes up. */
const SECRET_NAME = /(^|_)(password|passwd|pwd|passphrase|secret|token|api_?key|access_?key|private_?key|credentials?)$/i;

/** Names that look like secrets and are not. */
const HARMLESS_NAMES: readonly string[] = ["password_encryption", "server_tokens"];

/** True when the option at the path is a secret by its schema or by its name. */
export function isSecretPath(path: readonly string[]): boolean {
  const name = path.at(-1) ?? "";
  if (HARMLESS_NAMES.includes(name)) return false;
  const schema =
    schemaAt(NODE_SCHEMA, path) ?? schemaAt(DYNAMIC_SCHEMA, path[0] === "bootstrap" && path[1] === "dcs" ? path.slice(2) : path);
  return (schema !== undefined && factsOf(schema)?.secret === true) || SECRET_NAME.test(name);
}

/** A copy of the tree in which no secret can be read. */
export function maskTree(tree: Tree, prefix: readonly string[] = []): Tree {
  return Object.fromEntries(entriesOf(tree).map(([key, value]) => [key, maskValue(value, [...prefix, key])]));
}

/** The value as it may be shown. */
export function maskValue(value: unknown, path: readonly string[]): unknown {
  if (value === null || value === undefined || value === "") return value;
  if (isSecretPath(path)) return MASK;
  if (isTree(value)) return maskTree(value, path);
  if (Array.isArray(value)) return value.map((item) => maskValue(item, path));
  return typeof value === "string" ? maskText(value) : value;
}

/** Hides the password in URLs (`scheme://user:PASSWORD@host`, `?password=…`) and conninfo strings (`password=…`, quoted too), and in command options. */
export function maskText(text: string): string {
  return text
    .replace(/([A-Za-z][A-Za-z0-9+.-]*:\/\/[^\s/:@?#]*):[^\s]*@(?=[^\s@]*)/g, `$1:${MASK}@`)
    .replace(
      /\b((?:ssl)?password|passwd|pwd|token|secret|PGPASSWORD)(\s*=\s*)('(?:[^'\\]|\\.|'')*'?|"(?:[^"\\]|\\.)*"?|(?:\\.|[^\s\\])+)/gi,
      `$1$2${MASK}`,
    );
}

/** True when the tree holds at least one secret. */
export function holdsSecret(tree: Tree): boolean {
  return JSON.stringify(maskTree(tree)) !== JSON.stringify(tree);
}
