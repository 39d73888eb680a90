// Owns turning a tree and a schema into typed values or faults: one fault for each wrong value, all of them in one run, with
// the dotted path and what to write instead. Never shows the value of a secret.

import * as v from "valibot";
import type { ConfigFault } from "../model/errors.ts";
import { factsOf } from "./option.ts";
import { schemaAt } from "./schema-walk.ts";
import { isTree, type Source, type Tree, valueAt } from "./tree.ts";

export interface WrongValue {
  /** Path of the option to blame: a list is blamed as a whole. */
  readonly path: readonly string[];
  readonly fault: ConfigFault;
}

export type Checked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly wrong: readonly WrongValue[] };

/** Reads the tree by the schema. `sources` adds where the value came from, when that is not a file. */
export function checkTree<T>(schema: v.GenericSchema<unknown, T>, tree: Tree, sources?: ReadonlyMap<string, Source>): Checked<T> {
  const parsed = v.safeParse(schema, tree);
  if (parsed.success) return { ok: true, value: parsed.output };
  return { ok: false, wrong: parsed.issues.map((issue) => wrongValue(schema, tree, issue, sources)) };
}

function wrongValue(schema: object, tree: Tree, issue: v.BaseIssue<unknown>, sources?: ReadonlyMap<string, Source>): WrongValue {
  const path = blamedPath(tree, issue.path?.map((item) => String(item.key)) ?? []);
  const dotted = path.join(".");
  const source = sources?.get(dotted);
  const from = source?.startsWith("environment ") ? ` (from ${source})` : "";
  return { path, fault: { path: dotted, message: `${issue.message}${from}${instead(schema, path)}` } };
}

/** The longest part of the path that leads through mappings only. */
function blamedPath(tree: Tree, path: readonly string[]): readonly string[] {
  const end = path.findIndex((_, index) => index > 0 && !isTree(valueAt(tree, path.slice(0, index))));
  return end < 0 ? path : path.slice(0, end);
}

/** `; write listen: 0.0.0.0:5432` by the option's example; for a section its form. */
function instead(schema: object, path: readonly string[]): string {
  const name = path.at(-1);
  if (name === undefined) return "";
  const option = schemaAt(schema, path);
  const facts = option === undefined ? undefined : factsOf(option);
  return facts === undefined ? `; write ${name}: {OPTION: VALUE}` : `; write ${name}: ${facts.example}`;
}
