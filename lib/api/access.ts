// Owns who may call the unsafe methods (POST, PUT, PATCH, DELETE): client certificate, password or token, allowlist. Safe methods
// are open to everybody who can connect, but for the paths that restapi.protected_paths closes.

import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { isProtectable, roleCovers, type TokenRole } from "../model/api-access.ts";
import type { RestApiConfig } from "../model/node-config.ts";
import { textAnswer } from "./answers.ts";
import type { ApiContext, Peer } from "./context.ts";
import { callerOf } from "./credentials.ts";
import { isMembersRequest, roleNeeded } from "./roles.ts";

/** A resolved host name of the allowlist is believed this long. */
const LOOKUP_TTL_MS = 30_000;
/** A name server that does not answer delays an unsafe request by no more than this. */
const LOOKUP_TIMEOUT_MS = 2_000;
/** Names kept in the cache: an allowlist and the members of a cluster are far fewer. */
const LOOKUP_CACHE_MAX = 512;

export class Access {
  readonly #context: ApiContext;
  readonly #resolved = new Map<string, { readonly addresses: readonly string[]; readonly at: number }>();

  constructor(context: ApiContext) {
    this.#context = context;
  }

  /** null: let it in. Otherwise the refusal: 401 or 403; nothing has been read or changed. */
  async refusal(request: Request, path: string, peer: Peer): Promise<Response | null> {
    const settings = this.#context.settings();
    if (!(await this.#isAllowed(settings, path, peer.address)))
      return textAnswer(403, "this address is not allowed to call unsafe methods");
    if (peer.certificate === "unverified") return textAnswer(403, "client certificate required");
    if (settings.authentication === null && settings.tokens.length === 0) return null;
    return this.#judged(request, path, roleNeeded(request.method, path));
  }

  /** The same for the safe methods: null for a path that is open. */
  readRefusal(request: Request, path: string): Response | null {
    const { protectedPaths } = this.#context.settings();
    return isProtectable(path) && protectedPaths.includes(path) ? this.#judged(request, path, "read") : null;
  }

  #judged(request: Request, path: string, needed: TokenRole): Response | null {
    const settings = this.#context.settings();
    const header = request.headers.get("authorization");
    if (header === null) return unauthorized(settings, "authentication is required");
    const caller = callerOf(header, settings);
    switch (caller.kind) {
      case "unknown":
        return unauthorized(settings, settings.tokens.length === 0 ? WRONG_PASSWORD : WRONG_CREDENTIALS);
      case "user":
        return null;
      case "token": {
        const { name, role } = caller.token;
        const what = `${request.method} ${path}`;
        if (!roleCovers(role, needed)) return forbidden(`the token ${name} has the role ${role}: ${what} needs ${needed}`);
        if (needed !== "read" && !isMembersRequest(request.method, path)) this.#context.log.info(`REST API: ${what} by the token ${name}`);
        return null;
      }
    }
  }

  /** The failsafe heartbeat comes when the DCS is away and the members cannot be known: include_members does not bind it. */
  async #isAllowed(settings: RestApiConfig, path: string, address: string): Promise<boolean> {
    const { allowlist, allowlistIncludeMembers } = settings;
    if (allowlist.length === 0 && (!allowlistIncludeMembers || path === "/failsafe")) return true;
    const entries = allowlistIncludeMembers ? [...allowlist, ...this.#memberHosts()] : allowlist;
    const subject = plainAddress(address);
    if (isIP(subject) === 0) return false;
    if (entries.some((entry) => coversAddress(entry, subject))) return true;
    const names = entries.filter((entry) => isHostName(entry));
    const resolved = await Promise.all(names.map((name) => this.#resolve(name)));
    return resolved.some((addresses) => addresses.includes(subject));
  }

  #memberHosts(): readonly string[] {
    const { cluster, mppMembers } = this.#context.service.factsNow();
    return [...(cluster?.members ?? []), ...mppMembers].flatMap((member) => {
      const url = member.apiUrl === null ? null : URL.parse(member.apiUrl);
      return url === null ? [] : [url.hostname.replace(/^\[|\]$/g, "")];
    });
  }

  async #resolve(name: string): Promise<readonly string[]> {
    const known = this.#resolved.get(name);
    const now = performance.now();
    if (known !== undefined && now - known.at < LOOKUP_TTL_MS) return known.addresses;
    const addresses = await lookupAll(name, this.#context);
    if (this.#resolved.size >= LOOKUP_CACHE_MAX) this.#resolved.clear();
    this.#resolved.set(name, { addresses, at: now });
    return addresses;
  }
}

/** [] where the name is not known or the name server is silent: then it opens the door to nobody. */
async function lookupAll(name: string, context: ApiContext): Promise<readonly string[]> {
  const { promise: timeout, resolve } = Promise.withResolvers<null>();
  const timer = setTimeout(() => resolve(null), LOOKUP_TIMEOUT_MS);
  try {
    const found = await Promise.race([lookup(name, { all: true }), timeout]);
    return found === null ? [] : found.map((entry) => plainAddress(entry.address));
  } catch (error) {
    context.log.warning(`restapi.allowlist: ${name} cannot be resolved: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  } finally {
    clearTimeout(timer);
  }
}

function coversAddress(entry: string, address: string): boolean {
  const [network = "", prefix] = entry.split("/");
  const family = isIP(network);
  if (family === 0 || family !== isIP(address)) return false;
  const bits = prefix === undefined ? (family === 4 ? 32 : 128) : Number(prefix);
  if (!Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, bits, family === 4 ? "ipv4" : "ipv6");
  return list.check(address, family === 4 ? "ipv4" : "ipv6");
}

function isHostName(entry: string): boolean {
  return !entry.includes("/") && isIP(entry) === 0;
}

/** `::ffff:192.0.2.1` (an IPv4 client on an IPv6 socket) and a zone index are taken off. */
export function plainAddress(address: string): string {
  const bare = address.replace(/%.*$/, "");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare);
  return mapped?.[1] ?? bare;
}

const WRONG_PASSWORD = "user name or password is wrong";
const WRONG_CREDENTIALS = "user name, password or token is wrong";
const BASIC = 'Basic realm="Matriarch"';
const BEARER = 'Bearer realm="Matriarch"';

/** Names the ways in that there are. Source: RFC 9110 section 11.6.1. */
function unauthorized({ authentication, tokens }: RestApiConfig, text: string): Response {
  const ways = [...(authentication === null ? [] : [BASIC]), ...(tokens.length === 0 ? [] : [BEARER])];
  return textAnswer(401, text, { "www-authenticate": ways.join(", ") });
}

/** Source: RFC 6750 section 3.1. */
function forbidden(text: string): Response {
  return textAnswer(403, text, { "www-authenticate": `${BEARER}, error="insufficient_scope"` });
}
