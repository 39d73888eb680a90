// Owns the URL form of a Consul address, `consul://host:port?token=…`, as the command line takes it. Never prints a token.

import type { ConfigFault } from "../../model/errors.ts";
import type { ConsulConfig } from "../../model/node-config.ts";
import { err, ok, type Result } from "../../model/result.ts";

const DEFAULT_PORT = "8500";
const CONSISTENCIES = ["default", "consistent", "stale"] as const;
/** `checks` may repeat. */
const PARAMETERS = ["token", "scheme", "verify", "cacert", "cert", "key", "dc", "consistency", "checks"];

/**
 * Reads `consul://host[:port][?token=…&scheme=https&verify=false&cacert=…&cert=…&key=…&dc=…&consistency=…]`; `http://` and
 * `https://` stand for themselves. Everything else has its default. Faults name the part that is wrong, never the token.
 *
 * @example parseConsulUrl("consul://10.0.0.1:8500?dc=east") // url "http://10.0.0.1:8500", dc "east"
 */
export function parseConsulUrl(text: string): Result<ConsulConfig, ConfigFault> {
  if (!URL.canParse(text)) return fault("url", "not a URL; write consul://host:port");
  const url = new URL(text);
  const given = url.searchParams;
  if (!["consul:", "http:", "https:"].includes(url.protocol)) return fault("url", "another scheme; write consul://host:port");
  if (url.hostname === "") return fault("url", "no host; write consul://host:port");
  if (url.username !== "" || url.password !== "") return fault("url", "no user and password here; write ?token=…");
  if (url.pathname !== "" && url.pathname !== "/") return fault("url", `no path here: ${url.pathname}`);
  const unknown = [...given.keys()].find((name) => !PARAMETERS.includes(name));
  if (unknown !== undefined) return fault(unknown, `unknown parameter; known are ${PARAMETERS.join(", ")}`);
  const scheme = given.get("scheme") ?? (url.protocol === "consul:" ? "http" : url.protocol.slice(0, -1));
  if (scheme !== "http" && scheme !== "https") return fault("scheme", "write http or https");
  const consistency = CONSISTENCIES.find((known) => known === (given.get("consistency") ?? "default"));
  if (consistency === undefined) return fault("consistency", `write one of ${CONSISTENCIES.join(", ")}`);
  const verify = given.get("verify") ?? "true";
  if (verify !== "true" && verify !== "false") return fault("verify", "write true or false");
  return ok({
    url: `${scheme}://${url.hostname}:${url.port === "" ? defaultPort(url.protocol) : url.port}`,
    token: given.get("token"),
    verify: verify === "true",
    cacert: given.get("cacert"),
    cert: given.get("cert"),
    key: given.get("key"),
    dc: given.get("dc"),
    checks: given.getAll("checks"),
    // Only a supervisor keeps such a check alive.
    sessionCheckTtlMs: null,
    consistency,
    registerService: false,
    serviceTags: [],
    serviceCheck: "http",
    serviceDetails: false,
    serviceCheckInterval: "5s",
    serviceCheckTlsServerName: null,
  });
}

/** An `http://host` means what it says everywhere else. */
function defaultPort(protocol: string): string {
  return protocol === "https:" ? "443" : protocol === "http:" ? "80" : DEFAULT_PORT;
}

function fault(path: string, message: string): Result<never, ConfigFault> {
  return err({ path, message });
}
