// Owns the comparison of parameter values: `128MB` and `16384` of unit 8kB are one value. Pure.

/** Bytes per memory unit; a bare unit such as "8kB" or "16MB" is a multiple. */
const MEMORY_BYTES: Readonly<Record<string, number>> = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3, TB: 1024 ** 4 };

/** Milliseconds per time unit. */
const TIME_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Prefixes of these words are booleans too (`t`, `of`), as in the server. */
const TRUE_WORDS = ["on", "true", "yes", "1"];
const FALSE_WORDS = ["off", "false", "no", "0"];

/** Old spellings that the server turns into another word. */
const ENUM_SYNONYMS: Readonly<Record<string, string>> = { hot_standby: "replica", archive: "replica" };

/** What pg_settings says about a parameter's type. */
export interface ValueType {
  /** bool, integer, real, enum, string */
  readonly vartype: string;
  /** e.g. `8kB`, `ms`, `min`; null where it has none. */
  readonly unit: string | null;
}

/** Do the configured text and the server's `setting` mean the same? What cannot be parsed is compared as text. */
export function sameValue(wanted: string, setting: string, type: ValueType): boolean {
  switch (type.vartype) {
    case "bool": {
      const left = parseBoolean(wanted);
      return left === null ? wanted === setting : left === parseBoolean(setting);
    }
    case "integer":
    case "real": {
      const left = parseNumber(wanted, type.unit);
      const right = parseNumber(setting, type.unit);
      if (left === null || right === null) return wanted === setting;
      return type.vartype === "integer" ? Math.round(left) === Math.round(right) : left === right;
    }
    case "enum":
      return enumWord(wanted) === enumWord(setting);
    default:
      return wanted === setting;
  }
}

/** Boolean by the server's rule (case ignored, unique prefixes allowed); null where it is none. */
export function parseBoolean(text: string): boolean | null {
  const word = text.trim().toLowerCase();
  if (word === "" || word === "o") return null;
  if (TRUE_WORDS.some((full) => full.startsWith(word))) return true;
  if (FALSE_WORDS.some((full) => full.startsWith(word))) return false;
  return null;
}

/** Number in multiples of `unit` (bare numbers already are); null where it is not a number or of the wrong kind of unit. */
export function parseNumber(text: string, unit: string | null): number | null {
  const match = /^\s*([+-]?(?:0x[0-9a-f]+|[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?))\s*([a-z]*)\s*$/i.exec(text);
  if (match?.[1] === undefined) return null;
  const number = parseBareNumber(match[1]);
  const suffix = match[2] ?? "";
  if (number === null || suffix === "") return number;
  if (unit === null) return null;
  const base = /^([0-9]*)([a-zA-Z]+)$/.exec(unit);
  const multiple = base?.[1] ? Number(base[1]) : 1;
  for (const table of [MEMORY_BYTES, TIME_MS]) {
    const from = table[suffix];
    const to = table[base?.[2] ?? ""];
    if (from !== undefined && to !== undefined) return (number * from) / (to * multiple);
  }
  return null;
}

/** A leading zero makes an integer octal, as in the server. */
function parseBareNumber(text: string): number | null {
  if (/^[+-]?0x/i.test(text)) return text.startsWith("-") ? -Number(text.slice(1)) : Number(text.replace("+", ""));
  if (/^[+-]?0[0-7]+$/.test(text)) return Number.parseInt(text, 8);
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}

function enumWord(text: string): string {
  const word = text.trim().toLowerCase();
  return ENUM_SYNONYMS[word] ?? word;
}
