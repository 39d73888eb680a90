// Owns what `ctl upgrade --check` says of the node of a file. Changes nothing.

import { loadNodeConfig } from "../../config/load.ts";
import { type Finding, fault } from "../../model/finding.ts";
import { type LookOptions, lookBeforeUpgrade } from "../../postgres/upgrade/look.ts";

export interface PreflightOptions extends Omit<LookOptions, "config"> {
  readonly path: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** `path` and `env` as for a supervisor's start. */
export async function preflight({ path, env, ...options }: PreflightOptions): Promise<readonly Finding[]> {
  const loaded = await loadNodeConfig({ path, env });
  const named = path ?? "the environment";
  if (!loaded.ok) return loaded.error.map((wrong) => fault("configuration", `${wrong.path}: ${wrong.message}`, `correct it in ${named}`));
  return (await lookBeforeUpgrade({ ...options, config: loaded.value.config.postgresql })).findings;
}
