// Owns the marker beside the data directory that says "we are making this one": only such a directory may be cleared unasked.

import type { PostgresError } from "../model/errors.ts";
import { err, type Result } from "../model/result.ts";

export type Making = "initdb" | "clone";

/** `<data_dir>.matriarch-making`, beside the directory. */
export function makingMarkerPath(dataDir: string): string {
  return `${dataDir.replace(/\/+$/, "")}.matriarch-making`;
}

/** Word in the marker; null where there is none. Errors: failed. */
export async function readMakingMarker(dataDir: string): Promise<Result<string | null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${dataDir}` });
}
