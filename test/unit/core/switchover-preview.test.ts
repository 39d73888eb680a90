// Goal: what a dry run says of a switchover is what the request would meet. Method: each reason alone, and generated clusters, on which the
// preview must agree with the two rules that decide: the member's own refusal (switchover-check) and the leader's (handoverFitness).

import { describe, expect, test } from "bun:test";
import { handoverFitness } from "../../../lib/core/candidates.ts";
import type { PeerStatus } from "../../../lib/core/observation.ts";
import { isFitCandidate } from "../../../lib/core/switchover-check.ts";
import { type PreviewLimits, previewSwitchover } from "../../../lib/core/switchover-preview.ts";
import type { Cluster } from "../../../lib/model/cluster.ts";
import type { Member, Tags } from "../../../lib/model/member.ts";
import { NO_SYNC } from "../../../lib/model/sync-state.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";
import { CONFIG, cluster as clusterWith, member } from "./observations.ts";

const LIMITS: PreviewLimits = { synchronousMode: "off", maximumLagOnFailoverBytes: 1000, checkTimeline: true, paused: false };
const PLAN = { action: "switchover", leader: "a", candidate: null } as const;

/** It streams, where nothing else is said. */
const memberOf = (name: string, fields: Partial<Member> = {}): Member => member(name, { replicationState: "streaming", ...fields });

function clusterOf(members: readonly Member[], standbys: readonly string[] = []): Cluster {
  return clusterWith({ members, sync: { ...NO_SYNC, leader: "a", standbys } });
}

function status(over: Partial<PeerStatus> = {}): PeerStatus {
  return {
    role: "replica",
    state: "running",
    timeline: timeline(2),
    lsn: lsn(5000),
    tags: {},
    watchdogFailed: false,
    paused: false,
    leaseHeld: false,
    ...over,
  };
}

const answerOf = (name: string, told: PeerStatus | null) => ({ name, askedAt: ms(0), status: told });
const LEADER = answerOf("a", status({ role: "primary" }));

function preview(
  b: PeerStatus | null,
  options: {
    readonly limits?: Partial<PreviewLimits>;
    readonly cluster?: Cluster;
    readonly plan?: Parameters<typeof previewSwitchover>[0]["plan"];
  } = {},
) {
  return previewSwitchover({
    plan: options.plan ?? PLAN,
    cluster: options.cluster ?? clusterOf([memberOf("a", { role: "primary" }), memberOf("b")]),
    limits: { ...LIMITS, ...options.limits },
    scheduled: false,
    answers: [LEADER, answerOf("b", b)],
  });
}

describe("a dry run of a switchover", () => {
  test("names who would lead: the highest priority, or the equals that race", () => {
    expect(preview(status())).toMatchObject({ refusal: null, wouldLead: ["b"] });
    const three = (tags: Tags) => clusterOf([memberOf("a", { role: "primary" }), memberOf("b"), memberOf("c", { tags })]);
    const both = (cluster: Cluster) =>
      previewSwitchover({
        plan: PLAN,
        cluster,
        limits: LIMITS,
        scheduled: false,
        answers: [LEADER, answerOf("b", status()), answerOf("c", status())],
      });
    expect(both(three({})).wouldLead).toEqual(["b", "c"]);
    expect(both(three({ failover_priority: 2 })).wouldLead).toEqual(["c"]);
  });

  test.each([
    [null, {}, "its REST API does not answer"],
    [status({ state: "starting" }), {}, "its PostgreSQL is not running (starting)"],
    [status({ role: "primary" }), {}, "it runs as a primary"],
    [status({ tags: { nofailover: true } }), {}, "it is tagged nofailover"],
    [status({ watchdogFailed: true }), {}, "its watchdog does not work"],
    [status({ lsn: null }), {}, "it shows no WAL position"],
    [status({ timeline: timeline(1) }), {}, "it is on timeline 1, the leader on 2"],
    [status({ lsn: lsn(3999) }), {}, "it is 1001 bytes behind, more than maximum_lag_on_failover (1000)"],
    [status(), { synchronousMode: "on" }, "it is not a synchronous standby: it may lack commits that were acknowledged"],
  ] as const)("tells why a member could not lead: %#", (told, limits, reason) => {
    const seen = preview(told, { limits });
    expect(seen.candidates[0]?.reasons).toEqual([reason]);
    expect(seen.wouldLead).toEqual([]);
    expect(seen.refusal).not.toBeNull();
  });

  test("tells every reason, not only the first", () => {
    expect(preview(status({ state: "stopped", watchdogFailed: true, lsn: null })).candidates[0]?.reasons).toHaveLength(3);
  });

  test("is refused as the request would be", () => {
    expect(preview(status(), { plan: { ...PLAN, leader: "x" } }).refusal).toBe("leader name does not match");
    expect(preview(status(), { plan: { ...PLAN, candidate: "x" } }).refusal).toBe("candidate does not exists");
    expect(preview(status(), { plan: { ...PLAN, candidate: "a" } }).refusal).toBe("Switchover target and source are the same");
    expect(preview(status(), { limits: { paused: true } }).refusal).toBe(
      "Switchover is possible only to a specific candidate in a paused state",
    );
  });

  test("a failover goes beyond lag, timeline and the sync key", () => {
    const plan = { action: "failover", leader: null, candidate: "b" } as const;
    const behind = status({ lsn: lsn(1), timeline: timeline(1) });
    expect(preview(behind, { plan, limits: { synchronousMode: "on" } })).toMatchObject({ refusal: null, wouldLead: ["b"] });
  });

  test("agrees with the rules that decide, whatever a member answers", () => {
    const statuses = fc.option(
      fc.record({
        role: fc.constantFrom("replica", "standby_leader"),
        state: fc.constantFrom("running", "running", "running", "starting", "stopped"),
        timeline: fc.option(fc.integer({ min: 1, max: 3 }).map(timeline)),
        lsn: fc.option(fc.integer({ min: 0, max: 9000 }).map((value) => lsn(value))),
        tags: fc.constantFrom<Tags>({}, {}, { nofailover: true }, { failover_priority: 0 }),
        watchdogFailed: fc.boolean(),
      }),
    );
    const worlds = fc.record({
      told: statuses,
      streams: fc.boolean(),
      sync: fc.boolean(),
      synchronousMode: fc.constantFrom("off" as const, "on" as const),
      checkTimeline: fc.boolean(),
    });
    fc.assert(
      fc.property(worlds, ({ told, streams, sync, synchronousMode, checkTimeline }) => {
        const answered = told === null ? null : status(told);
        const member = memberOf("b", { tags: answered?.tags ?? {}, replicationState: streams ? "streaming" : null });
        const cluster = clusterOf([memberOf("a", { role: "primary" }), member], sync ? ["b"] : []);
        const limits = { ...LIMITS, synchronousMode, checkTimeline };
        const seen = preview(answered, { cluster, limits }).candidates[0];
        const config = {
          ...CONFIG,
          synchronousMode,
          checkTimeline,
          maximumLagOnFailoverBytes: limits.maximumLagOnFailoverBytes,
        };
        const { fit } = handoverFitness({
          answer: answerOf("b", answered),
          config,
          sync: cluster.sync,
          wal: lsn(5000),
          timeline: timeline(2),
          replication: streams ? [{ applicationName: "b", state: "streaming" } as never] : [],
          planned: true,
        });
        const asked = isFitCandidate(member, answered === null ? null : { ...answered, nofailover: false }, {
          action: "switchover",
          leaderLsn: lsn(5000),
          leaderTimeline: 2,
          maximumLagBytes: 1000,
          checkTimeline,
        });
        const outOfSync = synchronousMode === "on" && !sync;
        expect(seen?.reasons.length === 0).toBe(fit && asked && !outOfSync);
      }),
    );
  });
});
