// Owns the rules of access to the REST API: tokens that cannot be told apart, doors without a key, members that could not ask one
// another. Shows no token.

import type { ConfigFault } from "../model/errors.ts";
import type { Purpose } from "./rules.ts";
import type { NodeTree } from "./schema-node.ts";

/** One for each program and operator that has business with a node; each request with one is compared with all. */
const TOKENS_MAX = 64;

export function accessFaults({ restapi, ctl }: NodeTree, purpose: Purpose): readonly ConfigFault[] {
  const faults: ConfigFault[] = [];
  const tokens = Object.entries(restapi.tokens);
  const owners = new Map<string, string>();
  for (const [name, { token }] of tokens) {
    const path = `restapi.tokens.${name}`;
    const other = token === null ? undefined : owners.get(token);
    if (token === null) faults.push({ path, message: "has no token; write token_file: /path/to/token, or token: SECRET" });
    else if (other === undefined) owners.set(token, name);
    else faults.push({ path, message: `has the token of ${other}; write another one` });
  }
  if (tokens.length > TOKENS_MAX) faults.push({ path: "restapi.tokens", message: `more than ${TOKENS_MAX} of them; remove some` });
  const hasUser = restapi.authentication !== null;
  if (restapi.protected_paths.length > 0 && tokens.length === 0 && !hasUser) {
    const message = "nobody could read them; write restapi.tokens or restapi.authentication";
    faults.push({ path: "restapi.protected_paths", message });
  }
  if (purpose !== "node" || tokens.length === 0) return faults;
  const mayOperate = tokens.some(([, { role }]) => role !== "read");
  if (!mayOperate && !hasUser) {
    const message = "none of them may operate, so that members could not ask one another; write one with role: operate";
    faults.push({ path: "restapi.tokens", message });
  }
  const shown = tokens.find(([, { token }]) => token !== null && token === ctl.token);
  if (shown?.[1].role === "read") {
    faults.push({
      path: "ctl.token",
      message: `is ${shown[0]}, which may only read; write one that may operate: members ask one another with it`,
    });
  }
  return faults;
}

export function accessWarnings({ restapi, ctl }: NodeTree, purpose: Purpose): readonly ConfigFault[] {
  const warnings: ConfigFault[] = [];
  if (ctl.token === null) return warnings;
  if (ctl.authentication !== null)
    warnings.push({ path: "ctl.authentication", message: "ignored: ctl.token is set too; keep one of them" });
  const tokens = Object.values(restapi.tokens);
  if (purpose === "node" && tokens.length > 0 && !tokens.some(({ token }) => token === ctl.token)) {
    warnings.push({ path: "ctl.token", message: "is none of restapi.tokens: members with the same tokens refuse this node's requests" });
  }
  return warnings;
}
