// Owns the routes behind the health paths, put together in Hono. Loaded once the listener is there (app.ts).

import { Hono } from "hono";
import { textAnswer } from "./answers.ts";
import { backupRoutes } from "./backups.ts";
import { clusterRoutes } from "./cluster.ts";
import { ClusterSource } from "./cluster-source.ts";
import { configRoutes } from "./config.ts";
import type { ApiApp, ApiBindings, ApiContext } from "./context.ts";
import { EventStreams, eventRoutes } from "./events.ts";
import { explainRoutes } from "./explain.ts";
import { failsafeRoutes } from "./failsafe.ts";
import { metricRoutes } from "./metrics.ts";
import { operationRoutes } from "./operations.ts";
import { SAFE_METHODS, splitUrl } from "./request-target.ts";
import { switchoverRoutes } from "./switchover.ts";

/** Every route but the health paths, which stand in front of them. */
export function apiRoutes(context: ApiContext, streams = new EventStreams()): ApiApp {
  const app = new Hono<ApiBindings>({ getPath: (request) => splitUrl(request.url).path });
  const source = new ClusterSource(context.service);
  clusterRoutes(app, context, source);
  configRoutes(app, context, source);
  switchoverRoutes(app, context);
  operationRoutes(app, context);
  failsafeRoutes(app, context);
  explainRoutes(app, context);
  backupRoutes(app, context);
  metricRoutes(app, context);
  eventRoutes(app, context, streams);
  // A document of a few kilobytes that few ask for: its modules are loaded with the first of them.
  app.get("/openapi.json", async () => {
    const { openApiText } = await import("./openapi.ts");
    return new Response(openApiText(), { headers: { "content-type": "application/json" } });
  });
  app.notFound((c) =>
    SAFE_METHODS.has(c.req.method) ? textAnswer(404, "not found") : textAnswer(501, `Unsupported method ('${c.req.method}')`),
  );
  // Hono's own handler would answer without a word in the log; Api.handle has the one place for that.
  app.onError((error) => {
    throw error;
  });
  return app;
}
