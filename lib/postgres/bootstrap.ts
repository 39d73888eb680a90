// Owns the making of a new cluster: initdb or a custom method, users, post_bootstrap. Does not decide who bootstraps.

import type { PostgresError } from "../model/errors.ts";
import type { BootstrapConfig } from "../model/node-config.ts";
import { err, type Result } from "../model/result.ts";
import type { PostgresContext } from "./context.ts";

export interface BootstrapOptions {
  readonly bootstrap: BootstrapConfig;
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
  /** The facade's start as primary: writes configuration files, resolves when connections are accepted. */
  readonly start: () => Promise<Result<null, PostgresError>>;
}

/**
 * Makes the cluster in an absent, empty or half-made directory. The marker stays until everything is done, so a kill in
 * the middle, or an error, leaves a directory that may be cleared. The replication and rewind users exist before the
 * server first accepts a connection. Errors: refused (directory in use), failed, cancelled.
 */
export async function bootstrapCluster(context: PostgresContext, options: BootstrapOptions): Promise<Result<null, PostgresError>> {
  return err({ kind: "failed", message: `not written yet: ${context.scope} ${options.bootstrap.method}` });
}
