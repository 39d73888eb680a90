// Owns the command line of bootstrap and replica methods: the configured command, our arguments, and the section's other keys.

import type { MethodOptions } from "../model/node-config.ts";
import { shellWords } from "./shell-words.ts";

/** Keys of a section that speak to us and not to the command. Scripts know keep_data and no_leader: a Patroni passes them. */
const OWN_KEYS: ReadonlySet<string> = new Set(["command", "no_params", "recovery_conf", "keep_existing_recovery_conf"]);

/** Words of the command with `--key=value` for `given` and for every other key of the section, unless no_params. null: no usable command. */
export function methodCommand(section: MethodOptions, given: Readonly<Record<string, string>>): readonly string[] | null {
  const command = section["command"];
  const words = typeof command === "string" ? shellWords(command) : null;
  if (words === null || words.length === 0) return null;
  if (isEnabled(section["no_params"])) return words;
  const others = Object.entries(section).filter(([name, value]) => !OWN_KEYS.has(name) && !(name in given) && value !== null);
  return [...words, ...[...Object.entries(given), ...others].map(([name, value]) => `--${name}=${argument(value)}`)];
}

/** An option of a section: true, "true", "on", "yes", 1 and "1" switch it on. */
export function isEnabled(value: unknown): boolean {
  return value === true || value === 1 || (typeof value === "string" && ["true", "on", "yes", "1"].includes(value.toLowerCase()));
}

/** `--name` or `--name=value` for each pair; words that already begin with a dash stay as they are. */
export function longOptions(pairs: readonly (readonly [string, string | null])[]): readonly string[] {
  return pairs.map(([name, value]) => {
    const option = name.startsWith("-") ? name : `--${name}`;
    return value === null ? option : `${option}=${value}`;
  });
}

/** Booleans as a Patroni writes them. */
function argument(value: unknown): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
