// What is told of two looks at a cluster is what an operator would call news.

import { describe, expect, test } from "bun:test";
import { clusterChanges } from "../../../lib/core/cluster-changes.ts";
import type { ClusterView, MemberView } from "../../../lib/core/cluster-view.ts";

const a: MemberView = { name: "a", role: "leader", state: "running", timeline: 1 };
const b: MemberView = { name: "b", role: "replica", state: "streaming", timeline: 1, lag: 0n, lsn: "0/5000000" };
const view = (members: readonly MemberView[], over: Partial<ClusterView> = {}): ClusterView => ({ scope: "demo", members, ...over });

describe("the news of a cluster", () => {
  test("are none while only positions move", () => {
    expect(clusterChanges(view([a, b]), view([a, { ...b, lsn: "0/6000000", lag: 5n }]))).toEqual([]);
  });

  test("are a switchover step by step", () => {
    const stopping = view([{ ...a, state: "stopping" }, b]);
    const free = view([{ ...a, role: "replica", state: "stopped" }, b]);
    const taken = view([
      { ...a, role: "replica", state: "stopped" },
      { ...b, role: "leader", state: "running" },
    ]);
    const promoted = view([
      { ...a, role: "replica", state: "streaming" },
      { ...b, role: "leader", state: "running", timeline: 2 },
    ]);
    expect(clusterChanges(view([a, b]), stopping)).toEqual(["a: running -> stopping"]);
    expect(clusterChanges(stopping, free)).toEqual(["a no longer leads: nobody does", "a: stopping -> stopped"]);
    expect(clusterChanges(free, taken)).toEqual(["b leads", "b: streaming -> running"]);
    expect(clusterChanges(taken, promoted)).toEqual(["b is on timeline 2", "a: stopped -> streaming"]);
    expect(clusterChanges(view([a, b]), taken)[0]).toBe("the leader is b instead of a");
  });

  test("are members that come and go, synchronous standbys, pending restarts, maintenance and appointments", () => {
    expect(clusterChanges(view([a, b]), view([a]))).toEqual(["b is gone"]);
    expect(clusterChanges(view([a]), view([a, b]))).toEqual(["b is new: streaming"]);
    expect(clusterChanges(view([a, b]), view([a, { ...b, role: "sync_standby" }]))).toEqual(["b: replica -> sync standby"]);
    expect(clusterChanges(view([a]), view([{ ...a, pending_restart: true }]))).toEqual(["a: a restart is pending"]);
    expect(clusterChanges(view([a]), view([a], { pause: true }))).toEqual(["maintenance mode is on"]);
    const planned = view([a], { scheduled_switchover: { at: "2099-01-01T00:00:00+00:00" } });
    expect(clusterChanges(view([a]), planned)).toEqual(["a switchover is scheduled at 2099-01-01T00:00:00+00:00"]);
    expect(clusterChanges(planned, view([a]))).toEqual(["no switchover is scheduled any more"]);
  });
});
