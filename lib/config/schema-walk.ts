// Owns looking into a schema: which options and sections it names, and what a wrong value's path leads to. Lets the
// environment, the defaults and the check for unknown options follow the schemas instead of lists of their own.

import { factsOf, type OptionFacts } from "./option.ts";
import { entriesOf, isTree, type Tree } from "./tree.ts";

interface SchemaParts {
  readonly type?: string;
  readonly entries?: Readonly<Record<string, object>>;
  readonly wrapped?: object;
  readonly pipe?: readonly object[];
  readonly value?: object;
}

/** The entries of a section's schema; null for an option and for a mapping with free keys. */
export function entriesOfSection(schema: object): Readonly<Record<string, object>> | null {
  if (factsOf(schema) !== undefined) return null;
  const parts = schema as SchemaParts;
  if (parts.entries !== undefined) return parts.entries;
  if (parts.pipe !== undefined)
    return parts.pipe.map((part) => (part === schema ? null : entriesOfSection(part))).find((found) => found !== null) ?? null;
  return parts.wrapped === undefined ? null : entriesOfSection(parts.wrapped);
}

/** True where keys beside the named ones are allowed (tags, parameters). */
export function hasFreeKeys(schema: object): boolean {
  if (factsOf(schema) !== undefined) return false;
  const parts = schema as SchemaParts;
  if (parts.type === "record" || parts.type === "object_with_rest") return true;
  if (parts.pipe !== undefined) return parts.pipe.some((part) => part !== schema && hasFreeKeys(part));
  return parts.wrapped !== undefined && hasFreeKeys(parts.wrapped);
}

/** The schema at a path of names; undefined where the schema names none. */
export function schemaAt(schema: object, path: readonly string[]): object | undefined {
  let at: object | undefined = schema;
  for (const key of path) at = at === undefined ? undefined : (entriesOfSection(at)?.[key] ?? recordValue(at));
  return at;
}

function recordValue(schema: object): object | undefined {
  const parts = schema as SchemaParts;
  if (parts.type === "record") return parts.value;
  return parts.pipe?.map((part) => recordValue(part)).find((found) => found !== undefined);
}

export interface NamedOption {
  readonly path: readonly string[];
  readonly facts: OptionFacts;
}

/** Every option that the schema names, in its order. */
export function optionsOf(schema: object, prefix: readonly string[] = []): readonly NamedOption[] {
  return Object.entries(entriesOfSection(schema) ?? {}).flatMap(([key, entry]) => {
    const path = [...prefix, key];
    const facts = factsOf(entry);
    return facts === undefined ? optionsOf(entry, path) : [{ path, facts }];
  });
}

export interface NamedSections {
  /** Of the mapping whose keys are names of the user's choice, e.g. hooks. */
  readonly path: readonly string[];
  /** Of each section below such a name, with paths from there on. */
  readonly options: readonly NamedOption[];
}

/** Every mapping of sections whose names are free, in the schema's order. */
export function namedSectionsOf(schema: object, prefix: readonly string[] = []): readonly NamedSections[] {
  return Object.entries(entriesOfSection(schema) ?? {}).flatMap(([key, entry]) => {
    const path = [...prefix, key];
    const value = factsOf(entry) === undefined ? recordValue(entry) : undefined;
    if (value === undefined) return factsOf(entry) === undefined ? namedSectionsOf(entry, path) : [];
    return entriesOfSection(value) === null ? [] : [{ path, options: optionsOf(value) }];
  });
}

/** The defaults of every option that has one, in the form of a file. */
export function defaultsOf(schema: object): Tree {
  return Object.fromEntries(
    Object.entries(entriesOfSection(schema) ?? {}).flatMap(([key, entry]) => {
      const facts = factsOf(entry);
      if (facts !== undefined) return facts.fallback === null ? [] : [[key, facts.fallback]];
      const below = isOptional(entry) ? {} : defaultsOf(entry);
      return Object.keys(below).length === 0 ? [] : [[key, below]];
    }),
  );
}

/** A section that is null where it is missing has no defaults of its own until somebody writes it. */
function isOptional(schema: object): boolean {
  const parts = schema as SchemaParts & { readonly default?: unknown };
  return parts.pipe === undefined && parts.default === null;
}

/** Paths in the tree that the schema does not name. */
export function unknownPaths(schema: object, tree: Tree, prefix: readonly string[] = []): readonly (readonly string[])[] {
  const entries = entriesOfSection(schema);
  if (entries === null) {
    const named = recordValue(schema);
    if (named === undefined) return [];
    return entriesOf(tree).flatMap(([key, value]) => (isTree(value) ? unknownPaths(named, value, [...prefix, key]) : []));
  }
  return entriesOf(tree).flatMap(([key, value]) => {
    const entry = Object.hasOwn(entries, key) ? entries[key] : undefined;
    if (entry === undefined) return hasFreeKeys(schema) ? [] : [[...prefix, key]];
    return isTree(value) ? unknownPaths(entry, value, [...prefix, key]) : [];
  });
}
