import { expect, test } from "bun:test";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { NO_ROLE_TAGS, NodeServiceSource } from "../../../lib/runtime/service-source.ts";
import { primaryStatus, status } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

test("a server that was promoted is registered once it has been looked at: as the standby that it was it would start critical", async () => {
  const context = await new Bench().leader();
  const service = new LocalNodeService(context, FreshStatus.of(context), () => undefined);
  const source = new NodeServiceSource({
    state: context.state,
    factsNow: () => service.factsNow(),
    facts: () => service.facts(),
    options: () => ({ id: "demo/a", service: "demo", cluster: "service/demo", details: "none", roleTags: NO_ROLE_TAGS }),
  });
  context.state.local.status = status();
  expect(source.wanted()).toBeUndefined();
  context.state.local.status = primaryStatus();
  expect(source.wanted()).toMatchObject({ id: "demo/a", role: "primary", healthy: true });
});
