// Owns who may call the unsafe methods (POST, PUT, PATCH, DELETE): client certificate, basic authentication, allowlist.
// Safe methods are open to everybody who can connect.

import { createHash, timingSafeEqual } from "node:crypto";
import { lookup } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import type { BasicAuth, RestApiConfig } from "../model/node-config.ts";
import { textAnswer } from "./answers.ts";
import type { ApiContext, Peer } from "./context.ts";

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
    const authentication = settings.authentication;
    if (authentication === null) return null;
    const header = request.headers.get("authorization");
    if (header === null) return unauthorized("authentication is required");
    return isAuthentic(header, authentication) ? null : unauthorized("user name or password is wrong");
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

function isAuthentic(header: string, expected: BasicAuth): boolean {
  const match = /^Basic\s+([A-Za-z0-9+/=_-]+)\s*$/i.exec(header);
  if (match?.[1] === undefined) return false;
  return equalInConstantTime(Buffer.from(match[1], "base64").toString("utf8"), `${expected.username}:${expected.password}`);
}

/** Digests have one length, so neither the length nor the first difference shows in the time. */
function equalInConstantTime(a: string, b: string): boolean {
  return timingSafeEqual(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest());
}

function unauthorized(text: string): Response {
  return textAnswer(401, text, { "www-authenticate": 'Basic realm="Matriarch"' });
}
