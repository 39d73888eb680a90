// Owns reading `host:port` as the members write it. Resolves nothing.

export interface HostAndPort {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Also `[::1]:5010` and `::1:5010`; port 0 only where something is to be bound. Null where it is no address. */
export function parseHostAndPort(address: string): HostAndPort | null {
  const colon = address.lastIndexOf(":");
  const port = address.slice(colon + 1);
  const host = address.slice(0, Math.max(colon, 0)).replace(/^\[(.+)\]$/, "$1");
  if (host === "" || /[\s/@,[\]]/.test(host) || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) return null;
  return { host, port: Number(port) };
}

export function formatHostAndPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
