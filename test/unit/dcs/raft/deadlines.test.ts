// Goal: deadlines expire once, in time, and never after they were taken back. Method: a clock that the test turns.

import { expect, test } from "bun:test";
import { Deadlines } from "../../../../lib/dcs/raft/deadlines.ts";
import { ms } from "../../../../lib/model/units.ts";
import { ManualClock } from "../manual-clock.ts";

test("each expires once, at its instant or up to 10 ms later, whatever the order in which they were added", async () => {
  const clock = new ManualClock();
  const deadlines = new Deadlines(clock);
  const expired: string[] = [];
  const base = clock.now();
  const add = (name: string, after: number) => deadlines.add(ms(base + after), () => void expired.push(name));
  add("late", 100);
  const taken = add("taken back", 50);
  add("early", 20);
  add("earlier", 15);
  taken();
  await clock.advance(14);
  expect(expired).toEqual([]);
  await clock.advance(16);
  expect(expired.sort()).toEqual(["earlier", "early"]);
  await clock.advance(60);
  expect(expired).toHaveLength(2);
  await clock.advance(20);
  expect(expired).toContain("late");
  add("never", 200);
  deadlines.close();
  await clock.advance(500);
  expect(expired).toHaveLength(3);
});
