// Owns the words for parameters that a reload changes, as Patroni's log has them. Asks nobody; those that wait for a restart are told
// elsewhere (parameters.ts).

import { sameValue } from "./parameter-values.ts";
import { SETTING_ROWS, type SettingRow } from "./parameters.ts";

type Settings = Readonly<Record<string, string>>;

/** Ours to set: what they hold is told as the source that is followed, and may hold a password. */
const NOT_TOLD: ReadonlySet<string> = new Set([
  "primary_conninfo",
  "primary_slot_name",
  "recovery_target_timeline",
  "synchronous_standby_names",
  "ssl_passphrase_command",
]);

/** Statement whose rows are SettingRow, for the parameters named in $1 (with commas) as far as a reload changes them. */
export const RELOADED_SETTINGS_QUERY = `${SETTING_ROWS}
WHERE s.context <> 'postmaster' AND s.name = ANY (pg_catalog.string_to_array($1, ','))`;

/** `before`: what the files said until now; null where that is not known: then what the server runs with tells. */
export function changedNames(before: Settings | null, wanted: Settings): readonly string[] {
  const names = Object.keys({ ...before, ...wanted }).filter((name) => !NOT_TOLD.has(name));
  return before === null ? names : names.filter((name) => before[name] !== wanted[name]);
}

/** `rows`: of the names, as the server ran with them before the reload. One line each, in the order of the names. */
export function changedLines(
  names: readonly string[],
  { before, wanted, rows }: { readonly before: Settings | null; readonly wanted: Settings; readonly rows: readonly SettingRow[] },
): readonly string[] {
  const running = new Map(rows.map((row) => [row.name, row]));
  return names.toSorted().flatMap((name) => {
    const row = running.get(name);
    const to = wanted[name];
    // An extension's own, which no loaded library knows, is no row; nor is what only a restart changes.
    if (row === undefined && !name.includes(".")) return [];
    if (row !== undefined && to !== undefined && sameValue(to, row.setting ?? "", row)) return [];
    const from = row === undefined ? before?.[name] : (row.shown ?? row.setting);
    return [`Changed ${name} from '${from ?? "None"}' to '${to ?? "None"}'`];
  });
}
