// Owns the tests of what the coordinator's leader answers to an event; what it does to pg_dist_node is in test/integration/mpp.test.ts.

import { expect, test } from "bun:test";
import { GroupReader } from "../../../lib/dcs/group-reader.ts";
import { MemoryStore } from "../../../lib/dcs/memory-store.ts";
import { DistNodes } from "../../../lib/postgres/dist-nodes.ts";
import { CoordinatorKeeper } from "../../../lib/runtime/mpp/coordinator.ts";
import { Bench, template } from "./fenced-node.ts";

test("an event is refused where the store does not say who leads its group, and dropped where somebody else does", async () => {
  const bench = new Bench();
  const context = await bench.leader();
  const store = new MemoryStore({ cluster: bench.data, clock: bench.clock, gate: () => bench.plan.shift() ?? { kind: "pass" } });
  const groups = new GroupReader({ store, namespace: template.namespace, scope: template.scope, one: 0 });
  const nodes = new DistNodes({ clock: bench.clock, config: () => template.postgresql, database: "citus" });
  const keeper = new CoordinatorKeeper({ context, groups, nodes });
  const event = { type: "before_promote", group: 1, leader: "w1", timeout: 1, cooldown: 1 };
  bench.plan.push({ kind: "refuse" });
  expect(await keeper.event(event)).toEqual({ status: 503, text: expect.stringContaining("the groups of the cluster cannot be read: ") });
  expect(await keeper.event(event)).toEqual({ status: 200, text: "OK" });
  await keeper.close();
});
