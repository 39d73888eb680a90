// Owns reading YAML text into a plain tree, as Patroni's files are meant to be read: YAML 1.1 (`on` and `off` are booleans,
// 0644 is octal). Faults name the file, the line and the column, and never quote the text, which may hold a password.

import { type Document, LineCounter, parseDocument, type ScalarTag, type Tags, visit, type YAMLError } from "yaml";
import type { ConfigFault } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import { isTree, type Tree } from "./tree.ts";

/** A configuration is a few kilobytes; a larger one is not a configuration. */
const YAML_MAX_BYTES = 1_048_576;

/** Reads a document whose top is a mapping (an empty document counts as an empty one). `name` stands in the faults. */
export function parseYamlTree(text: string, name: string): Result<Tree, readonly ConfigFault[]> {
  const parsed = parseYaml(text, name);
  if (!parsed.ok) return parsed;
  if (parsed.value === null || parsed.value === undefined) return ok({});
  if (isTree(parsed.value)) return ok(parsed.value);
  return err([{ path: name, message: "line 1, column 1: the document is not a mapping; write options as `scope: NAME`, one a line" }]);
}

/** Reads any YAML value. */
export function parseYaml(text: string, name: string): Result<unknown, readonly ConfigFault[]> {
  if (Buffer.byteLength(text) > YAML_MAX_BYTES) return err([{ path: name, message: `larger than ${YAML_MAX_BYTES} bytes` }]);
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    version: "1.1",
    schema: "yaml-1.1",
    merge: true,
    uniqueKeys: true,
    prettyErrors: false,
    logLevel: "error",
    customTags: narrowTags,
    lineCounter,
  });
  // The first one: what a parser meets after it mostly follows from it.
  const [fault] = document.errors;
  if (fault !== undefined) return err([yamlFault(fault, name, lineCounter)]);
  try {
    return ok(document.toJS());
  } catch {
    // Only an alias can fail here: one that names nothing, or too many of them.
    const lost = lostAlias(document);
    if (lost === null) return err([{ path: name, message: "its aliases stand for too much content; write it out" }]);
    const at = lineCounter.linePos(lost);
    return err([{ path: name, message: `line ${at.line}, column ${at.col}: ${CAUSES["BAD_ALIAS"]}` }]);
  }
}

/** Offset of the first alias without an anchor; null where there is none. */
function lostAlias(document: Document): number | null {
  let offset: number | null = null;
  visit(document, {
    Alias: (_, node) => {
      if (node.resolve(document) !== undefined) return undefined;
      offset = node.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

/** PyYAML's rules where they differ: single letters are words. Dates and base-60 numbers stay text, as their users meant. */
function narrowTags(tags: Tags): Tags {
  return tags.flatMap((tag): Tags => {
    if (typeof tag === "string") return ["timestamp", "binary", "intTime", "floatTime"].includes(tag) ? [] : [tag];
    if (["tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary"].includes(tag.tag)) return [];
    const scalar = tag as ScalarTag;
    if (scalar.format === "TIME") return [];
    if (tag.tag !== "tag:yaml.org,2002:bool" || scalar.test === undefined) return [tag];
    const test = scalar.test.test("true") ? /^(?:[Yy]es|YES|[Tt]rue|TRUE|[Oo]n|ON)$/ : /^(?:[Nn]o|NO|[Ff]alse|FALSE|[Oo]ff|OFF)$/;
    return [{ ...scalar, test }];
  });
}

const CAUSES: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "this key stands twice in one mapping; keep one of them",
  BAD_INDENT: "the indentation does not fit, or a bracket or quote before it is not closed",
  TAB_AS_INDENT: "a tab is used for indentation; use spaces",
  MISSING_CHAR: "a closing quote, bracket, brace, comma or colon is missing",
  BAD_ALIAS: "this alias names no anchor; write `&NAME` at the value it stands for",
  MULTIPLE_DOCS: "the file holds several documents; remove the `---`",
  MULTILINE_IMPLICIT_KEY: "a key cannot continue on the next line; is a colon or a quote missing?",
  BLOCK_AS_IMPLICIT_KEY: "two mappings on one line; put quotes around a value that holds a colon",
  UNEXPECTED_TOKEN: "this does not belong here; is a quote or a bracket missing before it?",
};

function yamlFault(error: YAMLError, name: string, lineCounter: LineCounter): ConfigFault {
  const at = lineCounter.linePos(error.pos[0]);
  return { path: name, message: `line ${at.line}, column ${at.col}: ${CAUSES[error.code] ?? "not valid YAML"}` };
}
