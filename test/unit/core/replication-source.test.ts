// Goal: every node gets its WAL and its copies from the right one. Method: one snapshot a case.

import { describe, expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { FinishedTask, Observation } from "../../../lib/core/observation.ts";
import { cloneSource, followedMember, sourceTarget } from "../../../lib/core/replication-source.ts";
import type { Member, Tags } from "../../../lib/model/member.ts";
import { lsn, ms, timeline } from "../../../lib/model/units.ts";
import { cluster, local, member, observation, planned, status, unlocked } from "./observations.ts";

/** b's view of a, which leads, and of the members given. */
function view(...members: readonly Member[]) {
  const others = members.filter(({ name }) => name !== "a");
  return cluster({ members: [member("a", { role: "primary" }), ...others] });
}

function tagged(tags: Tags): Observation["self"] {
  return { ...observation().self, tags };
}

const followsC = { name: "b", tags: { replicatefrom: "c" } };

describe("replicatefrom", () => {
  test("names the source while that is a standby at work", () => {
    expect(followedMember(view(member("b"), member("c")), followsC)?.name).toBe("c");
    expect(followedMember(view(member("b"), member("c", { state: "restarting" })), followsC)?.name).toBe("c");
  });

  test("a source that is not there, has stopped or is no standby is replaced by the leader", () => {
    expect(followedMember(view(member("b")), followsC)?.name).toBe("a");
    for (const fields of [{ state: "stopped" }, { state: "start failed" }, { role: "primary" }, { connUrl: null }]) {
      expect(followedMember(view(member("b"), member("c", fields)), followsC)?.name).toBe("a");
    }
  });

  test("a source on another timeline than the leader's is not followed: it may have what the leader left behind", () => {
    expect(followedMember(view(member("b"), member("c", { timeline: timeline(2) })), followsC)?.name).toBe("a");
  });

  test("the node itself, or the leader, means the leader", () => {
    expect(followedMember(view(member("b")), { name: "b", tags: { replicatefrom: "b" } })?.name).toBe("a");
    expect(followedMember(view(member("b")), { name: "b", tags: { replicatefrom: "a" } })?.name).toBe("a");
  });

  test("everybody in a circle follows the leader, whoever hangs on it stays", () => {
    const circle = view(
      member("b", { tags: { replicatefrom: "c" } }),
      member("c", { tags: { replicatefrom: "d" } }),
      member("d", { tags: { replicatefrom: "b" } }),
      member("e", { tags: { replicatefrom: "b" } }),
    );
    for (const name of ["b", "c", "d"]) {
      const self = circle.members.find((one) => one.name === name);
      expect(followedMember(circle, self ?? followsC)?.name).toBe("a");
    }
    expect(followedMember(circle, { name: "e", tags: { replicatefrom: "b" } })?.name).toBe("b");
  });

  test("a leader's own tag makes no circle", () => {
    const members = [member("a", { role: "primary", tags: { replicatefrom: "b" } }), member("b"), member("c")];
    expect(followedMember(cluster({ members }), { name: "b", tags: { replicatefrom: "a" } })?.name).toBe("a");
    const chain = members.map((one) => (one.name === "c" ? { ...one, tags: { replicatefrom: "a" } } : one));
    expect(followedMember(cluster({ members: chain }), followsC)?.name).toBe("c");
  });

  test("the source is followed only after the data was measured by the leader's history", () => {
    const o = observation({ self: tagged({ replicatefrom: "c" }), local: local({ upstream: "host-a:5432" }) });
    expect(decide(o)).toMatchObject({ rule: "standby-follow-plan", effect: { target: { name: "a" } } });
    expect(decide({ ...o, lastTask: planned("follow") })).toMatchObject({
      rule: "standby-follow",
      effect: { target: { name: "c", slotName: "b" } },
      why: "following 'c', as replicatefrom says",
    });
    expect(decide({ ...o, local: local({ upstream: "host-c:5432" }) }).rule).not.toContain("follow");
  });

  test("a stopped node starts behind its source", () => {
    const stopped = local({ process: { kind: "none" }, status: null });
    const o = observation({ self: tagged({ replicatefrom: "c" }), local: stopped, lastTask: planned("follow") });
    expect(decide(o)).toMatchObject({ rule: "rejoin-start", effect: { target: { name: "c" } } });
  });
});

describe("nostream", () => {
  const archived = { self: tagged({ nostream: true }), lastTask: planned("follow") };

  test("takes the source away from a server that has one, also where the supervisor has just come back", () => {
    expect(decide(observation(archived))).toMatchObject({ rule: "standby-follow", effect: { target: null } });
    const forgotten = local({ upstream: "", status: status({ primaryConninfo: "host=a" }) });
    expect(decide(observation({ ...archived, local: forgotten }))).toMatchObject({ rule: "standby-follow", effect: { target: null } });
  });

  test("one that reads the archive is left alone, however long it has not streamed", () => {
    const reading = local({ upstream: "", notStreamingSince: ms(1), status: status({ replicationState: "in archive recovery" }) });
    expect(decide(observation({ ...archived, local: reading })).rule).toBe("standby");
  });
});

describe("a copy", () => {
  const streaming = { replicationState: "streaming", xlogLocation: lsn(1000) };
  const empty = local({ process: { kind: "none" }, status: null, dataDirectory: { kind: "empty" } });
  const clonefrom = { clonefrom: true };

  test("is made of a member tagged clonefrom, and then follows the leader", () => {
    const o = observation({ cluster: view(member("b"), member("c", { tags: clonefrom, ...streaming })), local: empty });
    expect(decide(o)).toMatchObject({
      rule: "clone",
      why: "trying to bootstrap from replica 'c'",
      effect: { target: { name: "c" }, follow: { name: "a" }, from: "replica 'c'" },
    });
  });

  test("comes from the leader where no tagged member is fit for it", () => {
    for (const fields of [
      { state: "starting" },
      { replicationState: "in archive recovery" },
      { timeline: timeline(2) },
      { xlogLocation: lsn(0) },
      { tags: { clonefrom: false } },
    ]) {
      const far = cluster({
        members: [member("a", { role: "primary" }), member("b"), member("c", { tags: clonefrom, ...streaming, ...fields })],
        status: { optime: lsn(9_000_000), slots: {}, retainSlots: [] },
      });
      const near = { ...far, status: { ...far.status, optime: lsn(1000) } };
      const o = observation({ cluster: "xlogLocation" in fields ? far : near, local: empty });
      expect(cloneSource(o)?.words).toBe("leader 'a'");
    }
  });

  test("comes from the leader after a failure, and where the operator says so", () => {
    const members = view(member("b"), member("c", { tags: clonefrom, ...streaming }));
    const failed: FinishedTask = { kind: "clone", finishedAt: ms(1), ok: false, message: "no", failures: 1, plan: null };
    expect(cloneSource(observation({ cluster: members, local: empty, lastTask: failed }))?.words).toBe("leader 'a'");
    const reinitialize = { shutdown: false, restart: false, reinitialize: { fromLeader: true } };
    expect(cloneSource(observation({ cluster: members, local: empty, requests: reinitialize }))?.words).toBe("leader 'a'");
    const fromAny = { ...reinitialize, reinitialize: { fromLeader: false } };
    expect(cloneSource(observation({ cluster: members, local: empty, requests: fromAny }))?.words).toBe("replica 'c'");
  });

  test("several tagged members share the work", () => {
    const members = cluster({
      members: [
        member("a", { role: "primary" }),
        member("b"),
        member("c", { tags: clonefrom, ...streaming }),
        member("d", { tags: clonefrom, ...streaming }),
        member("e"),
      ],
    });
    const of = (name: string): string | undefined => cloneSource(observation({ cluster: members, self: { ...tagged({}), name } }))?.words;
    expect(new Set([of("b"), of("e")])).toEqual(new Set(["replica 'c'", "replica 'd'"]));
  });

  test("is made without a leader where some method needs nobody, and only of a cluster that is there", () => {
    const self = { ...observation().self, clonesWithoutLeader: true };
    expect(decide(observation({ cluster: unlocked, local: empty, self }))).toMatchObject({
      rule: "leaderless-clone",
      effect: { kind: "clone", target: null, methods: "members", from: null },
    });
    expect(decide(observation({ cluster: { ...unlocked, initialize: "" }, local: empty, self })).rule).toBe("bootstrap-wait");
    expect(decide(observation({ cluster: unlocked, local: empty })).rule).toBe("leaderless-without-data");
    const inPause = observation({ cluster: unlocked, local: empty, config: { ...observation().config, pause: true } });
    expect(decide(inPause)).toMatchObject({ rule: "leaderless-without-data", why: "running with empty data directory" });
  });
});

test("without a tag the leader is the source, with the node's slot there", () => {
  expect(sourceTarget(observation())).toEqual({ name: "a", host: "host-a", port: 5432, slotName: "b" });
});
