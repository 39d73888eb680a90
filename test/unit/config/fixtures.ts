// Owns what the tests of the configuration share: a smallest valid tree, and loading one through a real file.

import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { type LoadedConfig, loadNodeConfig } from "../../../lib/config/load.ts";
import { type Tree, withValue } from "../../../lib/config/tree.ts";
import type { ConfigFault } from "../../../lib/model/errors.ts";
import type { Result } from "../../../lib/model/result.ts";

export const BASE: Tree = {
  scope: "demo",
  name: "node1",
  consul: { host: "127.0.0.1:8500" },
  postgresql: {
    listen: "127.0.0.1:5432",
    data_dir: "/var/lib/postgresql/data",
    authentication: { superuser: { username: "postgres" }, replication: { username: "replicator" } },
  },
};

/** BASE with one option set, by its dotted name. */
export function withOption(option: string, value: unknown): Tree {
  return withValue(BASE, option.split("."), value);
}

const folder = join(tmpdir(), `matriarch-config-${process.pid}`);
let counter = 0;

/** Each file that uses this module calls it after its tests. */
export function removeFiles(): void {
  rmSync(folder, { recursive: true, force: true });
}

/** Writes a file that only its owner can read, and says where it is. */
export function writeConfigFile(text: string, options: { readonly mode?: number; readonly name?: string } = {}): string {
  counter += 1;
  mkdirSync(folder, { recursive: true });
  const path = join(folder, options.name ?? `${counter}.yml`);
  writeFileSync(path, text);
  // Whatever the umask is.
  chmodSync(path, options.mode ?? 0o600);
  return path;
}

export function newFolder(): string {
  mkdirSync(folder, { recursive: true });
  return mkdtempSync(join(folder, "d-"));
}

type Loading = Promise<Result<LoadedConfig, readonly ConfigFault[]>>;

export function loadText(text: string, env: Readonly<Record<string, string>> = {}): Loading {
  return loadNodeConfig({ path: writeConfigFile(text), env });
}

export function loadTree(tree: Tree, env: Readonly<Record<string, string>> = {}): Loading {
  return loadText(stringify(tree, { version: "1.1" }), env);
}

/** Loads what must be right. */
export async function mustLoad(tree: Tree, env: Readonly<Record<string, string>> = {}): Promise<LoadedConfig> {
  const result = await loadTree(tree, env);
  if (!result.ok) throw new Error(result.error.map((fault) => `${fault.path}: ${fault.message}`).join("\n"));
  return result.value;
}

/** The faults as the operator reads them. */
export async function faultsOf(tree: Tree, env: Readonly<Record<string, string>> = {}): Promise<readonly string[]> {
  const result = await loadTree(tree, env);
  return result.ok ? [] : result.error.map((fault) => `${fault.path}: ${fault.message}`);
}
