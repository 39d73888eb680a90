// Owns the quick way to read the YAML that configurations are mostly written in: block mappings and lists, scalars and flow collections
// of one line. Whatever is beyond that, or is wrong, it leaves to the whole parser (yaml-text.ts), whose modules and first use cost a
// starting supervisor a tenth of its start. It never guesses: where it reads something, the whole parser reads the same.

import { isTree, type Tree } from "./tree.ts";

/** A configuration is a few kilobytes; what is larger is in no hurry. */
const PLAIN_MAX_CHARACTERS = 65_536;
/** Deeper than any configuration. */
const DEPTH_MAX = 32;

/** A document whose top is a mapping; null: not plain enough, or not right. */
export function readPlainYaml(text: string): Tree | null {
  if (text.length > PLAIN_MAX_CHARACTERS || !/^[\n\x20-\x7e]*$/.test(text)) return null;
  const lines = linesOf(text);
  if (lines === null || lines.length === 0) return null;
  const reader: Reader = { lines, next: 0 };
  const read = block(reader, 0, 0);
  return reader.next === lines.length && isTree(read) ? read : null;
}

interface Line {
  /** Its indentation; changes where a list's dash was read and the rest is a mapping's first line. */
  indent: number;
  text: string;
}

interface Reader {
  readonly lines: Line[];
  next: number;
}

/** What cannot be read here. Values are never undefined. */
const BEYOND = undefined;

/** Lines with something on them; null where one of them is a directive or divides documents. */
function linesOf(text: string): Line[] | null {
  const lines: Line[] = [];
  const all = text.split("\n");
  for (const [index, whole] of all.entries()) {
    const content = whole.trimStart();
    if (content === "" || content.startsWith("#")) continue;
    if (index === 0 && whole === "---") continue;
    if (/^(?:%|---|\.\.\.)/.test(whole)) return null;
    lines.push({ indent: whole.length - content.length, text: content.trimEnd() });
  }
  return lines;
}

/** The mapping or list whose lines begin at exactly this column. */
function block(reader: Reader, indent: number, depth: number): unknown {
  const line = reader.lines[reader.next];
  if (line === undefined || line.indent !== indent || depth > DEPTH_MAX) return BEYOND;
  return isItem(line.text) ? list(reader, indent, depth) : mapping(reader, indent, depth);
}

function isItem(text: string): boolean {
  return text === "-" || text.startsWith("- ");
}

const ENTRY = /^([A-Za-z_][A-Za-z0-9_./-]*):(?:$| +(.*)$)/;

function mapping(reader: Reader, indent: number, depth: number): Tree | undefined {
  const tree: Record<string, unknown> = {};
  for (;;) {
    const line = reader.lines[reader.next];
    if (line === undefined || line.indent < indent) return tree;
    const [, key, rest = ""] = ENTRY.exec(line.text) ?? [];
    if (line.indent > indent || key === undefined || !isPlainKey(key) || Object.hasOwn(tree, key)) return BEYOND;
    reader.next += 1;
    const value = rest === "" || rest.startsWith("#") ? below(reader, { indent, list: "may-be-level" }, depth) : inline(rest);
    if (value === BEYOND) return BEYOND;
    tree[key] = value;
  }
}

/** Words that are no text, and the name that no object may be given. */
function isPlainKey(key: string): boolean {
  return !WORDS.has(key.toLowerCase()) && key !== "__proto__";
}

function list(reader: Reader, indent: number, depth: number): unknown[] | undefined {
  const items: unknown[] = [];
  for (;;) {
    const line = reader.lines[reader.next];
    if (line === undefined || line.indent < indent) return items;
    if (line.indent > indent) return BEYOND;
    if (!isItem(line.text)) return items;
    const rest = line.text.slice(1).trimStart();
    const value = item(reader, { line, rest, indent }, depth);
    if (value === BEYOND) return BEYOND;
    items.push(value);
  }
}

function item(reader: Reader, { line, rest, indent }: { line: Line; rest: string; indent: number }, depth: number): unknown {
  if (rest === "" || rest.startsWith("#")) {
    reader.next += 1;
    return below(reader, { indent, list: "deeper" }, depth);
  }
  if (!isItem(rest) && !ENTRY.test(rest)) {
    reader.next += 1;
    return inline(rest);
  }
  // A collection that begins behind the dash: its lines stand at the column of its first word.
  line.indent += line.text.length - rest.length;
  line.text = rest;
  return block(reader, line.indent, depth + 1);
}

/** The value of a key or a dash with nothing behind it. */
function below(reader: Reader, at: { readonly indent: number; readonly list: "may-be-level" | "deeper" }, depth: number): unknown {
  const line = reader.lines[reader.next];
  if (line === undefined) return null;
  if (line.indent > at.indent) return block(reader, line.indent, depth + 1);
  if (line.indent === at.indent && at.list === "may-be-level" && isItem(line.text)) return list(reader, at.indent, depth + 1);
  return null;
}

interface Cursor {
  readonly text: string;
  at: number;
}

/** A value that ends on its line, and perhaps a comment. */
function inline(text: string): unknown {
  if (/^["'[{]/.test(text)) {
    const cursor: Cursor = { text, at: 0 };
    const value = flow(cursor, 0);
    return value !== BEYOND && /^(?: *$| +#)/.test(text.slice(cursor.at)) ? value : BEYOND;
  }
  const comment = text.indexOf(" #");
  return plain(comment < 0 ? text : text.slice(0, comment).trimEnd());
}

/** Quoted text, a collection in brackets, or a plain scalar within one; `cursor` stands behind it afterwards. */
function flow(cursor: Cursor, depth: number): unknown {
  const rest = cursor.text.slice(cursor.at);
  if (depth > DEPTH_MAX) return BEYOND;
  if (rest.startsWith("[")) return flowList(cursor, depth);
  if (rest.startsWith("{")) return flowMapping(cursor, depth);
  const quoted = /^'(?:[^']|'')*'/.exec(rest)?.[0] ?? /^"(?:[^"\\]|\\[\\"nrt])*"/.exec(rest)?.[0];
  if (quoted !== undefined) {
    cursor.at += quoted.length;
    // Of the escapes in double quotes only those are let in that JSON has too.
    return quoted.startsWith("'") ? quoted.slice(1, -1).replaceAll("''", "'") : JSON.parse(quoted);
  }
  const word =
    depth === 0 ? "" : (/^[A-Za-z0-9_./-][A-Za-z0-9_./@%+=-]*(?: +[A-Za-z0-9_./][A-Za-z0-9_./@%+=-]*)*(?::[0-9]+)?/.exec(rest)?.[0] ?? "");
  cursor.at += word.length;
  return word === "" ? BEYOND : plain(word);
}

function flowList(cursor: Cursor, depth: number): unknown[] | undefined {
  const items: unknown[] = [];
  cursor.at += 1;
  skipBlanks(cursor);
  if (taken(cursor, "]")) return items;
  for (;;) {
    const value = flow(cursor, depth + 1);
    if (value === BEYOND) return BEYOND;
    items.push(value);
    skipBlanks(cursor);
    if (taken(cursor, "]")) return items;
    if (!taken(cursor, ",")) return BEYOND;
    skipBlanks(cursor);
  }
}

function flowMapping(cursor: Cursor, depth: number): Tree | undefined {
  const tree: Record<string, unknown> = {};
  cursor.at += 1;
  skipBlanks(cursor);
  if (taken(cursor, "}")) return tree;
  for (;;) {
    const key = /^([A-Za-z_][A-Za-z0-9_.-]*): +/.exec(cursor.text.slice(cursor.at));
    if (key?.[1] === undefined || !isPlainKey(key[1]) || Object.hasOwn(tree, key[1])) return BEYOND;
    cursor.at += key[0].length;
    const value = flow(cursor, depth + 1);
    if (value === BEYOND) return BEYOND;
    tree[key[1]] = value;
    skipBlanks(cursor);
    if (taken(cursor, "}")) return tree;
    if (!taken(cursor, ",")) return BEYOND;
    skipBlanks(cursor);
  }
}

function skipBlanks(cursor: Cursor): void {
  while (cursor.text[cursor.at] === " ") cursor.at += 1;
}

function taken(cursor: Cursor, mark: string): boolean {
  if (cursor.text[cursor.at] !== mark) return false;
  cursor.at += 1;
  return true;
}

/** As YAML 1.1 has them, but for single letters; in another case they are text, which the whole parser says. */
const WORDS: ReadonlyMap<string, boolean | null> = new Map([
  ["null", null],
  ["true", true],
  ["yes", true],
  ["on", true],
  ["false", false],
  ["no", false],
  ["off", false],
]);

/** A scalar without quotes: a word, a whole number, or what can be nothing but text. */
function plain(text: string): unknown {
  if (text === "" || text.endsWith(":") || text.includes(": ")) return BEYOND;
  if (/^(?:0|-?[1-9][0-9]{0,14})$/.test(text)) return Number(text);
  const word = WORDS.get(text.toLowerCase());
  if (word !== undefined) return /^(?:[a-z]+|[A-Z][a-z]*)$/.test(text) ? word : BEYOND;
  if (/^[A-Za-z_/]/.test(text)) return text;
  // Addresses, and numbers with a unit that no number has.
  return /^[0-9]+(?:\.[0-9]+){2,}(?:[:/][0-9]+)?$/.test(text) || /^[0-9]+ ?(?:[kMGT]B|ms|s|min|h|%)$/.test(text) ? text : BEYOND;
}
