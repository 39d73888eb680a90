// Owns GET, PATCH and PUT /config: the dynamic configuration as it stands in the DCS. What its values mean is not judged
// here beyond "an object"; each node validates and clamps what it reads (lib/config).

import { mergeConfig } from "../core/config-patch.ts";
import { formatJson } from "../core/json-text.ts";
import { describeStoreError, type StoreError } from "../model/errors.ts";
import { bodyRefusal, jsonAnswer, textAnswer } from "./answers.ts";
import { type JsonObject, readBody } from "./body.ts";
import type { ClusterSource } from "./cluster-source.ts";
import type { ApiApp, ApiContext } from "./context.ts";
import { CONFIG_BODY } from "./request-schemas.ts";

export function configRoutes(app: ApiApp, context: ApiContext, source: ClusterSource): void {
  app.get("/config", async () => {
    const config = (await source.latest())?.config ?? null;
    return config === null ? textAnswer(502, "there is no dynamic configuration in the DCS") : jsonAnswer(config.data);
  });

  app.patch("/config", async (c) => {
    const patch = await readBody(c.req.raw, CONFIG_BODY, { empty: "refused" });
    if (!patch.ok) return bodyRefusal(patch.error);
    if (Object.keys(patch.value).length === 0) return textAnswer(400, "the body is an empty object: nothing to change");
    return applyPatch(context, patch.value);
  });

  app.put("/config", async (c) => {
    const body = await readBody(c.req.raw, CONFIG_BODY, { empty: "refused" });
    if (!body.ok) return bodyRefusal(body.error);
    return replaceConfig(context, body.value);
  });
}

async function applyPatch(context: ApiContext, patch: JsonObject): Promise<Response> {
  const { service, log } = context;
  const cluster = await service.readCluster();
  if (!cluster.ok) return textAnswer(503, describeStoreError(cluster.error));
  const current = cluster.value.config;
  if (current === null) return textAnswer(503, "there is no dynamic configuration in the DCS");
  const merged = mergeConfig(current.data, patch);
  if (formatJson(merged) === formatJson(current.data)) return jsonAnswer(merged);
  const written = await service.writeConfig(merged, current.revision);
  if (!written.ok) return textAnswer(patchFailure(written.error), describeConfigError(written.error));
  log.info(`dynamic configuration changed over the REST API: ${Object.keys(patch).join(", ")}`);
  service.wake();
  return jsonAnswer(merged);
}

function patchFailure(error: StoreError): 409 | 503 {
  return error.kind === "condition-failed" ? 409 : 503;
}

async function replaceConfig(context: ApiContext, value: JsonObject): Promise<Response> {
  const { service, log } = context;
  const cluster = await service.readCluster();
  if (!cluster.ok) return textAnswer(502, describeStoreError(cluster.error));
  const current = cluster.value.config;
  if (current !== null && formatJson(current.data) === formatJson(value)) return jsonAnswer(value);
  const written = await service.writeConfig(value, current?.revision ?? null);
  if (!written.ok) return textAnswer(502, describeConfigError(written.error));
  log.info("dynamic configuration replaced over the REST API");
  service.wake();
  return jsonAnswer(value);
}

function describeConfigError(error: StoreError): string {
  return error.kind === "condition-failed" ? "the dynamic configuration was changed by someone else meanwhile" : describeStoreError(error);
}
