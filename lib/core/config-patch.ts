// Owns the merge of a PATCH into the dynamic configuration: objects merge, null deletes, everything else replaces. Pure.

export type ConfigObject = Readonly<Record<string, unknown>>;

/** Never changes its arguments. A key such as `__proto__` is data like any other. */
export function mergeConfig(current: ConfigObject, patch: ConfigObject): ConfigObject {
  const merged = new Map<string, unknown>(Object.entries(current));
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) {
      merged.delete(key);
    } else if (isObject(value)) {
      const below = merged.get(key);
      merged.set(key, mergeConfig(isObject(below) ? below : {}, value));
    } else {
      merged.set(key, value);
    }
  }
  return Object.fromEntries(merged);
}

function isObject(value: unknown): value is ConfigObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
