// Owns how single values are read: booleans, numbers, durations, sizes, addresses, lists. Each reader answers
// undefined for what it cannot accept, and never throws.

import { BlockList, isIPv4 } from "node:net";
import { canonicalAddress, parseHostPort } from "../model/host-port.ts";
import type { HostPort, ParameterValue } from "../model/node-config.ts";
import { type Ms, ms } from "../model/units.ts";
import { entriesOf, isTree, type Tree } from "./tree.ts";

/** Names and paths are short; what is longer is a mistake (or an attack), not a value. */
const TEXT_MAX_LENGTH = 65_536;

const TRUE_WORDS: readonly string[] = ["on", "yes", "true", "y", "t", "1"];
const FALSE_WORDS: readonly string[] = ["off", "no", "false", "n", "f", "0"];

/** Booleans, 0 and 1, and their words (on, yes, true, off, no, false) in any case. */
export function readBoolean(value: unknown): boolean | undefined {
  if (typeof value === "boolean") return value;
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const word = String(value).trim().toLowerCase();
  if (TRUE_WORDS.includes(word)) return true;
  return FALSE_WORDS.includes(word) ? false : undefined;
}

/** Text as it is; numbers become text. Booleans are refused: `off` without quotes was meant as a word more often than not. */
export function readText(value: unknown): string | undefined {
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  return typeof value === "string" && value.length <= TEXT_MAX_LENGTH && !value.includes("\0") ? value : undefined;
}

/** A finite number, or its decimal text. */
export function readNumber(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (typeof value !== "string" || !/^\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*$/.test(value)) return undefined;
  const number = Number(value);
  return Number.isFinite(number) ? number : undefined;
}

export function readInteger(value: unknown): number | undefined {
  const number = readNumber(value);
  return number !== undefined && Number.isSafeInteger(number) ? number : undefined;
}

export function readPort(value: unknown): number | undefined {
  const port = readInteger(value);
  return port !== undefined && port >= 1 && port <= 65_535 ? port : undefined;
}

const DURATION_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** A number of seconds, or a number with PostgreSQL's unit (us, ms, s, min, h, d): 30, "30s", "5min". In milliseconds. */
export function readDuration(value: unknown): Ms | undefined {
  const scaled = readWithUnit(value, DURATION_MS, "s");
  return scaled === undefined ? undefined : ms(scaled);
}

const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };

/** A number of `unit`s (bytes unless said otherwise), or a number with B, kB, MB, GB or TB. In whole bytes. */
export function readBytes(value: unknown, unit: "B" | "kB" | "MB" = "B"): number | undefined {
  const scaled = readWithUnit(value, SIZE_BYTES, unit);
  return scaled === undefined || !Number.isSafeInteger(Math.round(scaled)) ? undefined : Math.round(scaled);
}

function readWithUnit(value: unknown, units: Readonly<Record<string, number>>, fallback: string): number | undefined {
  const plain = readNumber(value);
  if (plain !== undefined) return plain * (units[fallback] ?? 1);
  if (typeof value !== "string") return undefined;
  const match = /^\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*([A-Za-z]+)\s*$/.exec(value);
  if (match === null) return undefined;
  const unit = Object.keys(units).find((name) => name.toLowerCase() === match[2]?.toLowerCase());
  return unit === undefined ? undefined : Number(match[1]) * (units[unit] ?? 1);
}

/** As `parseHostPort`, of a value that may be no text. */
export function readHostPort(value: unknown, portFallback?: number): HostPort | undefined {
  const text = readText(value);
  return text === undefined ? undefined : parseHostPort(text, portFallback);
}

/** An address whose port is that of `listen` where it names none. */
export interface ConnectAddress {
  readonly host: string;
  readonly port: number | null;
}

export function readConnectAddress(value: unknown): ConnectAddress | undefined {
  const text = readText(value)?.trim() ?? "";
  return text.includes(":") ? readHostPort(text) : withoutPort(text);
}

function withoutPort(text: string): ConnectAddress | undefined {
  const address = readHostPort(text, 1);
  return address === undefined ? undefined : { host: address.host, port: null };
}

export interface ListenAddress {
  readonly hosts: readonly string[];
  readonly port: number;
}

/** What `postgresql.listen` and `restapi.listen` take: hosts separated by commas, the port after the last one (or the usual one). */
export function readListen(value: unknown, portFallback?: number): ListenAddress | undefined {
  const text = readText(value)?.trim();
  if (text === undefined) return undefined;
  const parts = text.split(",").map((part) => part.trim());
  const last = readHostPort(parts.at(-1), portFallback);
  if (last === undefined) return undefined;
  const hosts = [...parts.slice(0, -1).map((host) => host.replace(/^\[(.+)\]$/, "$1")), last.host];
  return hosts.every((host) => host !== "" && !/\s/.test(host)) ? { hosts, port: last.port } : undefined;
}

/** A list of words; one text is split at commas. */
export function readTextList(value: unknown): readonly string[] | undefined {
  const items = typeof value === "string" ? value.split(",").map((item) => item.trim().replace(/^(['"])(.*)\1$/, "$2")) : value;
  return readLines(typeof value === "string" && Array.isArray(items) ? items.filter((item) => item !== "") : items);
}

/** A list whose items are texts (or numbers): lines of pg_hba, command words. */
export function readLines(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const lines = value.map(readText);
  return lines.every((line) => line !== undefined) ? lines : undefined;
}

export function readHostPortList(value: unknown): readonly HostPort[] | undefined {
  const addresses = readTextList(value)?.map((item) => readHostPort(item));
  return addresses?.every((address) => address !== undefined) ? addresses : undefined;
}

/** A mapping of words to text. */
export function readTextMap(value: unknown): Readonly<Record<string, string>> | undefined {
  if (!isTree(value)) return undefined;
  const pairs = entriesOf(value).map(([key, item]) => [key, typeof item === "boolean" ? String(item) : readText(item)] as const);
  return pairs.every(([, item]) => item !== undefined) ? (Object.fromEntries(pairs) as Record<string, string>) : undefined;
}

/** Options of a program: a list that mixes words and mappings, or one mapping. A word, or a true value, has no argument; false drops it. */
export function readOptionPairs(value: unknown): readonly (readonly [string, string | null])[] | undefined {
  const items: readonly unknown[] | undefined = Array.isArray(value) ? value : isTree(value) ? [value] : undefined;
  const pairs: (readonly [string, string | null])[] = [];
  for (const item of items ?? []) {
    const more = isTree(item) ? mappingPairs(item) : typeof item === "string" && item !== "" ? [[item, null] as const] : undefined;
    if (more === undefined) return undefined;
    pairs.push(...more);
  }
  return items === undefined ? undefined : pairs;
}

function mappingPairs(tree: Tree): (readonly [string, string | null])[] | undefined {
  const pairs: (readonly [string, string | null])[] = [];
  for (const [key, value] of entriesOf(tree)) {
    if (value === false) continue;
    const text = value === null || value === true ? null : readText(value);
    if (text === undefined) return undefined;
    pairs.push([key, text]);
  }
  return pairs;
}

/** A value of a PostgreSQL parameter: text, number or boolean. */
export function readParameter(value: unknown): ParameterValue | undefined {
  return typeof value === "boolean" ? value : typeof value === "number" && Number.isFinite(value) ? value : readText(value);
}

/** Permission bits: 0644 (octal in YAML), or the same as text. */
export function readFileMode(value: unknown): number | undefined {
  const bits =
    typeof value === "string" ? (/^(0o?)?[0-7]{1,4}$/.test(value) ? Number.parseInt(value.replace(/^0o/, ""), 8) : undefined) : value;
  return typeof bits === "number" && Number.isInteger(bits) && bits >= 0 && bits <= 0o777 ? bits : undefined;
}

/** No host can be reached by them from elsewhere: of a link, of groups, and what IPv6 keeps for itself. */
const NOBODYS = { ipv4: networks("ipv4", ["224.0.0.0/3"]), ipv6: networks("ipv6", ["::/8", "fe80::/10", "ff00::/8"]) } as const;

export function readInterfaceAddress(value: unknown): { readonly address: string; readonly prefixLength: number } | undefined {
  const [text = "", length = "", ...more] = readText(value)?.split("/") ?? [];
  const address = canonicalAddress(text);
  const prefixLength = readInteger(length);
  if (address === null || more.length > 0 || prefixLength === undefined) return undefined;
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  const longest = family === "ipv4" ? 32 : 128;
  if (prefixLength < 1 || prefixLength > longest || NOBODYS[family].check(address, family)) return undefined;
  return { address, prefixLength };
}

/** As Linux allows them; an option of ip(8) is none. */
export function readInterfaceName(value: unknown): string | undefined {
  const name = readText(value);
  return name !== undefined && /^[A-Za-z0-9][A-Za-z0-9._@-]{0,14}$/.test(name) ? name : undefined;
}

/** One family each: an IPv4 address counts as one of IPv6 too. */
function networks(family: "ipv4" | "ipv6", all: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of all) {
    const [network = "", length = ""] = text.split("/");
    list.addSubnet(network, Number(length), family);
  }
  return list;
}
