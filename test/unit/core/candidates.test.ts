// Checks what of a node's WAL counts when it wants to lead.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Observation } from "../../../lib/core/observation.ts";
import { EMPTY_STATUS } from "../../../lib/model/cluster.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { answer, CONFIG, cluster, leading, local, mark, member, observation, released, status } from "./observations.ts";

const control = { state: "in production" } as NonNullable<Observation["local"]["control"]>;
const config = { ...CONFIG, maximumLagOnFailoverBytes: 100 };

test("WAL from after the cluster left its timeline brings nobody nearer to the lead", () => {
  const view = cluster({ leader: null, members: [member("b"), member("c")], status: { ...EMPTY_STATUS, optime: lsn(1050) } });
  expect(decide(observation({ config, cluster: view, trace: released })).rule).toBe("race-ask-peers");
  // 1000 bytes on timeline 1, the last 600 of them after the cluster went on without this node (simulation, seed 98).
  const history = [{ timeline: timeline(1), lsn: lsn(400), reason: "", time: null, newLeader: null }];
  expect(decide(observation({ config, cluster: { ...view, history }, trace: released })).rule).toBe("race-lagging");
});

test("a node on the cluster's timeline goes before one with more WAL of an abandoned timeline", () => {
  const history = [{ timeline: timeline(1), lsn: lsn(400), reason: "", time: null, newLeader: null }];
  const view = cluster({ leader: null, members: [member("b"), member("c")], history });
  const asked = {
    done: [{ kind: "ask-peers" as const, ok: true, message: "" }],
    peers: { answers: [answer("c", { timeline: timeline(2), lsn: lsn(500) })] },
  };
  expect(decide(observation({ cluster: view, trace: released, ...asked })).rule).toBe("race-not-healthiest");
});

describe("an older timeline that the cluster's history does not name", () => {
  // n2 led on timeline 2 and was cut off; n1 had never heard of it and was promoted from 1 to 3 (simulation, seed 798).
  const history = [{ timeline: timeline(1), lsn: lsn(400), reason: "", time: null, newLeader: null }];
  const view = cluster({ leader: null, members: [member("b"), member("c")], history, status: { ...EMPTY_STATUS, optime: lsn(1050) } });
  const ours = local({ status: status({ timeline: timeline(2) }) });
  const trace = { ...released, mark: mark({ timeline: timeline(3) }) };
  const asked = [{ kind: "ask-peers" as const, ok: true, message: "" }];

  test("was abandoned: its WAL brings nobody near the lead", () => {
    expect(decide(observation({ config, cluster: view, local: ours, trace })).rule).toBe("race-lagging");
    expect(decide(observation({ config, cluster: view, local: ours, trace: released })).rule).toBe("race-ask-peers");
  });

  test("leads at an operator's word, as where the leader's data is lost and its restore was given up", () => {
    const failover = { revision: revision(9), leader: null, candidate: "b", scheduledAt: null, scheduledAtText: null };
    const sync = { revision: revision(7), leader: "a", standbys: [], quorum: 0 };
    for (const synchronousMode of ["off", "on", "quorum"] as const) {
      const o = { config: { ...config, synchronousMode }, local: ours, trace, done: asked, peers: { answers: [answer("c")] } };
      const lost = { ...view, members: [member("b"), member("c")], sync };
      expect(decide(observation({ ...o, cluster: lost })).rule).toBe(synchronousMode === "off" ? "race-lagging" : "race-not-synchronous");
      expect(decide(observation({ ...o, cluster: { ...lost, failover } })).rule).toBe("race");
    }
  });

  test("keeps nobody else from leading, however much WAL it has", () => {
    const here = local({ status: status({ timeline: timeline(3) }) });
    const peers = { answers: [answer("c", { timeline: timeline(2), lsn: lsn(9000) })] };
    expect(decide(observation({ config, cluster: view, local: here, trace, done: asked, peers })).rule).toBe("race");
  });

  test("is nothing that a crashed holder hands over to", () => {
    const crashed = local({ process: { kind: "none" }, status: null, lastRole: "primary", crashedAt: ms(1000), control });
    const peers = { answers: [answer("c", { timeline: timeline(2), lsn: lsn(1050) })] };
    const mine = { ...view, leader: { name: "b", session: "s-b", revision: revision(4) } };
    const done = [{ kind: "renew-lock" as const, ok: true, message: "" }, ...asked];
    const o = leading({ config: { ...config, primaryStartTimeoutMs: ms(0) }, cluster: mine, local: crashed, done, peers });
    expect(decide({ ...o, trace }).rule).toBe("holder-crashed-alone");
    expect(decide({ ...o, trace: released }).rule).toBe("holder-crashed-release");
  });

  test("is told by the history alone where a later line stands in it, as where a Patroni leads that writes no mark", () => {
    const later = [...history, { timeline: timeline(3), lsn: lsn(900), reason: "", time: null, newLeader: null }];
    expect(decide(observation({ config, cluster: { ...view, history: later }, local: ours, trace: released })).rule).toBe("race-lagging");
  });
});
