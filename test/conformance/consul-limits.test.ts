// Goal: what Consul can keep is what its agent says, in each of the ways in which it can say it. Method: real agents with other
// settings, and one that wants a token.

import { expect, test } from "bun:test";
import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import { PATRONI_LIMITS } from "../../lib/model/dynamic-config.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { Consul, type ConsulOptions } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { steadyClock } from "./steady-clock.ts";
import { expectError, value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 40_000;
const clock = steadyClock();

async function withAgent(options: ConsulOptions, body: (store: ConsulStore) => Promise<void>): Promise<void> {
  const consul = await Consul.start(options);
  const store = new ConsulStore({ config: consulConfig(consul.url), clock, log: recordingLog() });
  try {
    await body(store);
  } finally {
    await store.close();
    await consul.stop();
  }
}

const within = () => ({ deadline: ms(clock.now() + 5_000) });

test.each([
  ["1s", 2],
  ["3s", 6],
  ["100ms", 2],
] as const)(
  "session_ttl_min %s: the shortest ttl is %d s",
  async (sessionTtlMin, shortest) => {
    await withAgent({ sessionTtlMin }, async (store) => {
      const limits = value(await store.limits(within()));
      expect(limits).toEqual({ ttlFloorMs: seconds(shortest), loopWaitFloorMs: seconds(1), retryTimeoutFloorMs: seconds(1) });
    });
  },
  CASE_TIMEOUT_MS,
);

test.each([["10s"], ["15s"], ["0s"]])(
  "session_ttl_min %s is no less than Consul's own: what a Patroni makes of less",
  async (sessionTtlMin) => {
    await withAgent({ sessionTtlMin }, async (store) => {
      expect(value(await store.limits(within()))).toEqual(PATRONI_LIMITS);
    });
  },
  CASE_TIMEOUT_MS,
);

test(
  "an agent that demands a token does not say",
  async () => {
    const config = { acl: { enabled: true, default_policy: "deny" } };
    const ready = async (url: string): Promise<boolean> => (await fetch(`${url}/v1/status/leader`)).ok;
    await withAgent({ config, ready }, async (store) => expectError(await store.limits(within()), "rejected"));
  },
  CASE_TIMEOUT_MS,
);
