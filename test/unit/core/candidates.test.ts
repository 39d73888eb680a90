// Checks what of a node's WAL counts when it wants to lead.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import { EMPTY_STATUS } from "../../../lib/model/cluster.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { CONFIG, cluster, member, observation } from "./observations.ts";

const trace = {
  ...observation().trace,
  vanishedAt: ms(99_990),
  mark: { session: "s-a", ttl: ms(30_000), released: true, revision: revision(9) },
  markSeenAt: ms(99_980),
  markReadAt: ms(99_990),
};
const config = { ...CONFIG, maximumLagOnFailoverBytes: 100 };

test("WAL from after the cluster left its timeline brings nobody nearer to the lead", () => {
  const view = cluster({ leader: null, members: [member("b"), member("c")], status: { ...EMPTY_STATUS, optime: lsn(1050) } });
  expect(decide(observation({ config, cluster: view, trace })).rule).toBe("race-ask-peers");
  // 1000 bytes on timeline 1, the last 600 of them after the cluster went on without this node (simulation, seed 98).
  const history = [{ timeline: timeline(1), lsn: lsn(400), reason: "", time: null, newLeader: null }];
  expect(decide(observation({ config, cluster: { ...view, history }, trace })).rule).toBe("race-lagging");
});

test("a node on the cluster's timeline goes before one with more WAL of an abandoned timeline", () => {
  const history = [{ timeline: timeline(1), lsn: lsn(400), reason: "", time: null, newLeader: null }];
  const view = cluster({ leader: null, members: [member("b"), member("c")], history });
  const status = {
    role: "replica",
    state: "running",
    timeline: timeline(2),
    lsn: lsn(500),
    tags: {},
    watchdogFailed: false,
    paused: false,
    leaseHeld: false,
  };
  const asked = {
    done: [{ kind: "ask-peers" as const, ok: true, message: "" }],
    peers: { answers: [{ name: "c", status, askedAt: ms(99_999) }] },
  };
  expect(decide(observation({ cluster: view, trace, ...asked })).rule).toBe("race-not-healthiest");
});
