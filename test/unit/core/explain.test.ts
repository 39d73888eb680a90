// Goal: what is explained of a member is what the rules would decide there. Method: whole clusters by hand, and for random ones the
// decision that the member itself would make.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import { explainMembers, type MemberExplained, RACE_VETOES } from "../../../lib/core/explain.ts";
import type { Observation, PeerAnswer } from "../../../lib/core/observation.ts";
import { leaderlessRules } from "../../../lib/core/rules/leaderless.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { answer, CONFIG, cluster, local, member, observation, released, status, unlocked } from "./observations.ts";

const MEMBERS = [
  member("a", { role: "primary" }),
  member("b", { replicationState: "streaming" }),
  member("c", { replicationState: "streaming" }),
];
const VIEW = cluster({ members: MEMBERS });
const LEADER = answer("a", { role: "primary" });

function explained(o: Observation, answers: readonly PeerAnswer[], name: string): MemberExplained {
  const found = explainMembers(o, answers).find((one) => one.name === name);
  if (found === undefined) throw new Error(`${name} is not explained`);
  return found;
}

describe("why a member is not promoted", () => {
  test("a healthy standby could be, by failover and by switchover; the leader leads", () => {
    const all = explainMembers(observation({ cluster: VIEW }), [LEADER, answer("b"), answer("c")]);
    expect(all.map(({ name, leads, promotable }) => [name, leads, promotable])).toEqual([
      ["a", true, false],
      ["b", false, true],
      ["c", false, true],
    ]);
    expect(all[1]?.switchover).toEqual({ possible: true, obstacles: [] });
    expect(all[0]?.switchover.possible).toBe(false);
  });

  test("each reason is told, with its figures, not the first alone", () => {
    const o = observation({ cluster: cluster({ members: MEMBERS, status: { optime: lsn(9_000_000), slots: {}, retainSlots: [] } }) });
    const c = explained(
      o,
      [LEADER, answer("b", { lsn: lsn(8_999_000) }), answer("c", { tags: { nofailover: true }, lsn: lsn(1000) })],
      "c",
    );
    expect(c.promotable).toBe(false);
    expect(c.obstacles).toEqual([
      { rule: "race-nofailover", reason: "it is tagged nofailover, or has failover_priority 0" },
      {
        rule: "race-lagging",
        reason:
          "its WAL is 8999000 bytes behind the last published position 0/895440 (it has 0/3E8 on timeline 1); maximum_lag_on_failover allows 1048576",
      },
      { rule: "race-not-healthiest", reason: "Wal position of b is ahead of its wal position" },
    ]);
    expect(c.switchover.obstacles).toEqual(["it is tagged nofailover"]);
  });

  test("silence, a server that does not run, and a primary without the lock", () => {
    const answers = [LEADER, answer("b", { state: "starting" }), { name: "c", status: null, askedAt: ms(1) }];
    const o = observation({ cluster: VIEW });
    expect(explained(o, answers, "c").obstacles).toEqual([{ rule: "silent", reason: "it does not answer" }]);
    expect(explained(o, answers, "b").obstacles).toEqual([{ rule: "down", reason: "its PostgreSQL is starting" }]);
    expect(explained(o, [LEADER, answer("b", { role: "primary" })], "b").obstacles[0]?.reason).toContain("without the lock");
  });

  test("a pause, the sync key, votes, failsafe mode", () => {
    const answers = [LEADER, answer("b"), answer("c")];
    const paused = observation({ cluster: VIEW, config: { ...CONFIG, pause: true } });
    expect(explained(paused, answers, "c").obstacles.map(({ rule }) => rule)).toEqual(["race-paused"]);
    const sync = { leader: "a", standbys: ["b"], quorum: 0, revision: null } as never;
    const synchronous = observation({ cluster: { ...VIEW, sync }, config: { ...CONFIG, synchronousMode: "on" } });
    expect(explained(synchronous, answers, "c").obstacles).toEqual([
      { rule: "race-not-synchronous", reason: "it is not a synchronous standby; the sync key names a, b" },
    ]);
    expect(explained(synchronous, answers, "b").promotable).toBe(true);
    const quorum = observation({
      cluster: { ...VIEW, sync: { leader: "a", standbys: ["b", "c"], quorum: 1, revision: null } as never },
      config: { ...CONFIG, synchronousMode: "quorum" },
    });
    expect(explained(quorum, [LEADER, answer("b"), { name: "c", status: null, askedAt: ms(1) }], "b").obstacles).toEqual([
      { rule: "race-without-quorum", reason: "1 votes of voters with no more WAL are needed, it would get 0" },
    ]);
    const unknown = observation({ cluster: { ...VIEW, failsafe: { a: "u", b: "u" } }, config: { ...CONFIG, failsafeMode: true } });
    expect(explained(unknown, answers, "c").obstacles[0]?.rule).toBe("race-failsafe-unknown");
  });

  test("a former leader whose lease may still run keeps everybody waiting", () => {
    const o = observation({ cluster: { ...VIEW, leader: null }, trace: { ...released, mark: null, markReadAt: null } });
    expect(explained(o, [answer("b"), answer("c")], "c").obstacles.map(({ rule }) => rule)).toEqual(["race-wait"]);
  });

  test("a switchover needs a standby that streams", () => {
    const idle = cluster({ members: [MEMBERS[0] ?? member("a"), member("b", { replicationState: "streaming" }), member("c")] });
    const answers = [LEADER, answer("b"), answer("c")];
    expect(explained(observation({ cluster: idle }), answers, "b").switchover).toEqual({ possible: true, obstacles: [] });
    expect(explained(observation({ cluster: idle }), answers, "c").switchover.obstacles).toEqual([
      "it does not stream from the leader (no replication)",
    ]);
    expect(explained(observation({ cluster: { ...idle, leader: null } }), answers, "b").switchover.possible).toBe(false);
  });
});

test("a rule of the race that only waits is either a veto that is explained, or about a question that is open", () => {
  const open = ["race-handed-over", "race-wait", "race-other-candidate", "race-primary-alive", "race-lost"];
  const waiting = leaderlessRules
    .map(({ id }) => id)
    .filter((id) => id.startsWith("race-"))
    .filter((id) => !["race-ask-old-leader", "race-ask-peers", "race-failed-candidate", "race-failsafe-slots"].includes(id));
  expect([...RACE_VETOES, ...open].sort()).toEqual([...waiting].sort());
});

test("whoever is called promotable takes the lock, and whoever is not waits: the decision of the member itself says the same", () => {
  const said = fc.record({
    lsn: fc.constantFrom(lsn(1000), lsn(2000), lsn(5_000_000)),
    timeline: fc.constantFrom(timeline(1), timeline(2)),
    tags: fc.constantFrom({}, { nofailover: true }, { failover_priority: 5 }),
    watchdogFailed: fc.boolean(),
  });
  const optime = fc.constantFrom(lsn(1000), lsn(5_000_000));
  const mode = fc.constantFrom("off" as const, "on" as const);
  fc.assert(
    fc.property(said, said, optime, mode, fc.boolean(), (b, c, at, synchronousMode, pause) => {
      const sync = { leader: "a", standbys: ["b"], quorum: 0, revision: null } as never;
      const view = { ...unlocked, sync, status: { optime: at, slots: {}, retainSlots: [] } };
      const own = observation({
        cluster: view,
        trace: released,
        config: { ...CONFIG, synchronousMode, pause },
        local: local({ status: status({ receivedLsn: b.lsn, replayedLsn: b.lsn, timeline: b.timeline }) }),
        peers: { answers: [answer("c", c)] },
        done: [{ kind: "ask-peers", ok: true, message: "" }],
      });
      const self = { ...own, self: { ...own.self, tags: b.tags, fencingMissing: b.watchdogFailed } };
      const { effect } = decide(self);
      const told = explained(self, [answer("b", b), answer("c", c)], "b");
      expect(told.promotable).toBe(effect.kind === "acquire-lock");
    }),
  );
});
