// Owns where a command finds its cluster: -c, -d, the environment, patronictl's own file, or a quickstart that runs here.
// Opens nothing but files; what is in the DCS is not known here.

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { loadNodeConfig } from "../../config/load.ts";
import { missesOnlyItsStore } from "../../config/rules.ts";
import { parseConsulUrl } from "../../dcs/consul/url.ts";
import { clientConfig, parseRaftUrl } from "../../dcs/raft/url.ts";
import type { ConfigFault } from "../../model/errors.ts";
import type { ConsulConfig, NodeConfig, RaftConfig } from "../../model/node-config.ts";
import { defaultFolder, pathsOf } from "../quickstart/folder.ts";
import { host as quickstartHost, scope as quickstartScope, raftAddress } from "../quickstart/node-file.ts";
import { type QuickstartState, readState } from "../quickstart/state.ts";
import { raftVariables } from "../raft-url.ts";
import { CtlRefusal, usageRefusal } from "./refusal.ts";

export interface GlobalOptions {
  /** A node's file, or one made for patronictl. */
  readonly configFile?: string | undefined;
  /**
   * `consul://host:port/namespace`, or `raft://host:port,host:port/namespace`; each part may be missing. `api://host:port,host:port`:
   * through the REST API of a node, `?scheme=https` over TLS.
   */
  readonly dcsUrl?: string | undefined;
  readonly insecure?: true | undefined;
  readonly group?: number | undefined;
}

/** What a command needs of a configuration. */
export type CtlConfig = Pick<NodeConfig, "scope" | "namespace" | "consul" | "raft" | "ctl" | "restapi" | "citus"> & {
  /** Nodes whose REST API stands for the store; empty where a store is asked itself. */
  readonly api: readonly string[];
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Satisfies the demand for a store where -d names it; the URL itself is laid over the result. */
const STORE_VARIABLE = "MATRIARCH_CONSUL_HOST";

/**
 * The configuration in force: the named file, or else $PATRONICTL_CONFIG_FILE, or else ~/.config/patroni/patronictl.yaml;
 * the environment over it; the DCS of -d or $DCS_URL over that; where nothing names a store, the running quickstart.
 * Throws CtlRefusal: a file that is missing or wrong, a URL that is wrong, no store at all.
 */
export async function findConfiguration(options: GlobalOptions, env: Environment): Promise<CtlConfig> {
  const url = options.dcsUrl ?? (env["DCS_URL"] || null);
  const path = configurationFile(options, env);
  const loaded = await loadNodeConfig({ path, env: { ...env, ...raftVariables(url) }, purpose: "store" });
  if (loaded.ok) {
    const { config } = loaded.value;
    return withFlags(url === null ? { ...config, api: [] } : withUrl(config, url), options);
  }
  if (!missesOnlyItsStore(loaded.error)) throw new CtlRefusal(faultText(loaded.error));
  const found = url === null ? await quickstartConfiguration(env) : await configurationWithUrl(path, env, url);
  if (found !== null && (url !== null || path === null)) return withFlags(found, options);
  throw new CtlRefusal(path === null ? NOTHING_CONFIGURED : faultText(loaded.error));
}

/** As restapi.listen has it where it names none. */
const API_PORT = 8008;

const NOTHING_CONFIGURED =
  "no cluster is configured, and no quickstart of yours runs here; use -c node.yml, or -d raft://host:port, consul://host:port or api://host:port";

/** A file (or an environment) without a store of its own. */
async function configurationWithUrl(path: string | null, env: Environment, url: string): Promise<CtlConfig> {
  const loaded = await loadNodeConfig({ path, env: { ...env, [STORE_VARIABLE]: "127.0.0.1" }, purpose: "store" });
  if (!loaded.ok) throw new CtlRefusal(faultText(loaded.error));
  return withUrl({ ...loaded.value.config, consul: null }, url);
}

/** Null: there is none, and none was named. */
function configurationFile(options: GlobalOptions, env: Environment): string | null {
  const named = options.configFile ?? (env["PATRONICTL_CONFIG_FILE"] || null);
  if (named !== null) return named;
  const usual = join(env["HOME"] || homedir(), ".config/patroni/patronictl.yaml");
  return existsSync(usual) ? usual : null;
}

/** Only the URL's own parts count; what it does not name stays as configured. */
function withUrl(config: NodeConfig, text: string): CtlConfig {
  const match = /^([a-z0-9]+):\/\/([^/?#]*)(\/[^?#]*)?(\?.*)?$/i.exec(text);
  if (match === null) throw usageRefusal("-d: not a URL; write raft://host:port, consul://host:port or api://host:port");
  const [, scheme = "", address = "", place = "", query = ""] = match;
  const namespace = place.replace(/^\/+|\/+$/g, "");
  const placed = namespace === "" ? config : { ...config, namespace };
  if (scheme.toLowerCase() === "api") return { ...placed, consul: null, raft: null, api: apiUrls(address, query) };
  if (scheme.toLowerCase() === "raft") return { ...placed, api: [], consul: null, raft: raftOf(config, `raft://${address}${query}`) };
  return { ...placed, api: [], raft: null, consul: consulOf(config.consul, { scheme, address, query }) };
}

function apiUrls(address: string, query: string): readonly string[] {
  const { scheme = "http", ...others } = Object.fromEntries(new URLSearchParams(query));
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw usageRefusal(`-d: ${unknown}: unknown parameter; known is scheme`);
  if (scheme !== "http" && scheme !== "https") throw usageRefusal("-d: scheme: write http or https");
  return address.split(",").map((node) => {
    const host = /:\d+$/.test(node) ? node : `${node}:${API_PORT}`;
    if (node === "" || !URL.canParse(`${scheme}://${host}`)) throw usageRefusal("-d: a host is missing or wrong; write api://host:port");
    return `${scheme}://${host}`;
  });
}

/** The URL's members; how to talk to them as configured, where it does not say. */
function raftOf(config: NodeConfig, url: string): RaftConfig {
  const parsed = parseRaftUrl(url);
  if (!parsed.ok) throw usageRefusal(`-d: ${parsed.error.path}: ${parsed.error.message}`);
  return clientConfig(parsed.value, config.raft);
}

function consulOf(
  base: ConsulConfig | null,
  { scheme, address, query }: { readonly scheme: string; readonly address: string; readonly query: string },
): ConsulConfig {
  const known = base === null ? null : new URL(base.url);
  const host = address === "" ? (known?.host ?? "127.0.0.1:8500") : address;
  const port = /:\d+$/.test(host) || known === null || known.port === "" ? "" : `:${known.port}`;
  const parsed = parseConsulUrl(`${scheme}://${host}${port}${query}`);
  if (!parsed.ok) throw usageRefusal(`-d: ${parsed.error.path}: ${parsed.error.message}`);
  const given = parsed.value;
  const asked = new URLSearchParams(query);
  const tls = known !== null && scheme.toLowerCase() === "consul" && !asked.has("scheme") ? known.protocol : null;
  if (base === null) return given;
  return {
    ...base,
    url: tls === null ? given.url : given.url.replace(/^https?:/, tls),
    token: given.token ?? base.token,
    verify: asked.has("verify") ? given.verify : base.verify,
    cacert: given.cacert ?? base.cacert,
    cert: given.cert ?? base.cert,
    key: given.key ?? base.key,
    dc: given.dc ?? base.dc,
  };
}

/** What a quickstart of this user runs, from its state file; null where none runs. */
async function quickstartConfiguration(env: Environment): Promise<CtlConfig | null> {
  const state = readState(pathsOf(defaultFolder(env, process.getuid?.() ?? -1)).folder);
  if (state === null || state.phase === "stopped") return null;
  const loaded = await loadNodeConfig({
    path: null,
    env: { ...quickstartStore(state), MATRIARCH_SCOPE: quickstartScope },
    purpose: "store",
  });
  return loaded.ok ? { ...loaded.value.config, api: [] } : null;
}

function quickstartStore(state: QuickstartState): Environment {
  if (state.consul !== null) return { [STORE_VARIABLE]: `${quickstartHost}:${state.consul.httpPort}` };
  return {
    MATRIARCH_RAFT_PARTNER_ADDRS: state.nodes.map((node) => `'${raftAddress(node)}'`).join(","),
    MATRIARCH_RAFT_PASSWORD: state.passwords.raft,
  };
}

function withFlags(config: CtlConfig, options: GlobalOptions): CtlConfig {
  return options.insecure === true ? { ...config, ctl: { ...config.ctl, insecure: true } } : config;
}

function faultText(faults: readonly ConfigFault[]): string {
  return faults.map((fault) => `${fault.path}: ${fault.message}`).join("\n");
}
