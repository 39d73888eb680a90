// The plan for pg_dist_node, on a table that refuses what Citus refuses.

import { describe, expect, test } from "bun:test";
import { type GroupTarget, groupTarget, type NodeChange, nodeChanges, servingLeader } from "../../../lib/core/mpp-plan.ts";
import type { DistNode } from "../../../lib/model/mpp.ts";
import type { HostPort } from "../../../lib/model/node-config.ts";
import { Random } from "../../simulation/random.ts";
import { cluster, member } from "./observations.ts";

const at = (host: string): HostPort => ({ host, port: 5432 });
const row = (nodeId: number, role: string, host: string, group = 1): DistNode => ({ nodeId, group, role, ...at(host) });
const target = (primary: string, secondaries: readonly string[] = [], held = false): GroupTarget => ({
  group: 1,
  primary: at(primary),
  held,
  secondaries: secondaries.map(at),
});
const update = (nodeId: number, host: string): NodeChange => ({ kind: "update", nodeId, to: at(host) });

/** Applies changes as Citus does: throws where an address would stand twice, or where nodes come or go beside a primary that moved. */
function applied(rows: readonly DistNode[], changes: readonly NodeChange[]): readonly DistNode[] {
  let table = [...rows];
  let moved = false;
  const occupied = (to: HostPort, except: number): void => {
    const other = table.find(({ nodeId, host, port }) => nodeId !== except && host === to.host && port === to.port);
    if (other !== undefined) throw new Error(`${to.host} stands in row ${other.nodeId} already`);
  };
  for (const change of changes) {
    if (change.kind !== "update" && moved) throw new Error(`${change.kind} beside a primary that has moved`);
    if (change.kind === "update") {
      const before = table.find(({ nodeId }) => nodeId === change.nodeId);
      if (before === undefined) throw new Error(`no row ${change.nodeId}`);
      moved ||= before.role === "primary";
      occupied(change.to, change.nodeId);
      table = table.map((one) => (one === before ? { ...one, ...change.to } : one));
    } else if (change.kind === "add") {
      occupied(change.at, -1);
      if (change.role === "primary" && table.some(({ group, role }) => group === change.group && role === "primary"))
        throw new Error("two primaries");
      table.push({ nodeId: Math.max(0, ...table.map(({ nodeId }) => nodeId)) + 1, group: change.group, role: change.role, ...change.at });
    } else {
      const gone = table.find(({ host, port }) => host === change.at.host && port === change.at.port);
      if (gone === undefined || gone.role === "primary") throw new Error(`${change.at.host} cannot be removed`);
      table = table.filter((one) => one !== gone);
    }
  }
  return table;
}

describe("pg_dist_node", () => {
  test("a group that is not registered gets its primary first, then its standbys", () => {
    expect(nodeChanges([row(1, "primary", "c", 0)], target("a", ["b"]))).toEqual([
      { kind: "add", group: 1, at: at("a"), role: "primary" },
      { kind: "add", group: 1, at: at("b"), role: "secondary" },
    ]);
    expect(nodeChanges([], target("a", [], true))).toEqual([]);
  });

  test("what is right already is left alone, other groups' rows too", () => {
    expect(nodeChanges([row(1, "primary", "a"), row(2, "secondary", "b"), row(3, "primary", "x", 2)], target("a", ["b"]))).toEqual([]);
  });

  test("a switchover lets primary and standby change places, the primary's row keeping its id", () => {
    const rows = [row(4, "primary", "a"), row(5, "secondary", "b")];
    const held = nodeChanges(rows, target("a", ["b"], true));
    expect(held).toEqual([update(4, "a-demoted")]);
    expect(nodeChanges(applied(rows, held), target("b", ["a"]))).toEqual([update(5, "a"), update(4, "b")]);
    expect(nodeChanges(rows, target("b", ["a"]))).toEqual([update(4, "a-demoted"), update(5, "a"), update(4, "b")]);
  });

  test("a primary that comes back after its queries were held gets its own name again", () => {
    expect(nodeChanges([row(4, "primary", "a-demoted"), row(5, "secondary", "b")], target("a", ["b"]))).toEqual([update(4, "a")]);
  });

  test("a former primary that is gone leaves with the plan after the failover", () => {
    const rows = [row(4, "primary", "a"), row(5, "secondary", "b")];
    const after = applied(rows, nodeChanges(rows, target("b")));
    expect(after).toEqual([row(4, "primary", "b"), row(5, "secondary", "a")]);
    expect(nodeChanges(after, target("b"))).toEqual([{ kind: "remove", at: at("a") }]);
  });

  test("in a transaction that has moved the primary already, nothing is added or removed", () => {
    const rows = [row(4, "primary", "b"), row(5, "secondary", "a")];
    expect(nodeChanges(rows, target("b"), "moved")).toEqual([]);
    expect(nodeChanges(rows, target("b", ["a", "c"]), "moved")).toEqual([]);
    expect(nodeChanges(rows, target("b", ["c"]), "moved")).toEqual([update(5, "c")]);
  });

  test("a standby that comes takes the row of one that goes", () => {
    expect(nodeChanges([row(4, "primary", "a"), row(5, "secondary", "b")], target("a", ["c"]))).toEqual([update(5, "c")]);
  });

  test("whatever the rows and the members, the table is never refused, and is right after two plans", () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const random = new Random(seed);
      const hosts = ["a", "b", "c", "d", "e"];
      const some = (from: readonly string[]): string[] => from.filter(() => random.chance(0.5));
      const [first = "a", ...others] = some(hosts);
      let rows: readonly DistNode[] = [
        row(7, "primary", first + (random.chance(0.3) ? "-demoted" : "")),
        ...others.map((host, index) => row(10 + index, "secondary", host)),
        row(1, "primary", "x", 0),
      ];
      const [primary = "e", ...secondaries] = some(hosts).sort(() => random.between(-1, 1));
      const wanted = target(primary, secondaries);
      for (let plan = 0; plan < 2; plan++) rows = applied(rows, nodeChanges(rows, wanted));
      const own = rows.filter(({ group }) => group === 1);
      expect({ seed, primary: own.find(({ role }) => role === "primary") }).toEqual({ seed, primary: row(7, "primary", primary) });
      const standbys = own.filter(({ role }) => role === "secondary").map(({ host }) => host);
      expect({ seed, standbys: standbys.sort() }).toEqual({ seed, standbys: secondaries.sort() });
      expect(nodeChanges(rows, wanted)).toEqual([]);
    }
  });
});

describe("a group's target", () => {
  test("names the leader and the standbys that run and take reads", () => {
    const members = [
      member("a", { role: "primary" }),
      member("b"),
      member("c", { state: "stopped" }),
      member("d", { tags: { noloadbalance: true } }),
    ];
    const wanted = groupTarget(cluster({ members }), { group: 1, leader: "a", held: false });
    expect(wanted).toEqual({ group: 1, primary: at("host-a"), held: false, secondaries: [at("host-b")] });
  });

  test("a leader that is not yet promoted, or restarts, is not where queries go", () => {
    expect(servingLeader(cluster())).toBe("a");
    expect(servingLeader(cluster({ members: [member("a")] }))).toBeNull();
    expect(servingLeader(cluster({ members: [member("a", { role: "primary", state: "restarting" })] }))).toBeNull();
    expect(servingLeader(cluster({ leader: null }))).toBeNull();
  });
});
