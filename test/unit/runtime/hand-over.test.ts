// Goal: a switchover that a pooler's operator does not want leaves the primary as it was, its clients waiting for nothing; and a lease that
// ends meanwhile stops PostgreSQL at once, whatever the DCS does. Method: real lock, store and fencing; the poolers' answer is given.

import { expect, test } from "bun:test";
import { err, ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import { handOver } from "../../../lib/runtime/hand-over.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { Bench } from "./fenced-node.ts";

/** A primary that is asked for a switchover which a pooler is against; each stop, and what it found, is in `seen`. */
async function given(options: { readonly onAsked?: () => void } = {}) {
  const bench = new Bench();
  const node = await bench.leader();
  const asked = { leader: node.state.settings.node.name, candidate: null, scheduledAt: null };
  const put = await node.store.values.setFailoverValue(asked, null, { deadline: ms(bench.clock.now() + 1000) });
  expect(put.ok).toBe(true);
  await refreshCluster(node);
  expect(node.state.cluster?.failover?.leader).toBe(asked.leader);
  const { settings } = node.state;
  const postgresql = { ...settings.node.postgresql, beforeStop: "/usr/local/bin/before_stop" };
  node.state.settings = { ...settings, node: { ...settings.node, postgresql } };
  const seen: string[] = [];
  let withdrawn = 0;
  node.state.poolers = {
    beforeStop: async () => {
      options.onAsked?.();
      const withdraw = async (): Promise<void> => {
        withdrawn += 1;
        seen.push(`withdrawn, ${(await requested(bench)) ? "still" : "no longer"} requested`);
      };
      return { verdict: { kind: "abandon", why: "pooler a cannot be paused" }, withdraw };
    },
  };
  node.postgres.hook = async (name) => {
    seen.push(name);
    return ok(null);
  };
  node.postgres.stop = async ({ mode, beforeShutdown }) => {
    if (mode === "fast" && (await beforeShutdown?.()) === "stay") return err({ kind: "cancelled", message: "the stop was called off" });
    seen.push(mode);
    return ok(null);
  };
  return { bench, node, seen, withdrawn: () => withdrawn };
}

async function requested(bench: Bench): Promise<boolean> {
  const reader = await bench.node("replica", "reader");
  return (reader.state.cluster?.failover ?? null) !== null;
}

function run(bench: Bench, node: NodeContext, signal: AbortSignal) {
  return handOver(node, ms(bench.clock.now() + 60_000), signal);
}

test("the poolers hear first that a switchover is given up; then the request is taken away, and PostgreSQL runs on under its guard", async () => {
  const { bench, node, seen, withdrawn } = await given();
  const result = await run(bench, node, new AbortController().signal);
  expect(result).toEqual({ ok: false, message: "the switchover is given up: pooler a cannot be paused" });
  expect(seen).toEqual(["withdrawn, still requested"]);
  expect(withdrawn()).toBe(1);
  expect(await requested(bench)).toBe(false);
  expect([node.state.held === null, node.watchdog.armed]).toEqual([false, true]);
});

test("a lease that ends while the request is taken away stops PostgreSQL and lets its guard go, though the DCS is silent", async () => {
  const { bench, node, seen } = await given();
  const lease = new AbortController();
  const { poolers } = node.state;
  node.state.poolers = {
    beforeStop: async (...asked) => {
      const answer = await poolers.beforeStop(...asked);
      // What comes after it, the DCS never answers.
      const withdraw = () => answer.withdraw().then(() => void bench.plan.push({ kind: "silence" }));
      return { ...answer, withdraw };
    },
  };
  const handed = run(bench, node, lease.signal);
  await bench.clock.advance(0);
  const began = bench.clock.now();
  expect([seen.length, bench.plan.length]).toEqual([1, 0]);
  lease.abort();
  await bench.clock.advance(0);
  expect(await handed).toMatchObject({ ok: false, message: expect.stringContaining("the lease ended") });
  expect(seen.at(-1)).toBe("immediate");
  expect([node.watchdog.armed, node.state.local.status]).toEqual([false, null]);
  expect(bench.clock.now()).toBe(began);
});

test("a lease that has ended is no time to give up a stop: PostgreSQL is stopped, and settled", async () => {
  const lease = new AbortController();
  const { bench, node, seen } = await given({ onAsked: () => lease.abort() });
  const handed = run(bench, node, lease.signal);
  await bench.clock.advance(0);
  await handed;
  expect(seen).toContain("immediate");
  expect(seen).toContain("fast");
  expect([node.watchdog.armed, node.state.local.status]).toEqual([false, null]);
});

test("primary_stop_timeout ends a stop by force in synchronous mode, and counts in no other", async () => {
  const limits: unknown[] = [];
  for (const synchronousMode of ["off", "on", "quorum"] as const) {
    const { bench, node } = await given();
    const { node: own, dynamic } = node.state.settings;
    node.state.settings = { node: own, dynamic: { ...dynamic, synchronousMode, primaryStopTimeoutMs: ms(7_000) } };
    node.postgres.stop = async ({ mode, fastWithin }) => {
      limits.push([synchronousMode, mode, fastWithin]);
      return ok(null);
    };
    await run(bench, node, new AbortController().signal);
  }
  expect(limits).toEqual([
    ["off", "fast", null],
    ["on", "fast", ms(7_000)],
    ["quorum", "fast", ms(7_000)],
  ]);
});

test("on_stop is told of a primary where its node goes, of a demoted one where somebody else is to lead", async () => {
  const told: string[] = [];
  for (const shutdown of [true, false]) {
    const { bench, node } = await given();
    node.state.requests = { ...node.state.requests, shutdown };
    node.postgres.callback = (action, role) => void told.push(`${action} ${role}`);
    node.postgres.stop = async () => ok(null);
    await run(bench, node, new AbortController().signal);
  }
  expect(told).toEqual(["on_stop primary", "on_stop demoted"]);
});
