import { expect, test } from "bun:test";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { NO_ROLE_TAGS, NodeServiceSource } from "../../../lib/runtime/service-source.ts";
import { primaryStatus, status } from "../core/observations.ts";
import { Bench } from "./fenced-node.ts";

async function given() {
  const bench = new Bench();
  const context = await bench.leader();
  const service = new LocalNodeService(context, FreshStatus.of(context), () => undefined);
  const source = new NodeServiceSource({
    state: context.state,
    factsNow: () => service.factsNow(),
    facts: () => service.facts(),
    options: () => ({ id: "demo/a", service: "demo", cluster: "service/demo", details: "none", roleTags: NO_ROLE_TAGS }),
  });
  return { bench, context, source };
}

test("a server that was promoted is registered once it has been looked at: as the standby that it was it would start critical", async () => {
  const { context, source } = await given();
  context.state.local.status = status();
  expect(source.wanted()).toBeUndefined();
  context.state.local.status = primaryStatus();
  expect(source.wanted()).toMatchObject({ id: "demo/a", role: "primary", healthy: true });
});

test("who holds a lock whose lease is over registers no primary: it may be somebody else's by now", async () => {
  const { bench, context, source } = await given();
  context.state.local.status = primaryStatus();
  expect(source.wanted()).toMatchObject({ role: "primary" });
  await bench.clock.advance((context.state.heldFacts()?.leaseEndsAt ?? Number.NaN) - bench.clock.now());
  expect(context.state.held).not.toBeNull();
  expect(source.wanted()).toBeUndefined();
});
