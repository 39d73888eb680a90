// Claims about POST /switchover and POST /failover: what is refused with which words, and what is waited for.

import { describe, expect, test } from "bun:test";
import { lsn, ms, revision } from "../../../lib/model/units.ts";
import { ownMs } from "../../harness/stall.ts";
import { answer, apiOf } from "./asking.ts";
import { cluster, DYNAMIC, facts, LogUnderTest, leading, member, NodeUnderTest, replicaFacts } from "./node-under-test.ts";

/** The failover key is written, the new leader takes the lock and runs. */
function willSucceed(node: NodeUnderTest, name: string): void {
  node.onFailover = () => {
    setTimeout(() => node.publish({ leader: null }), 5);
    setTimeout(() => node.publish({ leader: { name, session: "s2", revision: revision(99) } }), 10);
    setTimeout(() => node.publish({ failover: null, members: [member("node1"), leading(name)] }), 15);
  };
}

const paused = () => cluster({ config: { revision: revision(7), data: { pause: true } } });
const synchronous = () =>
  cluster({
    config: { revision: revision(7), data: { synchronous_mode: true } },
    sync: { revision: revision(8), leader: "node1", standbys: ["node2"], quorum: 0 },
  });

describe("POST /switchover", () => {
  test("answers as soon as the new leader runs, from any node", async () => {
    for (const current of [facts(), replicaFacts()]) {
      const node = new NodeUnderTest(current);
      willSucceed(node, "node2");
      const from = performance.now();
      expect(await answer(node, "/switchover", { leader: "node1", candidate: "node2" })).toEqual([
        200,
        'Successfully switched over to "node2"',
      ]);
      // Whoever only looked again at the end of a cycle would take loop_wait, which is ten times as long.
      expect(ownMs(from)).toBeLessThan(1_000);
      expect(node.failovers).toEqual([{ value: { leader: "node1", candidate: "node2", scheduledAt: null }, revision: null }]);
      expect(node.asked).toContain("wake");
    }
  });

  test("is told in the log in Patroni's words, whatever comes of it, in one line each", async () => {
    const log = new LogUnderTest();
    const ask = apiOf(new NodeUnderTest(), {}, log);
    await ask("POST", "/switchover", { leader: "node1\nnode2", candidate: "nobody", scheduled_at: "2099-01-01T00:00:00" });
    await ask("POST", "/failover", { candidate: "nobody" });
    await ask("POST", "/failover", { leader: "nobody", candidate: "node2" });
    expect(log.lines.filter((line) => line.includes("received"))).toEqual([
      "INFO received switchover request with leader=node1\\nnode2 candidate=nobody scheduled_at=2099-01-01T00:00:00",
      "INFO received failover request with leader=None candidate=nobody scheduled_at=None",
      "INFO received failover request with leader=nobody candidate=node2 scheduled_at=None",
      "WARNING received failover request with leader specified - performing switchover instead",
    ]);
  });

  test("says so when another node than the one wanted took over", async () => {
    const node = new NodeUnderTest();
    willSucceed(node, "node3");
    expect(await answer(node, "/switchover", { leader: "node1", candidate: "node2" })).toEqual([
      200,
      'Switched over to "node3" instead of "node2"',
    ]);
  });

  test("is failed when the leader takes the request away", async () => {
    const node = new NodeUnderTest();
    node.onFailover = () => setTimeout(() => node.publish({ failover: null }), 5);
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([503, "Switchover failed"]);
  });

  test("does not take a view older than its own request for a refusal", async () => {
    const node = new NodeUnderTest();
    const old = node.stored;
    node.onFailover = () => {
      setTimeout(() => {
        const current = node.stored;
        node.publish({});
        node.current = { ...node.current, cluster: old };
        node.stored = current;
      }, 2);
      setTimeout(() => node.publish({ leader: { name: "node2", session: "x", revision: revision(90) }, members: [leading("node2")] }), 20);
    };
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([200, 'Successfully switched over to "node2"']);
  });

  test("has an end where nothing comes of it", async () => {
    const node = new NodeUnderTest(facts({ dynamic: { ...DYNAMIC, loopWaitMs: ms(-4950) } }));
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([503, "Switchover status unknown"]);
  });

  test.each([
    [{ candidate: "node2" }, 400, "Switchover could be performed only from a specific leader"],
    [{ leader: "node1", candidate: "node1" }, 400, "Switchover target and source are the same"],
    [{ leader: "other" }, 412, "leader name does not match"],
    [{ leader: 5 }, 412, "leader name does not match"],
    [{ leader: "node1", candidate: "other" }, 412, "candidate does not exists"],
    [
      { leader: "node1", scheduled_at: "garbage" },
      422,
      "Unable to parse scheduled timestamp. It should be in an unambiguous format, e.g. ISO 8601",
    ],
    [{ leader: "node1", scheduled_at: "2099-01-01T00:00:00" }, 400, "Timezone information is mandatory for the scheduled switchover"],
    [{ leader: "node1", scheduled_at: "2009-01-01T00:00:00Z" }, 422, "Cannot schedule switchover in the past"],
    [{ leader: "other", scheduled_at: "2099-01-01T00:00:00Z" }, 412, "leader name does not match"],
  ])("%j is refused with %d %s, and nothing is written", async (body, status, text) => {
    const node = new NodeUnderTest();
    expect(await answer(node, "/switchover", body)).toEqual([status, text]);
    expect(node.failovers).toEqual([]);
  });

  test("asks the members at once and wants one that is fit; a silent one delays nobody", async () => {
    const node = new NodeUnderTest();
    node.answers = { node2: null, node3: { timeline: 1, lsn: lsn(67108864), nofailover: true, role: "replica" } };
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([
      412,
      "switchover is not possible: no good candidates have been found",
    ]);
    expect(await answer(node, "/switchover", { leader: "node1", candidate: "node2" })).toEqual([
      412,
      "switchover is not possible: no good candidates have been found",
    ]);
    node.answers = { node2: "never" };
    willSucceed(node, "node3");
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([200, 'Successfully switched over to "node3"']);
  });

  test("refuses a candidate that lags too far", async () => {
    const node = new NodeUnderTest();
    node.answers = { node2: { timeline: 1, lsn: lsn(67108864 - 1048577), nofailover: false, role: "replica" } };
    expect((await answer(node, "/switchover", { leader: "node1", candidate: "node2" }))[0]).toBe(412);
  });

  test("needs members besides the leader", async () => {
    const node = new NodeUnderTest(facts({ cluster: cluster({ members: [leading("node1")] }) }));
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([
      412,
      "switchover is not possible: cluster does not have members except leader",
    ]);
  });

  test("in synchronous mode goes to a synchronous standby only; a failover may go elsewhere", async () => {
    const node = new NodeUnderTest(facts({ cluster: synchronous() }));
    const mismatch = "candidate name does not match with sync_standby";
    expect(await answer(node, "/switchover", { leader: "node1", candidate: "node3" })).toEqual([412, mismatch]);
    node.answers = { node2: null };
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([
      412,
      "switchover is not possible: no good candidates have been found",
    ]);
    willSucceed(node, "node3");
    expect(await answer(node, "/failover", { candidate: "node3" })).toEqual([200, 'Successfully failed over to "node3"']);
  });

  test("in a standby cluster goes to any standby, whatever synchronous_mode says", async () => {
    const data = { synchronous_mode: true, standby_cluster: { host: "10.1.0.1" } };
    const node = new NodeUnderTest(facts({ cluster: cluster({ config: { revision: revision(7), data } }) }));
    willSucceed(node, "node3");
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([200, 'Successfully switched over to "node3"']);
  });

  test("while paused needs a candidate and cannot be scheduled", async () => {
    const node = new NodeUnderTest(facts({ cluster: paused(), paused: true }));
    expect(await answer(node, "/switchover", { leader: "node1" })).toEqual([
      400,
      "Switchover is possible only to a specific candidate in a paused state",
    ]);
    expect(await answer(node, "/switchover", { leader: "node1", scheduled_at: "2099-01-01T00:00:00Z" })).toEqual([
      400,
      "Can't schedule switchover in the paused state",
    ]);
  });

  test("schedules, shows nothing else, and can be taken back", async () => {
    const node = new NodeUnderTest();
    const ask = apiOf(node);
    const body = { leader: "node1", candidate: "node2", scheduled_at: "2099-01-01T12:00+02" };
    expect(await answer(node, "/switchover", body)).toEqual([202, "Switchover scheduled"]);
    expect(node.stored.failover).toMatchObject({ leader: "node1", candidate: "node2", scheduledAtText: "2099-01-01T12:00:00+02:00" });
    expect((await ask("GET", "/cluster")).text).toContain(
      '"scheduled_switchover": {"at": "2099-01-01T12:00:00+02:00", "from": "node1", "to": "node2"}',
    );
    const gone = await ask("DELETE", "/switchover");
    expect([gone.status, gone.text]).toEqual([200, "scheduled switchover deleted"]);
    const none = await ask("DELETE", "/switchover");
    expect([none.status, none.text]).toEqual([404, "no switchover is scheduled"]);
  });

  test("a lost race for the key is a conflict on DELETE and a failure on POST", async () => {
    const node = new NodeUnderTest();
    await answer(node, "/switchover", { leader: "node1", scheduled_at: "2099-01-01T12:00Z" });
    node.writeFailure = { kind: "condition-failed" };
    expect((await apiOf(node)("DELETE", "/switchover")).status).toBe(409);
    expect((await answer(node, "/switchover", { leader: "node1" }))[0]).toBe(503);
    node.readFailure = { kind: "unavailable", reason: "away" };
    expect((await answer(node, "/switchover", { leader: "node1" }))[0]).toBe(503);
  });
});

describe("POST /failover", () => {
  test("works without a leader", async () => {
    const node = new NodeUnderTest(replicaFacts({ cluster: cluster({ leader: null }) }));
    willSucceed(node, "node2");
    expect(await answer(node, "/failover", { candidate: "node2" })).toEqual([200, 'Successfully failed over to "node2"']);
  });

  test("with a leader is a switchover", async () => {
    const node = new NodeUnderTest();
    willSucceed(node, "node2");
    expect(await answer(node, "/failover", { leader: "node1", candidate: "node2" })).toEqual([
      200,
      'Successfully switched over to "node2"',
    ]);
  });

  test.each([
    [{ leader: "node1" }, 400, "Failover could be performed only to a specific candidate"],
    [{ candidate: "node2", scheduled_at: "2099-01-01T00:00:00Z" }, 400, "Failover can't be scheduled"],
    [{ candidate: "other" }, 412, "candidate does not exists"],
    [{ candidate: "node1" }, 412, "failover is not possible: node1 is the leader already"],
  ])("%j is refused with %d %s", async (body, status, text) => {
    expect(await answer(new NodeUnderTest(), "/failover", body)).toEqual([status, text]);
  });
});
