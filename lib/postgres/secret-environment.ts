// Owns the way of secrets to libpq programs: the pgpass file for passwords, and, because libpq has no variable for it, a
// service file for sslpassword. Nothing secret is ever an argument or in an environment variable.

import { resolve } from "node:path";
import type { PostgresError } from "../model/errors.ts";
import type { PostgresUser } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";
import { reasonOf, replaceFile } from "./atomic-file.ts";
import type { PostgresContext } from "./context.ts";
import { writePgpass } from "./pgpass.ts";

const SERVICE = "matriarch";

/** Variables for a libpq program that connects as `user`; the files that they name are up to date. Errors: failed. */
export async function secretEnvironment(
  context: PostgresContext,
  user: PostgresUser,
): Promise<Result<Record<string, string>, PostgresError>> {
  const { pgpass } = context.config;
  try {
    await writePgpass(context.config);
    const secret = user.options["sslpassword"];
    if (secret === undefined) return ok({ PGPASSFILE: resolve(pgpass) });
    const service = `${pgpass}.${encodeURIComponent(user.username ?? "default")}.service`;
    await replaceFile(service, `[${SERVICE}]\nsslpassword=${secret}\n`);
    return ok({ PGPASSFILE: resolve(pgpass), PGSERVICEFILE: resolve(service), PGSERVICE: SERVICE });
  } catch (error) {
    return err({ kind: "failed", message: `cannot write ${pgpass}: ${reasonOf(error)}` });
  }
}
