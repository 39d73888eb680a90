// Owns how a log line looks: Patroni's %(field)s formats, strftime dates, JSON with renamed and static fields. Pure, but
// for the local time zone. Must not write.

import type { LogConfig } from "../model/node-config.ts";

export interface LogLine {
  readonly level: string;
  readonly name: string;
  readonly message: string;
  readonly epochMs: number;
  /** The event that it tells of, as JSON. */
  readonly event?: string | null;
}

/** The text without its final newline. */
export type Formatter = (line: LogLine) => string;

const STARTED_AT = Date.now();
const FIELD = /%(?:\((\w+)\)([-0 #+]*)(\d*)(?:\.(\d+))?([sdifr])|%)/g;
const LEVEL_NUMBERS: Readonly<Record<string, number>> = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 };

export function createFormatter(config: LogConfig): Formatter {
  if (config.type === "json") return jsonFormatter(config);
  const format = typeof config.format === "string" ? config.format : "%(asctime)s %(levelname)s: %(message)s";
  // The usual form without the cost of looking for fields.
  if (format === "%(asctime)s %(levelname)s: %(message)s" && config.dateformat === null) {
    return (line) => `${defaultTime(line.epochMs)} ${line.level}: ${line.message}`;
  }
  return (line) => expand(format, line, config.dateformat);
}

function expand(format: string, line: LogLine, dateformat: string | null): string {
  return format.replace(FIELD, (whole, name: string | undefined, flags = "", width = "", precision: string | undefined, kind = "s") => {
    if (name === undefined) return "%";
    const value = field(name, line, dateformat);
    if (value === null) return whole;
    return pad(
      typeof value === "number" && kind === "f" ? value.toFixed(Number(precision ?? 6)) : cut(value, kind, precision),
      flags,
      width,
    );
  });
}

function cut(value: string | number, kind: string, precision: string | undefined): string {
  if (kind === "d" || kind === "i") return String(Math.trunc(Number(value)));
  return precision === undefined ? String(value) : String(value).slice(0, Number(precision));
}

function pad(text: string, flags: string, width: string): string {
  if (width === "") return text;
  if (flags.includes("-")) return text.padEnd(Number(width));
  return text.padStart(Number(width), flags.includes("0") ? "0" : " ");
}

/** What Patroni's users know as LogRecord attributes; null for one that we do not have. */
function field(name: string, line: LogLine, dateformat: string | null): string | number | null {
  switch (name) {
    case "asctime":
      return dateformat === null ? defaultTime(line.epochMs) : strftime(dateformat, line.epochMs);
    case "levelname":
      return line.level;
    case "levelno":
      return LEVEL_NUMBERS[line.level] ?? 0;
    case "message":
      return line.message;
    case "name":
      return line.name;
    case "module":
    case "funcName":
      return line.name.slice(line.name.lastIndexOf(".") + 1);
    case "filename":
    case "pathname":
      return `${line.name.slice(line.name.lastIndexOf(".") + 1)}.ts`;
    case "lineno":
      return 0;
    case "created":
      return line.epochMs / 1000;
    case "msecs":
      return line.epochMs % 1000;
    case "relativeCreated":
      return line.epochMs - STARTED_AT;
    case "process":
      return process.pid;
    case "processName":
    case "threadName":
      return "MainThread";
    case "thread":
      return process.pid;
    default:
      return null;
  }
}

function jsonFormatter(config: LogConfig): Formatter {
  // A text format names its fields in order, as it would print them.
  const wanted: readonly (string | Readonly<Record<string, string>>)[] =
    typeof config.format === "string" ? [...config.format.matchAll(FIELD)].map((match) => match[1] ?? "").filter(Boolean) : config.format;
  const pairs = wanted.flatMap((item) => (typeof item === "string" ? [[item, item] as const] : Object.entries(item)));
  return (line) => {
    const record: Record<string, unknown> = {};
    for (const [name, key] of pairs) record[key] = field(name, line, config.dateformat);
    const text = JSON.stringify({ ...record, ...config.staticFields });
    if (line.event == null) return text;
    return `${text.slice(0, -1)}${text === "{}" ? "" : ","}"event":${line.event}}`;
  };
}

let cachedSecond = Number.NaN;
let cachedText = "";

/** `2026-01-01 12:00:00,000` in the local time zone. */
function defaultTime(epochMs: number): string {
  const second = Math.floor(epochMs / 1000);
  if (second !== cachedSecond) {
    cachedSecond = second;
    cachedText = strftime("%Y-%m-%d %H:%M:%S", epochMs);
  }
  return `${cachedText},${two(Math.floor(epochMs % 1000), 3)}`;
}

function two(value: number, width = 2): string {
  return String(value).padStart(width, "0");
}

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(" ");

/** The C locale's strftime for the conversions that dates in logs use; an unknown one stays as written. Source: strftime(3). */
export function strftime(format: string, epochMs: number): string {
  const date = new Date(epochMs);
  const convert: Readonly<Record<string, () => string>> = {
    Y: () => String(date.getFullYear()),
    y: () => two(date.getFullYear() % 100),
    m: () => two(date.getMonth() + 1),
    d: () => two(date.getDate()),
    e: () => String(date.getDate()).padStart(2),
    H: () => two(date.getHours()),
    I: () => two(date.getHours() % 12 || 12),
    M: () => two(date.getMinutes()),
    S: () => two(date.getSeconds()),
    f: () => two(date.getMilliseconds(), 3).padEnd(6, "0"),
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    j: () => two(dayOfYear(date), 3),
    a: () => (DAYS[date.getDay()] ?? "").slice(0, 3),
    A: () => DAYS[date.getDay()] ?? "",
    b: () => (MONTHS[date.getMonth()] ?? "").slice(0, 3),
    B: () => MONTHS[date.getMonth()] ?? "",
    z: () => zoneOffset(date),
    Z: () => zoneName(date),
    s: () => String(Math.floor(epochMs / 1000)),
    F: () => strftime("%Y-%m-%d", epochMs),
    T: () => strftime("%H:%M:%S", epochMs),
    D: () => strftime("%m/%d/%y", epochMs),
    R: () => strftime("%H:%M", epochMs),
    c: () => strftime("%a %b %e %H:%M:%S %Y", epochMs),
    x: () => strftime("%m/%d/%y", epochMs),
    X: () => strftime("%H:%M:%S", epochMs),
    "%": () => "%",
  };
  return format.replace(/%([a-zA-Z%])/g, (whole, letter: string) => convert[letter]?.() ?? whole);
}

function dayOfYear(date: Date): number {
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000) + 1;
}

function zoneOffset(date: Date): string {
  const minutes = -date.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(size / 60))}${two(size % 60)}`;
}

function zoneName(date: Date): string {
  const parts = new Intl.DateTimeFormat("en-US", { timeZoneName: "short" }).formatToParts(date);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}
