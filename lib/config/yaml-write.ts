// Owns writing configuration as YAML 1.1: plain files for generated configurations, and the annotated form in which each
// value is followed by its source. Masks nothing: what it gets is what it writes.

import { Document, visit } from "yaml";
import { entriesOf, isTree, type Source, type Tree } from "./tree.ts";

/** A tree as a file; sections of the top level are set apart by a blank line. */
export function writeYaml(tree: Tree): string {
  return entriesOf(tree)
    .map(([key, value], index) => `${isTree(value) && index > 0 ? "\n" : ""}${blockText({ [key]: value })}`)
    .join("");
}

/** Each leaf on a line of its own, followed by `# source`. */
export function writeAnnotated(tree: Tree, sources: ReadonlyMap<string, Source>, path: readonly string[] = []): string {
  const indent = "  ".repeat(path.length);
  return entriesOf(tree)
    .map(([key, value]) => {
      const here = [...path, key];
      if (isTree(value) && entriesOf(value).length > 0) return `${indent}${flowText(key)}:\n${writeAnnotated(value, sources, here)}`;
      return `${indent}${flowText(key)}: ${flowText(value)}  # ${sourceOf(here, sources)}\n`;
    })
    .join("");
}

function sourceOf(path: readonly string[], sources: ReadonlyMap<string, Source>): Source {
  for (let length = path.length; length > 0; length--) {
    const source = sources.get(path.slice(0, length).join("."));
    if (source !== undefined) return source;
  }
  return "default";
}

function blockText(value: unknown): string {
  return yaml11(value).toString({ lineWidth: 0, indentSeq: false });
}

/** One line, whatever the value is. */
function flowText(value: unknown): string {
  const document = yaml11(value);
  visit(document, {
    Collection: (_, node) => {
      node.flow = true;
    },
    Scalar: (_, node) => {
      if (typeof node.value === "string" && node.value.includes("\n")) node.type = "QUOTE_DOUBLE";
    },
  });
  return document.toString({ lineWidth: 0, flowCollectionPadding: false, blockQuote: false }).trimEnd();
}

function yaml11(value: unknown): Document {
  return new Document(value, { version: "1.1", aliasDuplicateObjects: false });
}
