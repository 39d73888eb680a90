// Owns the address that loopback has on every machine that the tests run on.

import { networkInterfaces } from "node:os";
import type { VipConfig } from "../../lib/model/node-config.ts";

/** As the section `vip` would name it. */
export function loopbackAddress(): Pick<VipConfig, "address" | "prefixLength" | "interface"> {
  const entries = Object.entries(networkInterfaces()).flatMap(([name, of = []]) => of.map((entry) => ({ name, ...entry })));
  const loopback = entries.find(({ family, internal }) => family === "IPv4" && internal);
  if (loopback === undefined) throw new Error("loopback has no address of IPv4");
  return { address: loopback.address, prefixLength: Number(loopback.cidr?.split("/")[1]), interface: loopback.name };
}
