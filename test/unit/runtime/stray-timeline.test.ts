// Goal: a standby that is led onto a timeline of nobody by what the archive holds is rewound with a word of why. Method: the real tasks over a
// PostgreSQL whose answers are the test's, in the order in which the rules ask for them.

import { expect, test } from "bun:test";
import type { ControlData } from "../../../lib/model/postgres.ts";
import { ok } from "../../../lib/model/result.ts";
import { lsn, timeline } from "../../../lib/model/units.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { runTask } from "../../../lib/runtime/perform-postgres.ts";
import { Bench } from "./fenced-node.ts";

const LEADER = { name: "a", host: "127.0.0.1", port: 5432, slotName: null } as const;

/** A replica of a leader on timeline `leads`, and the errors that it logs. */
async function replica() {
  const node = await new Bench().node("replica", "b");
  const { node: config } = node.state.settings;
  node.state.settings = { ...node.state.settings, node: { ...config, postgresql: { ...config.postgresql, usePgRewind: true } } };
  const seen = { local: 3, leads: 3 };
  const errors: string[] = [];
  node.log.error = (text: string) => void errors.push(text);
  const control = { systemIdentifier: "1", state: "shut down", walLogHints: true, dataChecksums: true } as ControlData;
  Object.assign(node.postgres, {
    controlData: async () => ok({ ...control, state: seen.local > seen.leads ? "shut down" : "shut down in recovery" }),
    localEndOfWal: async () => ok({ timeline: seen.local, lsn: 100n }),
    timelineSwitches: async () => ok([]),
    upstreamHistory: async () =>
      ok({ systemIdentifier: "1", timeline: timeline(seen.leads), switches: [], walLsn: lsn(90n), inRecovery: false }),
    rewind: async () => {
      seen.local = seen.leads;
      return ok(null);
    },
  });
  node.state.local.process = { kind: "none" };
  return { node, seen, errors };
}

async function run(node: NodeContext, effect: Parameters<typeof runTask>[1]) {
  const result = await runTask(node, effect, new AbortController().signal);
  expect(result.ok).toBe(true);
  return "plan" in result ? (result.plan?.plan.kind ?? null) : null;
}

const plan = (node: NodeContext) => run(node, { kind: "plan-rejoin", target: LEADER, leader: "a", leaderSession: "s-a" });
/** As the rules have it: the divergence is seen, pg_rewind runs, the server is started behind the leader. */
async function rejoin(node: NodeContext): Promise<void> {
  expect(await plan(node)).toBe("rewind");
  await run(node, { kind: "rewind", target: LEADER });
  expect(await plan(node)).toBe("follow");
}

test("a timeline that is back after pg_rewind is told once a round, with the file of the archive that brings it", async () => {
  const { node, seen, errors } = await replica();
  seen.local = 10;
  await rejoin(node);
  expect(errors).toEqual([]);
  for (const rounds of [1, 2]) {
    seen.local = 10;
    await rejoin(node);
    expect(errors).toHaveLength(rounds);
    expect(errors.at(-1)).toContain("take 0000000A.history out of the archive");
  }
});

test("two divergences from two timelines are no sign of that, nor is one that was not rewound", async () => {
  const { node, seen, errors } = await replica();
  seen.local = 4;
  await rejoin(node);
  seen.local = 6;
  await rejoin(node);
  seen.local = 7;
  expect(await plan(node)).toBe("rewind");
  await rejoin(node);
  expect(errors).toEqual([]);
});
