// Goal: a few simulated clusters keep the invariants of safety.md, replay exactly, and a planted bug is found. The many seeds are run by
// scripts/simulate.ts. Method: real loop, core and cluster store over fakes; see docs/simulation.md.

import { expect, test } from "bun:test";
import { RULES } from "../../lib/core/decide.ts";
import { SCENARIOS } from "../unit/core/scenarios/scenarios.ts";
import { loadTemplate } from "./node-config.ts";
import { type Plants, plant } from "./plants.ts";
import { Random } from "./random.ts";
import { runSimulation } from "./run.ts";
import { EventQueue, MachineClock, SimProcess } from "./virtual-clock.ts";
import { commonEnd, containsWal, missingWal, streamingError, syncSetting } from "./wal.ts";

const template = await loadTemplate();

function noPlants(): Plants {
  const plants = plant(null);
  if (plants === null) throw new Error("without a name nothing is planted");
  return plants;
}

test("simulated clusters keep the invariants through faults, converge when all is healed, and every rule without a scenario decides", () => {
  const rules = new Map<string, number>();
  for (let seed = 1; seed <= 12; seed += 1) {
    const result = runSimulation({ seed, template, plants: noPlants(), minutes: 10, rules });
    expect(result.violations.map((text) => `seed ${seed}: ${text}`)).toEqual([]);
    expect(result.commits).toBeGreaterThan(0);
  }
  // A new rule that turns up here wants a scenario in test/unit/core/scenarios, unless no cluster can do without it.
  const never = RULES.map(({ id }) => id).filter((id) => !Object.hasOwn(SCENARIOS, id) && !rules.has(id));
  expect(never).toEqual([]);
});

test("the same seed is the same run, whatever ran before", () => {
  const run = (): number => runSimulation({ seed: 5, template, plants: noPlants(), minutes: 5 }).hash;
  const first = run();
  runSimulation({ seed: 6, template, plants: noPlants(), minutes: 2 });
  expect(run()).toBe(first);
});

test("a guard that never acts is found", () => {
  const plants: Plants = { ...noPlants(), guardDisabled: true };
  const found = Array.from({ length: 30 }, (_, index) => index + 1).some(
    (seed) => runSimulation({ seed, template, plants, minutes: 20 }).violations.length > 0,
  );
  expect(found).toBe(true);
});

test("equal instants run in the order in which they were asked for, cancelled ones not at all", () => {
  const queue = new EventQueue();
  const seen: number[] = [];
  const random = new Random(3);
  const events = Array.from({ length: 200 }, (_, index) => {
    const time = random.whole(0, 20);
    return { index, time, event: queue.at(time, () => void seen.push(index)) };
  });
  for (const { index, event } of events) if (index % 7 === 0) event.run = null;
  while (queue.nextTime() < Number.POSITIVE_INFINITY) queue.runNext();
  const expected = events.filter(({ index }) => index % 7 !== 0).sort((a, b) => a.time - b.time || a.index - b.index);
  expect(seen).toEqual(expected.map(({ index }) => index));
});

test("a stopped process hears nothing before it goes on, a dead one nothing at all", async () => {
  const queue = new EventQueue();
  const process = new SimProcess(queue, new MachineClock(queue, { rate: 1, uptime: 0 }));
  const heard: string[] = [];
  process.stop();
  process.deliver(() => heard.push("stopped"));
  expect(heard).toEqual([]);
  process.resume();
  expect(heard).toEqual(["stopped"]);
  process.kill();
  process.deliver(() => heard.push("dead"));
  expect(heard).toEqual(["stopped"]);
});

test("a sleeper on a clock of another rate never wakes early", async () => {
  const queue = new EventQueue();
  const process = new SimProcess(queue, new MachineClock(queue, { rate: 0.99, uptime: 12_345.678 }));
  let woke = Number.NaN;
  const at = process.now() + 1000.1;
  const slept = process.sleepUntil(at as ReturnType<SimProcess["now"]>).then(() => {
    woke = process.now();
  });
  queue.runNext();
  await slept;
  expect(woke).toBeGreaterThanOrEqual(at);
});

test("WAL is contained up to the fork, on the branch itself, and nowhere else", () => {
  const root = { id: 1, timeline: 1, parent: null, forkedAt: 0, systemIdentifier: "1" };
  const child = { id: 2, timeline: 2, parent: root, forkedAt: 100, systemIdentifier: "1" };
  const twin = { id: 3, timeline: 2, parent: root, forkedAt: 90, systemIdentifier: "1" };
  const whole = { branch: child, lsn: 200 };
  expect(containsWal(whole, { branch: root, lsn: 100 })).toBe(true);
  expect(containsWal(whole, { branch: root, lsn: 101 })).toBe(false);
  expect(containsWal(whole, { branch: twin, lsn: 91 })).toBe(false);
  expect(missingWal(whole, { branch: twin, lsn: 95 })).toBe(5);
  expect(commonEnd(whole, { branch: twin, lsn: 95 })).toBe(90);
  // PostgreSQL sees numbers only: it streams here, and that is what the invariant finds.
  expect(streamingError({ branch: twin, lsn: 95 }, whole)).toBeNull();
  expect(streamingError({ branch: root, lsn: 101 }, whole)).toContain("forked off");
});

test("the count of synchronous_standby_names is read in each form", () => {
  expect(syncSetting("").count).toBe(0);
  expect(syncSetting("a")).toMatchObject({ count: 1, names: ["a"] });
  expect(syncSetting("2 (a,b)")).toMatchObject({ count: 2, names: ["a", "b"] });
});
