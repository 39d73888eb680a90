import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { clusterView } from "../../../lib/core/cluster-view.ts";
import { formatJson } from "../../../lib/core/json-text.ts";
import { lsn, revision } from "../../../lib/model/units.ts";
import { cluster, leading, member } from "../api/node-under-test.ts";

function row(name: string, changes: Parameters<typeof cluster>[0]) {
  return clusterView(cluster(changes), "demo").members.find((found) => found.name === name);
}

describe("the cluster document", () => {
  test("is byte for byte what Patroni wrote for the same cluster", () => {
    const recorded = readFileSync(`${import.meta.dir}/../../scenarios/api/primary_cluster.body`, "utf8").trim();
    expect(formatJson(clusterView(cluster(), "demo"))).toBe(recorded);
  });

  test("is sorted by name and writes unknown positions as unknown", () => {
    const stopped = member("a", {
      state: "stopped",
      xlogLocation: null,
      receiveLsn: null,
      replayLsn: null,
      replicationState: null,
      timeline: null,
    });
    const view = clusterView(cluster({ members: [leading("node1"), stopped] }), "demo");
    expect(view.members.map(({ name }) => name)).toEqual(["a", "node1"]);
    expect(view.members[0]).toMatchObject({
      state: "stopped",
      lsn: "unknown",
      lag: "unknown",
      receive_lsn: "unknown",
      replay_lag: "unknown",
    });
  });

  test("tells sync from quorum standbys by the mode in the configuration", () => {
    const sync = { revision: revision(5), leader: "node1", standbys: ["NODE2"], quorum: 0 };
    const config = (mode: unknown) => ({ revision: revision(7), data: { synchronous_mode: mode } });
    expect(row("node2", { sync, config: config("on") })?.role).toBe("sync_standby");
    expect(row("node2", { sync, config: config("quorum") })?.role).toBe("quorum_standby");
    expect(row("node2", { sync, config: config(false) })?.role).toBe("replica");
    expect(row("node3", { sync, config: config(true) })?.role).toBe("replica");
  });

  test("lag is never negative, and exact beyond 2^53", () => {
    const status = { optime: lsn(9007199254740993n), slots: {}, retainSlots: [] };
    const members = [leading("node1"), member("node2", { xlogLocation: lsn(2n), replayLsn: lsn(9007199254740999n) })];
    expect(row("node2", { status, members })).toMatchObject({ lag: 9007199254740991n, lsn: "0/2", replay_lag: 0n });
  });

  test("shows pause, a scheduled switchover, pending restart, and the standby leader", () => {
    const failover = {
      revision: revision(9),
      leader: "node1",
      candidate: "node2",
      scheduledAt: 4070908800000,
      scheduledAtText: "2099-01-01T00:00:00+00:00",
    };
    const members = [
      leading("node1", { role: "standby_leader", replicationState: "streaming" }),
      member("node2", { pendingRestart: true, pendingRestartReason: { max_connections: { old_value: "50", new_value: "60" } } }),
    ];
    const config = { revision: revision(7), data: { pause: true, standby_cluster: { host: "a" } } };
    const view = clusterView(cluster({ failover, members, config }), "demo");
    expect(formatJson(view)).toEndWith(
      '"scope": "demo", "pause": true, "scheduled_switchover": {"at": "2099-01-01T00:00:00+00:00", "from": "node1", "to": "node2"}}',
    );
    expect(view.members[0]).toMatchObject({ role: "standby_leader", state: "streaming" });
    expect(view.members[1]).toMatchObject({ pending_restart: true });
  });

  test("takes host and port out of every form of conn_url, and leaves out what is none", () => {
    const host = (connUrl: string | null) => {
      const found = row("node2", { members: [member("node2", { connUrl })] });
      return [found?.host, found?.port];
    };
    expect(host("postgres://user:pw@10.0.0.1:5433/postgres")).toEqual(["10.0.0.1", 5433]);
    expect(host("postgres://[2001:db8::1]:5432/postgres")).toEqual(["2001:db8::1", 5432]);
    expect(host("postgresql://db.example/postgres")).toEqual(["db.example", 5432]);
    expect(host("nonsense")).toEqual([undefined, undefined]);
    expect(host(null)).toEqual([undefined, undefined]);
  });
});
