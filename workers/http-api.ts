// Serves the REST API of a node (lib/api). Inside the supervisor: on the node's own facts.
// Alone: `bun run workers/http-api.ts node.yml` answers role health from a consistent read of the lock and from PostgreSQL.

import { startApi } from "../lib/api/server.ts";
import type { StartApi } from "../lib/runtime/node.ts";

/** Binds the API to a running node: the supervisor gives this to the node that it composes. */
export const startApiPort: StartApi = async (service, log) => {
  const config = service.factsNow().config.restapi;
  const started = await startApi({ config, service, log: log.named("api") });
  if (!started.ok) return started;
  const server = started.value;
  return {
    ok: true,
    value: {
      reload: async ({ node }) => {
        const reloaded = await server.reload(node.restapi);
        if (!reloaded.ok) log.error(`${reloaded.error.path}: ${reloaded.error.message}`);
      },
      stop: () => server.stop(),
    },
  };
};

/** Alone. Value: the exit status. */
export async function main(): Promise<number> {
  const { mainOfHttpApi } = await import("../lib/runtime/alone/http-api.ts");
  return await mainOfHttpApi(startApiPort);
}

if (import.meta.main) process.exit(await main());
