// Goal: what a Consul that stops, dies, or comes back does to the store over it: deadlines are kept, nothing is taken for
// "no" that may have been done, and no restart of ours is needed. Method: a real Consul server, frozen, killed, restarted.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ConsulStore } from "../../lib/dcs/consul/store.ts";
import type { ConsulConfig } from "../../lib/model/node-config.ts";
import { ms, revision, seconds } from "../../lib/model/units.ts";
import { Consul } from "../harness/consul.ts";
import { consulConfig } from "../harness/consul-config.ts";
import { CountingProxy } from "../harness/counting-proxy.ts";
import { type RecordingLog, recordingLog } from "../harness/recording-log.ts";
import { ownMs, stalledMs } from "../harness/stall.ts";
import { until } from "../harness/wait.ts";
import { steadyClock } from "./steady-clock.ts";
import { expectError, value } from "./suite-context.ts";

const CASE_TIMEOUT_MS = 40_000;
/** How late an answer at a deadline may be: below the half second that the client's own timers are coarse by. */
const LATE_MAX_MS = 250;
const clock = steadyClock();
const within = (budgetMs = 5_000) => ({ deadline: ms(clock.now() + budgetMs) });

function open(url: string, more: Partial<ConsulConfig> = {}, log: RecordingLog = recordingLog()): ConsulStore {
  return new ConsulStore({ config: consulConfig(url, more), clock, log });
}

describe("a Consul server with faults", () => {
  let consul: Consul;
  let store: ConsulStore;
  beforeAll(async () => {
    consul = await Consul.start();
    store = open(consul.url);
  }, CASE_TIMEOUT_MS);
  afterAll(async () => {
    await store.close();
    await consul.stop();
  });

  test(
    "frozen: every call ends at its deadline, reads as unavailable, writes as unknown; thawed, the next call succeeds",
    async () => {
      const session = value(await store.openSession({ ...within(), name: "frozen", ttl: seconds(60) }));
      value(await store.put("faults/k", "1", within()));
      consul.sigstop();
      const deadline = ms(clock.now() + 700);
      const calls = [
        { kind: "unavailable", call: store.snapshot("faults/", { deadline }) },
        { kind: "unknown-outcome", call: store.put("faults/k", "2", { deadline }) },
        { kind: "unknown-outcome", call: store.transaction([{ kind: "put", key: "faults/k", value: "3" }], { deadline }) },
        { kind: "unavailable", call: store.transaction([{ kind: "check-owner", key: "faults/k", session: session.id }], { deadline }) },
        { kind: "unknown-outcome", call: store.renewSession(session.id, { deadline }) },
        { kind: "unavailable", call: store.sessionInfo(session.id, { deadline }) },
        { kind: "unavailable", call: store.watch("faults/", revision(1), { deadline }) },
      ] as const;
      for (const { kind, call } of calls) {
        expectError(await call, kind);
        expect(clock.now() - deadline).toBeGreaterThanOrEqual(-1);
        const late = clock.now() - deadline;
        expect(late - stalledMs(performance.now() - late)).toBeLessThan(LATE_MAX_MS);
      }
      consul.sigcont();
      const thawedAt = clock.now();
      value(await store.put("faults/k", "4", within()));
      console.log(`  frozen Consul thawed: first write after ${Math.round(clock.now() - thawedAt)} ms`);
      expect(value(await store.renewSession(session.id, within())).place).toBe(`consul-${consul.httpPort}`);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "killed: calls fail at once with unavailable; restarted with its data, the same client goes on, session and all",
    async () => {
      const session = value(await store.openSession({ ...within(), name: "killed", ttl: seconds(60) }));
      value(await store.put("faults/owned", "mine", { ...within(), session: session.id }));
      const watching = store.watch("faults/", value(await store.snapshot("faults/", within())).revision, within(20_000));
      await consul.kill();
      const failedAt = performance.now();
      expectError(await watching, "unavailable");
      expectError(await store.put("faults/k", "x", within()), "unavailable");
      expectError(await store.renewSession(session.id, within()), "unavailable");
      // Not at their deadline.
      expect(ownMs(failedAt)).toBeLessThan(2_500);
      await consul.restart();
      value(await store.renewSession(session.id, within()));
      value(await store.put("faults/owned", "still mine", { ...within(), session: session.id }));
      expect(value(await store.snapshot("faults/owned", within())).entries[0]?.session).toBe(session.id);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "without a leader a write is known not to have been applied",
    async () => {
      await consul.kill();
      const back = consul.restart();
      const kinds = new Set<string>();
      for (;;) {
        const result = await store.put("faults/early", "x", within());
        if (result.ok) break;
        kinds.add(`${result.error.kind}: ${"reason" in result.error ? result.error.reason : ""}`);
        await clock.sleepUntil(ms(clock.now() + 5));
      }
      await back;
      console.log(`  while Consul started: ${[...kinds].join(" | ")}`);
      for (const kind of kinds) expect(kind).toStartWith("unavailable");
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a put of the value that is there already is a change: the revision grows, a watch wakes, owner and flags stay",
    async () => {
      const session = value(await store.openSession({ ...within(), name: "beat", ttl: seconds(60) }));
      for (const owner of [{}, { session: session.id }]) {
        for (const text of ["same", ""]) {
          let revisionBefore = value(await store.put("faults/beat", text, { ...within(), ...owner }));
          for (let beat = 0; beat < 3; beat++) {
            const watching = store.watch("faults/beat", revisionBefore, within());
            const condition = beat === 1 ? ({ kind: "revision", revision: revisionBefore } as const) : ({ kind: "none" } as const);
            const after = value(await store.put("faults/beat", text, { ...within(), ...owner, condition }));
            expect(after).toBeGreaterThan(revisionBefore);
            const woken = value(await watching).entries[0];
            expect(woken).toEqual({ key: "faults/beat", value: text, revision: after, session: "session" in owner ? session.id : null });
            revisionBefore = after;
          }
        }
      }
      const raw = (await (await fetch(`${consul.url}/v1/kv/faults/beat`)).json()) as [{ Flags: number; Session: string }];
      expect(raw[0]).toMatchObject({ Flags: 0, Session: session.id });
      value(await store.closeSession(session.id, within()));
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "one request for each call, over connections that are kept: two for requests, one for watches",
    async () => {
      const proxy = await CountingProxy.start(consul.httpPort);
      const counted = open(proxy.url);
      const count = async (expected: readonly string[], call: () => Promise<{ readonly ok: boolean }>): Promise<void> => {
        const before = proxy.requests.length;
        expect((await call()).ok).toBe(true);
        const lines = proxy.requests.slice(before);
        expect(lines.map((line) => line.replace(/[0-9a-f-]{36}/g, "ID").replace(/wait=\d+ms/, "wait=W"))).toEqual([...expected]);
      };
      const session = value(await counted.openSession({ ...within(), name: "counted", ttl: seconds(20) }));
      expect(proxy.requests).toEqual(["PUT /v1/session/create"]);
      const first = value(await counted.put("count/k", "1", within()));
      const seen = value(await counted.snapshot("count/", within())).revision;
      await count(["PUT /v1/session/renew/ID"], () => counted.renewSession(session.id, within()));
      await count(["GET /v1/session/info/ID?consistent"], () => counted.sessionInfo(session.id, within()));
      await count(["PUT /v1/txn"], () => counted.put("count/l", "1", { ...within(), session: session.id, condition: { kind: "absent" } }));
      await count(["PUT /v1/txn"], () => counted.delete("count/k", { ...within(), condition: { kind: "revision", revision: first } }));
      await count(["GET /v1/kv/count/?recurse"], () => counted.snapshot("count/", within()));
      await count(["GET /v1/kv/count/?consistent&recurse"], () => counted.snapshot("count/", { ...within(), consistency: "consistent" }));
      await count([`GET /v1/kv/count/?recurse&index=${seen}&wait=W`], () => counted.watch("count/", seen, within()));
      await count(["DELETE /v1/kv/count/?recurse"], () => counted.delete("count/", { ...within(), recursive: true }));
      await count(["PUT /v1/session/destroy/ID"], () => counted.closeSession(session.id, within()));
      // A connection rests for one turn of the event loop after an answer, so calls in close succession take turns on two.
      const connections = proxy.connections;
      expect(connections).toBeLessThanOrEqual(3);
      // Idle for longer than the client library's own default of 4 s: the connection is still the same.
      await clock.sleepUntil(ms(clock.now() + 6_000));
      value(await counted.snapshot("count/", within()));
      expect(proxy.connections).toBe(connections);
      await counted.close();
      await proxy.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a watch on a prefix without keys waits, although keys elsewhere change all the time",
    async () => {
      const proxy = await CountingProxy.start(consul.httpPort);
      const counted = open(proxy.url);
      const seen = value(await counted.snapshot("nothing-here/", within())).revision;
      const watching = counted.watch("nothing-here/", seen, within(3_000));
      const from = clock.now();
      while (clock.now() < from + 1_500) value(await store.put("elsewhere/k", String(clock.now()), within()));
      expect(proxy.requests.length).toBeLessThan(25);
      const createdAt = performance.now();
      value(await store.put("nothing-here/k", "now", within()));
      expect(value(await watching).entries.map((entry) => entry.value)).toEqual(["now"]);
      // Not at its deadline.
      expect(ownMs(createdAt)).toBeLessThan(1_000);
      await counted.close();
      await proxy.close();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a watch after a revision that the server has not reached answers with what there is",
    async () => {
      value(await store.put("faults/restored", "1", within()));
      const started = performance.now();
      const woken = value(await store.watch("faults/restored", revision(1_000_000_000), within(1_500)));
      expect(woken.entries).toHaveLength(1);
      expect(woken.revision).toBeLessThan(1_000_000_000);
      expect(ownMs(started)).toBeLessThan(3_000);
    },
    CASE_TIMEOUT_MS,
  );
});

describe("sessions as Consul grants them", () => {
  test(
    "a TTL below session_ttl_min is raised to it, once with a warning, and the promise says so",
    async () => {
      const consul = await Consul.start({ sessionTtlMin: "10s" });
      const log = recordingLog();
      const store = open(consul.url, {}, log);
      const raised = value(await store.openSession({ ...within(), name: "short", ttl: seconds(6) }));
      expect(raised.promisedMs).toBe(seconds(20));
      expect(value(await store.renewSession(raised.id, within())).promisedMs).toBe(seconds(20));
      expect(value(await store.openSession({ ...within(), name: "again", ttl: seconds(6) })).promisedMs).toBe(seconds(20));
      expect(log.lines.filter((line) => line.startsWith("WARNING"))).toHaveLength(1);
      expect(log.lines[0]).toContain("minimum of 10 s");
      expect(value(await store.openSession({ ...within(), name: "fits", ttl: seconds(30) })).promisedMs).toBe(seconds(30));
      await store.close();
      await consul.stop();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "exactly the configured checks are bound, none without configuration, and a refused check leaves nothing behind",
    async () => {
      const consul = await Consul.start();
      const bound = async (checks: readonly string[]): Promise<unknown> => {
        const store = open(consul.url, { checks });
        const session = await store.openSession({ ...within(), name: "checked", ttl: seconds(20) });
        await store.close();
        if (!session.ok) return session.error.kind;
        const answer = await fetch(`${consul.url}/v1/session/info/${session.value.id}`);
        const [described] = (await answer.json()) as [{ NodeChecks: unknown; LockDelay: unknown; Behavior: unknown; TTL: unknown }];
        return [described.NodeChecks, described.LockDelay, described.Behavior, described.TTL];
      };
      expect(await bound([])).toEqual([[], 1_000_000, "delete", "10s"]);
      expect(await bound(["serfHealth"])).toEqual([["serfHealth"], 1_000_000, "delete", "10s"]);
      const check = { ID: "mine", Name: "mine", TTL: "60s", Status: "passing" };
      await fetch(`${consul.url}/v1/agent/check/register`, { method: "PUT", body: JSON.stringify(check) });
      const known = async () =>
        JSON.stringify(await (await fetch(`${consul.url}/v1/health/state/passing`)).json()).includes('"CheckID":"mine"');
      await until("the agent has reported its check to the server", known, { withinMs: CASE_TIMEOUT_MS });
      expect(await bound(["mine"])).toEqual([["mine"], 1_000_000, "delete", "10s"]);
      expect(await bound(["missing"])).toBe("unavailable");
      await consul.stop();
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "a client agent that is ended cleanly takes its sessions along; one that is killed does not",
    async () => {
      const server = await Consul.start();
      const agent = await Consul.start({ joins: server });
      const [here, there] = [open(server.url), open(agent.url)];
      const opened = async () => value(await there.openSession({ ...within(), name: "agent", ttl: seconds(60) })).id;
      const survivor = await opened();
      await agent.kill();
      await agent.restart();
      expect(value(await here.sessionInfo(survivor, within()))).not.toBeNull();
      value(await there.renewSession(survivor, within()));
      await agent.terminate();
      await agent.restart();
      expectError(await there.renewSession(survivor, within()), "session-gone");
      expect(value(await there.sessionInfo(await opened(), within()))).not.toBeNull();
      for (const store of [here, there]) await store.close();
      for (const consul of [agent, server]) await consul.stop();
    },
    CASE_TIMEOUT_MS,
  );
});
