// Owns several Consul datacenters joined over their WAN gossip: one server each, with its DNS. Knows nothing of the product.

import { Consul, type ConsulOptions, freePorts } from "./consul.ts";
import { ConsulDns } from "./consul-dns.ts";
import type { NetworkHost } from "./namespaces.ts";
import { until } from "./wait.ts";

export interface Site {
  readonly name: string;
  readonly consul: Consul;
  readonly dns: ConsulDns;
}

const JOINED_WITHIN_MS = 60_000;

/** A server for each name, all on loopback, or each on its host; resolves when each knows all. `httpPort`: the same on each host. */
export async function startSites(
  names: readonly string[],
  places: { readonly hosts?: readonly NetworkHost[]; readonly httpPort?: number } = {},
): Promise<readonly Site[]> {
  const wanPorts = await freePorts(names.length);
  const addresses = names.map((_, index) => places.hosts?.[index]?.address ?? "127.0.0.1");
  const wan = wanPorts.map((port, index) => `${addresses[index]}:${port}`);
  const sites = await Promise.all(
    names.map(async (name, index): Promise<Site> => {
      const [dnsPort = 0] = await freePorts(1);
      const host = places.hosts?.[index];
      const options: ConsulOptions = {
        nodeName: `server-${name}`,
        ...(host === undefined ? {} : { host }),
        ...(places.httpPort === undefined ? {} : { httpPort: places.httpPort }),
        config: {
          datacenter: name,
          retry_join_wan: wan.filter((_, other) => other !== index),
          retry_interval_wan: "200ms",
          ports: { dns: dnsPort, serf_wan: wanPorts[index] },
        },
      };
      return { name, consul: await Consul.start(options), dns: new ConsulDns(dnsPort, host?.testAddress) };
    }),
  );
  for (const { name, consul } of sites) {
    const known = async () => (await (await fetch(`${consul.url}/v1/catalog/datacenters`)).json()) as readonly string[];
    await until(`${name} knows ${names.join(", ")}`, async () => (await known()).length === names.length, { withinMs: JOINED_WITHIN_MS });
    for (const other of names) {
      // Known is not yet reachable.
      const listed = async () => (await fetch(`${consul.url}/v1/catalog/services?dc=${other}`)).ok;
      await until(`${name} reaches ${other}`, listed, { withinMs: JOINED_WITHIN_MS });
    }
  }
  return sites;
}
