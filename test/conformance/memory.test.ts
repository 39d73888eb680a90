// Goal: the memory store keeps every promise of lib/dcs/store.ts. Method: the suite shared by all stores, in real time.

import { MemoryCluster } from "../../lib/dcs/memory.ts";
import { MemoryStore } from "../../lib/dcs/memory-store.ts";
import { seconds } from "../../lib/model/units.ts";
import { clusterStoreSuite } from "./cluster-store-suite.ts";
import { steadyClock } from "./steady-clock.ts";
import { storeSuite } from "./store-suite.ts";
import type { SuiteBackend } from "./suite-context.ts";

async function openMemory(): Promise<SuiteBackend> {
  const clock = steadyClock();
  const cluster = new MemoryCluster({ clock });
  return {
    store: () => new MemoryStore({ cluster, clock }),
    clock,
    prefix: "conformance",
    minTtl: seconds(1),
    close: async () => cluster.close(),
  };
}

storeSuite("memory", openMemory);
clusterStoreSuite("memory", openMemory);
