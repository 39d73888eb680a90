// Goal: while Consul's own leader dies and another is elected, what the store says of each write is true: `unavailable` was
// never applied, a success always was. Method: three real servers, writers through the two survivors, SIGKILL of the leader,
// then every key is compared with what its writer was told.

import { expect, test } from "bun:test";
import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import type { StoreError } from "../../lib/model/errors.ts";
import { ms, seconds } from "../../lib/model/units.ts";
import { Consul } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { steadyClock } from "./steady-clock.ts";
import { value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 60_000;
/** Two of each: patient writers see Consul's own errors, impatient ones their deadline. */
const WRITER_BUDGETS_MS = [8_000, 8_000, 400, 400];
const clock = steadyClock();
const within = (budgetMs = 8_000) => ({ deadline: ms(clock.now() + budgetMs) });

test(
  "a write reported as unavailable was not applied, one reported as done was; a renewed session survives the election",
  async () => {
    const servers = await Consul.startServers(3);
    const leader = servers[await leaderIndex(servers)] as Consul;
    const survivors = servers.filter((server) => server !== leader);
    const stores = survivors.map(({ url }) => new ConsulStore({ config: consulConfig(url), clock, log: recordingLog() }));
    const [store] = stores as [ConsulStore, ConsulStore];
    const session = value(await store.openSession({ ...within(), name: "survivor", ttl: seconds(20) }));

    const told = new Map<string, StoreError["kind"] | "done">();
    const reasons = new Set<string>();
    let writing = true;
    const writers = stores.flatMap((client, index) =>
      WRITER_BUDGETS_MS.map(async (budgetMs, writer) => {
        for (let count = 1; writing; count++) {
          const key = `kill/${index}-${writer}-${count}`;
          const result = await client.put(key, "v", within(budgetMs));
          told.set(key, result.ok ? "done" : result.error.kind);
          if (!result.ok && "reason" in result.error) reasons.add(`${result.error.kind}: ${result.error.reason.slice(0, 60)}`);
          await clock.sleepUntil(ms(clock.now() + 10));
        }
      }),
    );
    await clock.sleepUntil(ms(clock.now() + 300));
    await leader.kill();
    const killedAt = clock.now();
    while (!(await store.put("kill/probe", "v", within(400))).ok) await clock.sleepUntil(ms(clock.now() + 10));
    console.log(
      `  Consul's leader killed: a write went through after ${Math.round(clock.now() - killedAt)} ms; ${[...reasons].join(" | ")}`,
    );
    writing = false;
    await Promise.all(writers);

    const there = new Set(value(await store.snapshot("kill/", { ...within(), consistency: "consistent" })).entries.map(({ key }) => key));
    const keysTold = (kind: string) => [...told].filter(([, what]) => what === kind).map(([key]) => key);
    expect(keysTold("done").filter((key) => !there.has(key))).toEqual([]);
    expect(keysTold("unavailable").filter((key) => there.has(key))).toEqual([]);
    expect(keysTold("unavailable").length).toBeGreaterThan(0);
    expect(keysTold("unknown-outcome").length).toBeGreaterThan(0);
    expect([...new Set(told.values())].sort()).toEqual(["done", "unavailable", "unknown-outcome"]);
    expect(value(await store.renewSession(session.id, within())).promisedMs).toBe(seconds(20));

    for (const client of stores) await client.close();
    for (const server of servers) await server.stop();
  },
  CASE_TIMEOUT_MS,
);

async function leaderIndex(servers: readonly Consul[]): Promise<number> {
  const roles = await Promise.all(
    servers.map(async ({ url }) => {
      const self = (await (await fetch(`${url}/v1/agent/self`)).json()) as { Stats: { consul: { leader: string } } };
      return self.Stats.consul.leader;
    }),
  );
  return roles.indexOf("true");
}
