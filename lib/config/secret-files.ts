// Owns secrets that stand in files of their own: for each option that is a secret, `OPTION_file` names a file whose text is the value.
// They are read with the configuration, so that a reload takes over what was rotated. No fault holds a secret.

import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { isAbsolute } from "node:path";
import type { ConfigFault } from "../model/errors.ts";
import { systemMessage } from "./files.ts";
import { NODE_SCHEMA } from "./schema-node.ts";
import { type NamedOption, namedSectionsOf, optionsOf } from "./schema-walk.ts";
import { type Source, type Tree, treeAt, valueAt, withoutValue, withValue } from "./tree.ts";

/** Longer than any password, token or passphrase. */
const SECRET_MAX_BYTES = 8192;
/** Anybody but the owner and the group. */
const FOR_OTHERS = 0o007;
const SUFFIX = "_file";

export interface SecretOption {
  /** The option that takes the value, e.g. consul.token. */
  readonly path: readonly string[];
  /** The option that names the file, e.g. consul.token_file. */
  readonly filePath: readonly string[];
}

/** Every secret of the node's file that stands at a place of its own. */
export const SECRET_OPTIONS: readonly SecretOption[] = secretsAmong(optionsOf(NODE_SCHEMA));

/** Those of sections whose names the user chooses; paths from that name on. */
export const NAMED_SECRETS: readonly { readonly path: readonly string[]; readonly secrets: readonly SecretOption[] }[] = namedSectionsOf(
  NODE_SCHEMA,
).map(({ path, options }) => ({ path, secrets: secretsAmong(options) }));

/** A file holds a line: a secret of another form has none. */
function secretsAmong(options: readonly NamedOption[]): readonly SecretOption[] {
  return options
    .filter(({ facts }) => facts.secret && facts.form === "scalar")
    .map(({ path }) => ({ path, filePath: [...path.slice(0, -1), `${path.at(-1)}${SUFFIX}`] }));
}

function secretOptionsIn(tree: Tree): readonly SecretOption[] {
  const named = NAMED_SECRETS.flatMap(({ path, secrets }) =>
    Object.keys(treeAt(tree, ...path)).flatMap((name) =>
      secrets.map((secret) => ({ path: [...path, name, ...secret.path], filePath: [...path, name, ...secret.filePath] })),
    ),
  );
  return [...SECRET_OPTIONS, ...named];
}

export interface WithSecrets {
  /** With the values in place of the names of their files. */
  readonly tree: Tree;
  readonly sources: ReadonlyMap<string, Source>;
  readonly faults: readonly ConfigFault[];
  readonly warnings: readonly ConfigFault[];
}

/** The environment wins over the file, whichever of the two forms each has; both forms in one place are a fault. */
export async function readSecretFiles(given: Tree, givenSources: ReadonlyMap<string, Source>): Promise<WithSecrets> {
  let tree = given;
  const sources = new Map(givenSources);
  const faults: ConfigFault[] = [];
  const warnings: ConfigFault[] = [];
  for (const { path, filePath } of secretOptionsIn(given)) {
    const name = valueAt(given, filePath);
    if (name === undefined) continue;
    const [option, fileOption] = [path.join("."), filePath.join(".")];
    tree = withoutValue(tree, filePath);
    const fileSource = sources.get(fileOption);
    sources.delete(fileOption);
    if (name === null) continue;
    const written = valueAt(given, path) ?? null;
    if (written !== null && isEnvironment(sources.get(option)) === isEnvironment(fileSource)) {
      faults.push({ path: fileOption, message: `${option} is set too; write one of them` });
      continue;
    }
    if (written !== null && isEnvironment(sources.get(option))) continue;
    const read = await readSecret(name);
    if ("fault" in read) {
      faults.push({ path: fileOption, message: read.fault });
      continue;
    }
    tree = withValue(tree, path, read.value);
    sources.set(option, `file:${name}`);
    if (read.readableByOthers)
      warnings.push({ path: fileOption, message: `every user of this machine can read ${name}; run chmod 600 on it` });
  }
  return { tree, sources, faults, warnings };
}

function isEnvironment(source: Source | undefined): boolean {
  return source?.startsWith("environment ") === true;
}

type ReadSecret = { readonly value: string; readonly readableByOthers: boolean } | { readonly fault: string };

async function readSecret(name: unknown): Promise<ReadSecret> {
  if (typeof name !== "string" || !isAbsolute(name)) return { fault: "not the path of a file; write it from / on" };
  try {
    // Of a pipe nobody may ever write to, the opening alone would wait.
    const handle = await open(name, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) return { fault: `${name} is no file` };
      if (facts.size > SECRET_MAX_BYTES) return { fault: `${name} is larger than ${SECRET_MAX_BYTES} bytes` };
      const value = (await handle.readFile("utf8")).replace(/\r?\n$/, "");
      if (value === "") return { fault: `${name} is empty` };
      if (/[\r\n\0]/.test(value)) return { fault: `${name} holds more than one line` };
      return { value, readableByOthers: (facts.mode & FOR_OTHERS) !== 0 };
    } finally {
      await handle.close();
    }
  } catch (error) {
    return { fault: `${name} cannot be read: ${systemMessage(error)}` };
  }
}
