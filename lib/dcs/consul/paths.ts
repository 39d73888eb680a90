// Owns how keys stand in Consul's URLs and how a listing is read. Sends nothing.

import type { StoreError } from "../../model/errors.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { revision } from "../../model/units.ts";
import type { Snapshot } from "../store.ts";
import { readEntries, statusError, unreadable } from "./answers.ts";
import type { HttpAnswer } from "./http.ts";

/** Each part is escaped; the slashes between them are Consul's own. */
export function keyPath(key: string): string {
  return `/v1/kv/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/** dc and consistency of a read: as asked for, else as configured. */
export function prefixQuery(
  config: ConsulConfig,
  asked: ConsulConfig["consistency"] | undefined,
): Readonly<Record<string, string | undefined>> {
  const consistency = asked ?? config.consistency;
  return { dc: config.dc ?? undefined, [consistency]: consistency === "default" ? undefined : "" };
}

/** The snapshot in the answer of `GET /v1/kv/…?recurse`; 404 is the empty one. Errors: unavailable, rejected. */
export function readSnapshot(answer: HttpAnswer): Result<Snapshot, StoreError> {
  if (answer.status !== 200 && answer.status !== 404) return err(statusError(answer, "read"));
  const entries = answer.status === 404 ? [] : readEntries(answer.text);
  if (entries === null || answer.index === null) return err(unreadable("the keys were listed", "read"));
  return ok({ entries, revision: revision(answer.index) });
}
