// Owns the reading of pg_settings' rows into SettingRow: what comes from the server passes a schema once, here.

import * as v from "valibot";
import type { PostgresError } from "../model/errors.ts";
import { err, ok, type Result } from "../model/result.ts";
import type { SettingRow } from "./parameters.ts";

const settingRows = v.array(
  v.object({
    name: v.string(),
    setting: v.nullable(v.string()),
    shown: v.nullable(v.string()),
    unit: v.nullable(v.string()),
    vartype: v.string(),
    boot_val: v.nullable(v.string()),
    pending_restart: v.boolean(),
    file_value: v.nullable(v.string()),
  }),
);

/** Errors: failed (names the field that has another form). */
export function decodeSettingRows(rows: readonly unknown[]): Result<readonly SettingRow[], PostgresError> {
  const parsed = v.safeParse(settingRows, Array.from(rows));
  if (parsed.success) return ok(parsed.output);
  const [issue] = parsed.issues;
  return err({ kind: "failed", message: `pg_settings answered ${v.getDotPath(issue) ?? "nothing"}: ${issue.message}` });
}
