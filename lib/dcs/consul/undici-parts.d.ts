// Owns the types of the parts of undici that are imported by their own paths: the whole package costs 40 ms of processor time and
// 4 MB in every node, most of it for fetch, WebSocket, caches and mocks that nothing here uses. The version is pinned exactly.

declare module "undici/lib/dispatcher/pool.js" {
  import type { Pool as PoolClass } from "undici/index.js";

  const Pool: typeof PoolClass;
  export = Pool;
}

declare module "undici/lib/dispatcher/agent.js" {
  import type { Agent as AgentClass } from "undici/index.js";

  const Agent: typeof AgentClass;
  export = Agent;
}

declare module "undici/lib/api/api-request.js" {
  import type { Dispatcher } from "undici/index.js";

  /** One request through the dispatcher that it is called on. */
  function request(this: Dispatcher, options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData>;
  export = request;
}
