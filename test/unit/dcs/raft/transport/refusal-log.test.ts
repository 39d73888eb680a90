// Owns the tests of the log of refused connections.

import { expect, test } from "bun:test";
import { RefusalLog } from "../../../../../lib/dcs/raft/transport/refusal-log.ts";
import { recordingLog } from "../../../../harness/recording-log.ts";
import { VirtualTime } from "./virtual-time.ts";

test("each refusal has its line until one host repeats itself; then they are counted, and other hosts still have theirs", async () => {
  const [log, time] = [recordingLog(), new VirtualTime()];
  const refusals = new RefusalLog(log, time);
  for (let port = 1; port <= 1000; port++) refusals.refused(`10.0.0.1:${port}`, "it said nothing");
  expect(log.lines).toHaveLength(10);
  refusals.refused("10.0.0.1:7", "it said nonsense");
  refusals.refused("10.0.0.2:7", "it said nothing");
  expect(log.lines).toHaveLength(12);
  await time.advance(60_000);
  refusals.refused("10.0.0.1:8", "it said nothing");
  expect(log.lines.slice(12)).toEqual([
    "WARNING: raft: refused 990 more connections for the same reasons",
    "WARNING: raft: refused a connection from 10.0.0.1:8: it said nothing",
  ]);
});

test("who has another password, version or cluster and goes on knocking has one line in a minute, and is counted", async () => {
  const [log, time] = [recordingLog(), new VirtualTime()];
  const refusals = new RefusalLog(log, time);
  for (let port = 1; port <= 600; port++) refusals.refused(`10.0.0.1:${port}`, "it does not know the password", "misfit");
  refusals.refused("10.0.0.2:7", "it does not know the password", "misfit");
  expect(log.lines).toHaveLength(2);
  await time.advance(60_000);
  refusals.refused("10.0.0.1:8", "it does not know the password", "misfit");
  expect(log.lines.slice(2)).toEqual([
    "WARNING: raft: refused 599 more connections for the same reasons",
    "WARNING: raft: refused a connection from 10.0.0.1:8: it does not know the password",
  ]);
});

test("many hosts together fill no log either", () => {
  const [log, time] = [recordingLog(), new VirtualTime()];
  const refusals = new RefusalLog(log, time);
  for (let host = 0; host < 5000; host++) refusals.refused(`10.0.${host >> 8}.${host & 255}:1`, "it said nothing");
  expect(log.lines).toHaveLength(100);
});
