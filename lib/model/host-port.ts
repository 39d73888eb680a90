// Owns the text form of an address, `host:port`, and which hosts mean this machine or every address. Resolves no name.

import { isIPv4, isIPv6 } from "node:net";
import type { HostPort } from "./node-config.ts";

/** `host:port`, `[v6]:port` or `v6:port` (the last colon counts); with `portFallback` the port may be missing. */
export function parseHostPort(text: string, portFallback?: number): HostPort | undefined {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(trimmed);
  if (bracketed !== null) return hostPort(bracketed[1] ?? "", bracketed[2], portFallback);
  const colon = trimmed.lastIndexOf(":");
  if (colon < 0) return hostPort(trimmed, undefined, portFallback);
  return hostPort(trimmed.slice(0, colon), trimmed.slice(colon + 1), undefined);
}

function hostPort(host: string, port: string | undefined, portFallback: number | undefined): HostPort | undefined {
  if (host === "" || /[\s/@,]/.test(host)) return undefined;
  const number = port === undefined ? portFallback : /^\d{1,5}$/.test(port) ? Number(port) : undefined;
  return number === undefined || number < 1 || number > 65_535 ? undefined : { host, port: number };
}

/** Writes host and port as they stand in configuration and URLs: IPv6 in brackets. */
export function formatHostPort(address: HostPort): string {
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** A host that means "every address", so that nobody can connect to it by that name. */
export function isWildcard(host: string): boolean {
  return ["*", "0.0.0.0", "::", ""].includes(host);
}

/** As systems write it (RFC 5952); null where the text is none, or names an interface beside it (`fe80::1%eth0`). */
export function canonicalAddress(text: string): string | null {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes("%")) return null;
  return new URL(`http://[${text}]`).hostname.slice(1, -1);
}

export function isIpv6Text(address: string): boolean {
  return address.includes(":");
}
