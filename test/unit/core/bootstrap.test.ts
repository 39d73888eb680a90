// Goal: who founds a cluster. Method: one observation a case.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { cluster, local, observation } from "./observations.ts";

function empty(tags: Observation["self"]["tags"]): Observation {
  const o = observation({
    cluster: cluster({ initialize: null, leader: null, members: [], config: null }),
    local: local({ dataDirectory: { kind: "absent" }, process: { kind: "none" }, status: null, lastRole: null, systemIdentifier: null }),
  });
  return { ...o, self: { ...o.self, tags } };
}

test("a node on an empty directory races for the bootstrap", () => {
  expect(decide(empty({})).rule).toBe("bootstrap-claim");
});

test("one that may not become the leader waits for another to found the cluster", () => {
  expect(decide(empty({ nofailover: true })).rule).toBe("bootstrap-wait");
  expect(decide(empty({ failover_priority: 0 })).rule).toBe("bootstrap-wait");
});
