// Owns the JSON text that Patroni's tools and shell scripts read: `{"a": 1, "b": 2}`, one space after colon and comma,
// ASCII only. Positions beyond 2^53 stay exact: a bigint is written as a plain integer. Reads nothing.

export type JsonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/** Keys whose value is undefined are left out; throws TypeError on a value that JSON cannot hold (NaN, functions). */
export function formatJson(value: unknown): string {
  switch (typeof value) {
    case "string":
      return formatString(value);
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return value.toString();
    case "number":
      if (!Number.isFinite(value)) throw new TypeError(`not a JSON number: ${value}`);
      return String(value);
    case "object":
      return value === null ? "null" : formatContainer(value);
    default:
      throw new TypeError(`not a JSON value: ${typeof value}`);
  }
}

/** JSON.parse that keeps integers beyond 2^53 exact as bigint. Throws SyntaxError. */
export function parseJson(text: string): unknown {
  return JSON.parse(text, exactIntegers);
}

function exactIntegers(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

function formatContainer(value: object): string {
  if (Array.isArray(value)) return `[${value.map(formatJson).join(", ")}]`;
  const parts: string[] = [];
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) parts.push(`${formatString(key)}: ${formatJson(item)}`);
  }
  return `{${parts.join(", ")}}`;
}

function formatString(text: string): string {
  return JSON.stringify(text).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
