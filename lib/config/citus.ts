// Owns what being a node of a Citus cluster makes of the server's parameters and of the first dynamic configuration. Pure.
// Source: Patroni's documentation, "Citus support"; Citus' documentation, "Configuration Reference".

import type { CitusConfig, ParameterValue, PostgresqlConfig } from "../model/node-config.ts";

const LIBRARY = "citus";
const PRELOAD = "shared_preload_libraries";

type Parameters = Readonly<Record<string, ParameterValue>>;

/**
 * The library first among those that are preloaded, twice max_connections for prepared transactions where nobody says how many, logical
 * WAL for moving shards, and how Citus reaches the server that it runs in.
 */
export function withCitus(config: PostgresqlConfig, citus: CitusConfig | null): PostgresqlConfig {
  if (citus === null) return config;
  const controlled = config.controlledParameters;
  const prepared = Number(controlled["max_prepared_transactions"] ?? 0);
  const parameters = { [PRELOAD]: "", ...config.parameters, "citus.local_hostname": localHost(config) };
  return {
    ...config,
    citus,
    controlledParameters: {
      ...controlled,
      wal_level: "logical",
      ...(prepared > 0 ? {} : { max_prepared_transactions: String(2 * Number(controlled["max_connections"] ?? 100)) }),
    },
    parameters: preloading(parameters),
    parametersPrimary: preloading(config.parametersPrimary),
    parametersReplica: preloading(config.parametersReplica),
    parametersStandbyLeader: preloading(config.parametersStandbyLeader),
  };
}

/** A distributed transaction is only as safe as every one of its nodes. */
export function withCitusDefaults(dcs: Readonly<Record<string, unknown>>, citus: CitusConfig | null): Readonly<Record<string, unknown>> {
  return citus === null ? dcs : { synchronous_mode: "quorum", ...dcs };
}

function preloading(parameters: Parameters): Parameters {
  const entries = Object.entries(parameters);
  const [name, value] = entries.findLast(([key]) => key.toLowerCase() === PRELOAD) ?? [];
  if (name === undefined) return parameters;
  const others = String(value)
    .split(",")
    .map((library) => library.trim())
    .filter((library) => library !== "" && library !== LIBRARY);
  const rest = entries.filter(([key]) => key.toLowerCase() !== PRELOAD);
  return { ...Object.fromEntries(rest), [PRELOAD]: [LIBRARY, ...others].join(",") };
}

/** As this node itself reaches it: over the socket where it does, else where it listens. */
function localHost(config: PostgresqlConfig): string {
  const sockets = String(config.parameters["unix_socket_directories"] ?? "").split(",");
  const socket = sockets.map((directory) => directory.trim()).find((directory) => directory.startsWith("/"));
  if (config.useUnixSocket && socket !== undefined) return socket;
  const listen = config.listenHosts[0] ?? "";
  return ["*", "0.0.0.0", "::", ""].includes(listen) ? "localhost" : listen;
}
