// Owns what a raft:// URL of the command line means for the configuration: variables laid over the file and the environment,
// so that a secret can stay in those and the usual checks apply. Opens nothing.

import type { Environment } from "../config/environment.ts";
import { loadNodeConfig } from "../config/load.ts";
import { clientConfig, parseRaftUrl } from "../dcs/raft/url.ts";
import type { ConfigFault } from "../model/errors.ts";
import { formatHostPort } from "../model/host-port.ts";
import type { RaftConfig } from "../model/node-config.ts";
import { err, ok, type Result } from "../model/result.ts";

export function isRaftUrl(url: string): boolean {
  return /^raft:/i.test(url);
}

/** The members in the URL; what it does not say (the password) comes from the environment. Errors: each fault of both. */
export async function loadRaftUrl(url: string, env: Environment): Promise<Result<RaftConfig, readonly ConfigFault[]>> {
  const parsed = parseRaftUrl(url);
  if (!parsed.ok) return err([parsed.error]);
  const loaded = await loadNodeConfig({ path: null, env: { ...withoutConsul(env), ...raftVariables(url) }, purpose: "store" });
  return loaded.ok ? ok(clientConfig(parsed.value, loaded.value.config.raft)) : loaded;
}

/** The URL names the store: a Consul of the environment is not meant. */
function withoutConsul(env: Environment): Environment {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(PATRONI|MATRIARCH)_CONSUL_/.test(name)));
}

/** Empty for any other URL, and for one that is wrong: whoever opens the store says what is wrong with it. */
export function raftVariables(url: string | null): Readonly<Record<string, string>> {
  const match = /^(raft:\/\/[^/?#]*)(?:\/[^?#]*)?(\?.*)?$/i.exec(url ?? "");
  if (match === null) return {};
  const parsed = parseRaftUrl(`${match[1]}${match[2] ?? ""}`);
  if (!parsed.ok) return {};
  const { addresses, password, cafile, certfile, keyfile, insecure } = parsed.value;
  const given = {
    PARTNER_ADDRS: addresses.map((address) => `'${formatHostPort(address)}'`).join(","),
    PASSWORD: password,
    CAFILE: cafile,
    CERTFILE: certfile,
    KEYFILE: keyfile,
    INSECURE: insecure === null ? null : String(insecure),
  };
  return Object.fromEntries(Object.entries(given).flatMap(([name, value]) => (value === null ? [] : [[`MATRIARCH_RAFT_${name}`, value]])));
}
