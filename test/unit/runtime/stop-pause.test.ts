// Goal: a stop that fails at once is not tried in a tight loop, and never waits where the lease ends. Method: the real task over a PostgreSQL
// that cannot be stopped, a clock that the test moves.

import { expect, test } from "bun:test";
import { err } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { runTask } from "../../../lib/runtime/perform-postgres.ts";
import { Bench } from "./fenced-node.ts";

const FAST = { kind: "stop", mode: "fast", within: ms(60_000) } as const;

/** How long a stop lasts that fails at once. */
async function lasts(bench: Bench, node: NodeContext, effect: Parameters<typeof runTask>[1]): Promise<number> {
  const begun = bench.clock.now();
  let ended: number | null = null;
  const task = runTask(node, effect, new AbortController().signal).then(
    (result) => {
      expect(result.ok).toBe(false);
      ended = bench.clock.now() - begun;
    },
    () => {
      ended = bench.clock.now() - begun;
    },
  );
  while (ended === null) await bench.clock.advance(10);
  await task;
  return ended;
}

test("a stop that failed ends half a second later, whether it failed in words or was thrown", async () => {
  const bench = new Bench();
  const node = await bench.node("replica");
  node.postgres.stop = async () => err({ kind: "failed", message: "no" });
  expect(await lasts(bench, node, FAST)).toBe(500);
  node.postgres.stop = () => Promise.reject(Object.assign(new Error("EMFILE"), { code: "EMFILE" }));
  expect(await lasts(bench, node, FAST)).toBe(500);
});

test("where the lease ends or the lock is gone the next one may begin at once", async () => {
  const bench = new Bench();
  const node = await bench.leader();
  node.postgres.stop = async () => err({ kind: "failed", message: "no" });
  expect(await lasts(bench, node, { ...FAST, mode: "immediate" })).toBe(50);
  const held = node.state.heldFacts();
  await bench.clock.advance((held?.leaseEndsAt ?? 0) - bench.clock.now());
  expect(await lasts(bench, node, FAST)).toBe(50);
});
