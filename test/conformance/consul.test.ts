// Goal: the store over Consul keeps every promise of lib/dcs/store.ts, and carries the whole cluster store. Method: the suites shared by all stores, against a
// real Consul server whose shortest session TTL is lowered to 1 s.

import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import { seconds } from "../../lib/model/units.ts";
import { Consul } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { clusterStoreSuite } from "./cluster-store-suite.ts";
import { steadyClock } from "./steady-clock.ts";
import { storeSuite } from "./store-suite.ts";
import type { SuiteBackend } from "./suite-context.ts";

async function openConsul(): Promise<SuiteBackend> {
  const consul = await Consul.start();
  const clock = steadyClock();
  return {
    store: () => new ConsulStore({ config: consulConfig(consul.url), clock, log: recordingLog() }),
    clock,
    prefix: "conformance",
    minTtl: seconds(2),
    close: () => consul.stop(),
  };
}

storeSuite("consul", openConsul);
clusterStoreSuite("consul", openConsul);
