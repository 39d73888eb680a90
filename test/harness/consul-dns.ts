// Owns questions to a Consul agent's DNS, as a client of the cluster asks them. Knows nothing of the product.

import { Resolver } from "node:dns/promises";
import { Consul, type ConsulOptions, freePorts } from "./consul.ts";

/** What DNS says where nobody of that name is there. */
const NOBODY = new Set(["ENOTFOUND", "ENODATA"]);

export class ConsulDns {
  readonly #resolver = new Resolver();

  constructor(port: number, address = "127.0.0.1") {
    this.#resolver.setServers([`${address}:${port}`]);
  }

  /** The ports in the SRV answer, sorted; [] where nobody is there. Throws where the agent does not answer. */
  async ports(name: string): Promise<readonly number[]> {
    try {
      return (await this.#resolver.resolveSrv(name)).map(({ port }) => port).sort((a, b) => a - b);
    } catch (error) {
      if (NOBODY.has((error as NodeJS.ErrnoException).code ?? "")) return [];
      throw error;
    }
  }
}

/** An agent that answers DNS as well, and its DNS. */
export async function startConsulWithDns(options: ConsulOptions = {}): Promise<{ readonly consul: Consul; readonly dns: ConsulDns }> {
  const [port = 0] = await freePorts(1);
  const consul = await Consul.start({ ...options, config: { ...options.config, ports: { dns: port } } });
  return { consul, dns: new ConsulDns(port) };
}
