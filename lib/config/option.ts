// Owns the vocabulary of the schemas: one constructor for each kind of option, carrying what a fault has to say (what is
// wanted, an example), the default in the form of the file, and whether it is a secret. Knows no option by name.

import * as v from "valibot";
import type { HostPort, ParameterValue } from "../model/node-config.ts";
import type { Ms } from "../model/units.ts";
import { isTree, type Tree } from "./tree.ts";
import {
  type ConnectAddress,
  type ListenAddress,
  readBoolean,
  readBytes,
  readConnectAddress,
  readDuration,
  readFileMode,
  readHostPort,
  readHostPortList,
  readInteger,
  readLines,
  readListen,
  readNumber,
  readOptionPairs,
  readParameter,
  readText,
  readTextList,
  readTextMap,
} from "./value.ts";

/**
 * How an environment variable's text becomes a value: as it is, as a YAML list (brackets optional), as a YAML mapping, or as
 * a list only where it begins with a bracket.
 */
export type OptionForm = "scalar" | "list" | "map" | "text-or-list";

export interface OptionFacts {
  /** Completes "… is not", e.g. "a whole number from 1 on". */
  readonly wanted: string;
  /** A value that would be right, as it is written in YAML. */
  readonly example: string;
  readonly secret: boolean;
  readonly form: OptionForm;
  /** As written in a file; null = not set. */
  readonly fallback: unknown;
}

export type Option<T> = v.GenericSchema<unknown, T>;

interface OptionSpec<T> {
  readonly wanted: string;
  readonly example: string;
  readonly read: (value: unknown) => T | undefined;
  readonly fallback?: unknown;
  readonly secret?: boolean;
  readonly form?: OptionForm;
}

const FACTS = new WeakMap<object, OptionFacts>();

/** The facts of an option's schema; undefined for a section. */
export function factsOf(schema: object): OptionFacts | undefined {
  return FACTS.get(schema);
}

/** An option that may be left out; then its value is that of `fallback`. */
export function option<T>(spec: OptionSpec<T> & { readonly fallback: unknown }): Option<T> {
  return build<T, T>(spec, spec.fallback);
}

/** An option that may be left out; then its value is null. */
export function optional<T>(spec: OptionSpec<T>): Option<T | null> {
  return build<T, T | null>(spec, null);
}

function build<T, U>(spec: OptionSpec<T>, fallback: unknown): Option<U> {
  const schema = v.pipe(
    v.nullish(v.unknown(), fallback),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      if (dataset.value === null || dataset.value === undefined) return null as U;
      const value = spec.read(dataset.value);
      if (value !== undefined) return value as unknown as U;
      addIssue({ message: `${spec.secret ? "the value" : describe(dataset.value)} is not ${spec.wanted}` });
      return NEVER;
    }),
  );
  const facts = { wanted: spec.wanted, example: spec.example, secret: spec.secret ?? false, form: spec.form ?? "scalar", fallback };
  FACTS.set(schema, facts);
  return schema as unknown as Option<U>;
}

/** A value in an error text: short, and never the inside of a mapping or list. URLs lose their password. */
function describe(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  const text = typeof value === "string" ? value.replace(/:\/\/[^/@\s]*@/, "://***@") : String(value);
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}

const NOT_A_MAPPING = "is not a mapping";

/** A mapping, before its entries are looked at (to Valibot a list is an object too). */
export function mapping(): v.GenericSchema<unknown, Tree> {
  return v.custom<Tree>(isTree, NOT_A_MAPPING);
}

/** A section: a mapping of options and sections. Options that it does not name are kept out of the result. */
export function section<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(mapping(), v.object(entries, NOT_A_MAPPING));
}

/** A section that may be missing: null then. */
export function optionalSection<const E extends v.ObjectEntries>(entries: E) {
  return v.nullish(section(entries), null);
}

/** A section that may be missing: all its defaults then. */
export function defaultSection<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(v.nullish(v.unknown(), {}), section(entries));
}

/** A mapping with free keys whose values are each judged by themselves, so that one wrong value costs only that one. */
export function mapOf<const S extends v.GenericSchema<unknown, unknown>>(value: S) {
  return v.pipe(v.nullish(v.unknown(), {}), mapping(), v.record(v.string(), value, NOT_A_MAPPING));
}

// --- kinds of options; `fallback` undefined means: null where it is left out ---

/** Text; empty text counts as not set. */
export function text(example: string): Option<string | null> {
  return optional({ wanted: "text; put it in quotes", example, read: readSetText });
}

export function textWithDefault(fallback: string, example = fallback): Option<string> {
  return option({ wanted: "text; put it in quotes", example, read: readText, fallback });
}

export function secret(): Option<string | null> {
  return optional({ wanted: "text; put it in quotes", example: "'SECRET'", read: readSetText, secret: true });
}

function readSetText(value: unknown): string | null | undefined {
  const read = readText(value);
  return read === "" ? null : read;
}

export function flag(fallback: boolean): Option<boolean> {
  return option({ wanted: "a boolean (on or off)", example: fallback ? "on" : "off", read: readBoolean, fallback });
}

export function whole(fallback: number, range: { readonly min?: number; readonly max?: number } = {}): Option<number> {
  return option({ wanted: `a whole number${rangeWords(range)}`, example: String(fallback), read: within(readInteger, range), fallback });
}

export function bytes(fallback: number, range: { readonly min?: number } = {}): Option<number> {
  const wanted = `a size in bytes, or with kB, MB, GB, TB${rangeWords(range)}`;
  return option({ wanted, example: String(fallback), read: within((value) => readBytes(value), range), fallback });
}

/** Seconds, or a number with a unit; the value is in milliseconds, `min` in seconds. */
export function duration(fallback: number | string, range: { readonly min?: number } = {}): Option<Ms> {
  const wanted = `a number of seconds, or with ms, s, min, h, d${rangeWords(range)}`;
  const milliseconds = range.min === undefined ? {} : { min: range.min * 1000 };
  return option({ wanted, example: String(fallback), read: within(readDuration, milliseconds), fallback });
}

/** As duration; null where it is left out. `min` in seconds. */
export function optionalDuration(example: string, range: { readonly min: number }): Option<Ms | null> {
  const wanted = `a number of seconds, or with ms, s, min, h, d${rangeWords(range)}`;
  return optional({ wanted, example, read: within(readDuration, { min: range.min * 1000 }) });
}

export function number(fallback: number): Option<number> {
  return option({ wanted: "a number", example: String(fallback), read: readNumber, fallback });
}

/** One of some words, in any case; a YAML boolean counts as the word that it stands for. */
export function choice<const T extends string>(words: readonly T[], fallback: T): Option<T> {
  return option<T>({ wanted: `one of ${words.join(", ")}`, example: fallback, read: (value) => readWord(value, words), fallback });
}

export function readWord<T extends string>(value: unknown, words: readonly T[]): T | undefined {
  const spelled = typeof value === "boolean" ? (value ? ["on", "true"] : ["off", "false", "none"]) : [String(value).trim().toLowerCase()];
  return words.find((word) => spelled.includes(word.toLowerCase()));
}

export function address(example: string): Option<HostPort | null> {
  return optional({ wanted: "an address with a port from 1 to 65535", example, read: (value) => readHostPort(value) });
}

export function addressList(example: string): Option<readonly HostPort[]> {
  return option({ wanted: "a list of addresses with ports", example, read: readHostPortList, fallback: [], form: "list" });
}

/** Where a server listens, on `port` where the option names none; null where it is left out, unless there is a fallback. */
export function listen(fallback: string | null, port: number): Option<ListenAddress | null> {
  const wanted = "an address with a port from 1 to 65535 (several hosts: comma between, the port after the last)";
  const spec = { wanted, example: `0.0.0.0:${port}`, read: (value: unknown) => readListen(value, port) };
  return fallback === null ? optional(spec) : option<ListenAddress | null>({ ...spec, fallback });
}

/** Where others reach that server. */
export function connectAddress(example: string): Option<ConnectAddress | null> {
  return optional({ wanted: "an address (the port is that of listen where it names none)", example, read: readConnectAddress });
}

export function wordList(example: string): Option<readonly string[]> {
  return option({ wanted: "a list of words", example, read: readTextList, fallback: [], form: "list" });
}

export function lineList(example: string): Option<readonly string[] | null> {
  return optional({ wanted: "a list of lines", example, read: readLines, form: "list" });
}

export function textMap(example: string): Option<Readonly<Record<string, string>>> {
  return option({ wanted: "a mapping of names to text", example, read: readTextMap, fallback: {}, form: "map" });
}

export function optionPairs(example: string): Option<readonly (readonly [string, string | null])[]> {
  return option({ wanted: "a list of options (words, or one-key mappings)", example, read: readOptionPairs, fallback: [], form: "list" });
}

export function fileMode(): Option<number | null> {
  return optional({ wanted: "octal permission bits", example: "0644", read: readFileMode });
}

/** A mapping with any content. */
export function anyMap(example: string): Option<Readonly<Record<string, unknown>>> {
  const read = (value: unknown) => (isTree(value) ? value : undefined);
  return option({ wanted: "a mapping", example, read, fallback: {}, form: "map" });
}

/** One PostgreSQL parameter. */
export function parameter(): Option<ParameterValue | null> {
  return optional({ wanted: "text, a number or a boolean", example: "'VALUE'", read: readParameter });
}

/** A mapping of parameters. */
export function parameterMap() {
  return mapOf(parameter());
}

function within<T extends number>(
  read: (value: unknown) => T | undefined,
  range: { readonly min?: number; readonly max?: number },
): (value: unknown) => T | undefined {
  return (value) => {
    const result = read(value);
    if (result === undefined) return undefined;
    return (range.min === undefined || result >= range.min) && (range.max === undefined || result <= range.max) ? result : undefined;
  };
}

function rangeWords(range: { readonly min?: number; readonly max?: number }): string {
  if (range.min !== undefined && range.max !== undefined) return ` from ${range.min} to ${range.max}`;
  return range.min !== undefined ? ` from ${range.min} on` : "";
}
