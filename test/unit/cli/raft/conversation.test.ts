// Goal: what is asked of members, and what an operator reads.
// Method: a fake network answers by address; no member runs.

import { describe, expect, test } from "bun:test";
import { askEveryone, askLeader, describeHeard, type Heard, type MembersLink } from "../../../../lib/cli/raft/conversation.ts";
import { membersText, statusText } from "../../../../lib/cli/raft/tables.ts";
import type { MemberStatus, RaftStatus } from "../../../../lib/dcs/raft/kv/client-protocol.ts";
import { NO_FSYNCS } from "../../../../lib/dcs/raft/member/sync-times.ts";
import { logIndex, memberId, type RaftMember, raftClusterId, term } from "../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../lib/model/units.ts";

const DEADLINE = ms(1000);

function member(number: number): RaftMember {
  const id = memberId(String(number).repeat(32));
  if (id === null) throw new Error("no id");
  return { id, address: `node${number}:5010` };
}

function status(number: number, over: Partial<RaftStatus> = {}): RaftStatus {
  const voters = [1, 2, 3].map(
    (other): MemberStatus => ({ ...member(other), part: "voter", link: other === number ? null : "up", matched: null, silentMs: null }),
  );
  return {
    member: member(number),
    cluster: raftClusterId("c".repeat(32)),
    state: "serving",
    detail: null,
    role: "follower",
    term: term(4),
    leader: member(1),
    members: voters,
    commit: logIndex(12),
    applied: logIndex(12),
    lastIndex: logIndex(12),
    snapshotIndex: logIndex(0),
    log: "whole",
    disk: "room",
    revision: revision(9),
    clusterTimeMs: 1,
    keys: 5,
    sessions: 3,
    clients: 1,
    watches: 0,
    snapshotBytes: 0,
    logBytes: 900,
    syncMs: 0.2,
    fsyncs: NO_FSYNCS,
    elections: 1,
    ...over,
  };
}

/** Answers by address, and remembers who was asked. */
function fakeLink(answers: Readonly<Record<string, Heard>>): MembersLink & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    ask: async (address) => {
      asked.push(address);
      return answers[address] ?? { kind: "silent", reason: "nobody listens there" };
    },
    close: async () => {},
  };
}

function says(number: number, over: Partial<RaftStatus> = {}): Heard {
  return { kind: "status", status: status(number, over) };
}

describe("everyone", () => {
  test("members that an answer names are asked too, and one known by two addresses is shown once", async () => {
    const link = fakeLink({ "127.0.0.1:5010": says(1), "node1:5010": says(1), "node2:5010": says(2) });
    const asked = await askEveryone(link, ["127.0.0.1:5010"], DEADLINE);
    expect(link.asked.toSorted()).toEqual(["127.0.0.1:5010", "node1:5010", "node2:5010", "node3:5010"]);
    expect(asked.map(({ heard }) => (heard.kind === "status" ? heard.status.member.address : heard.kind))).toEqual([
      "node1:5010",
      "node2:5010",
      "silent",
    ]);
  });

  test("the table says who leads, who is silent and why, and whether writes are possible", async () => {
    const link = fakeLink({ "node1:5010": says(1, { role: "leader" }), "node2:5010": says(2) });
    const text = statusText(await askEveryone(link, ["node1:5010"], DEADLINE));
    expect(text).toContain(`Raft: ${"c".repeat(32)}`);
    expect(text).toContain("node1:5010 leads; 2 of 3 voters answer, 2 are needed\n");
    expect(text).toContain("node3:5010: nobody listens there");
    const minority = statusText(await askEveryone(fakeLink({ "node1:5010": says(1) }), ["node1:5010"], DEADLINE));
    expect(minority).toContain("nobody leads; 1 of 3 voters answer, 2 are needed: writes are not possible");
  });

  test("a member that waits for its founding says for whom", async () => {
    const waiting = says(1, { state: "waiting", cluster: null, members: [], leader: null, detail: "waiting for node2:5010" });
    const text = statusText(await askEveryone(fakeLink({ "node1:5010": waiting }), ["node1:5010"], DEADLINE));
    expect(text).toContain("No member of a founded Raft answers.");
    expect(text).toContain("node1:5010: waiting for node2:5010");
  });
});

describe("the leader", () => {
  const request = { kind: "transfer", to: null } as const;

  test("is found through a follower that names it, and nobody is asked twice", async () => {
    const elsewhere: Heard = { kind: "not-leader", leader: member(2) };
    const link = fakeLink({ "node1:5010": elsewhere, "node2:5010": { kind: "done" } });
    const { address, heard } = await askLeader(link, { addresses: ["node1:5010", "node2:5010"], request, deadline: DEADLINE });
    expect([address, heard.kind]).toEqual(["node2:5010", "done"]);
    expect(link.asked).toEqual(["node1:5010", "node2:5010"]);
    const circle = fakeLink({ "node1:5010": elsewhere, "node2:5010": { kind: "not-leader", leader: member(1) } });
    const lost = await askLeader(circle, { addresses: ["node1:5010"], request, deadline: DEADLINE });
    expect(circle.asked).toEqual(["node1:5010", "node2:5010"]);
    expect(describeHeard(lost)).toBe("node1:5010 leads, and does not answer here");
  });

  test("an unknown outcome is not asked of another member", async () => {
    const link = fakeLink({ "node1:5010": { kind: "unknown-outcome", reason: "it ended" }, "node2:5010": { kind: "done" } });
    const asked = await askLeader(link, { addresses: ["node1:5010", "node2:5010"], request, deadline: DEADLINE });
    expect(link.asked).toEqual(["node1:5010"]);
    expect(describeHeard(asked)).toBe("not confirmed, it may still happen: it ended");
  });

  test("silence and a missing leader are told apart", async () => {
    const silent = await askLeader(fakeLink({}), { addresses: ["node1:5010"], request, deadline: DEADLINE });
    expect(describeHeard(silent)).toBe("no member answers: node1:5010: nobody listens there");
    const headless = fakeLink({ "node1:5010": { kind: "not-leader", leader: null } });
    const asked = await askLeader(headless, { addresses: ["node1:5010", "node2:5010"], request, deadline: DEADLINE });
    expect(describeHeard(asked)).toBe("the Raft has no leader now");
  });
});

test("the members are shown in order of their addresses, the leader marked", () => {
  const rows = [3, 1, 2].map(
    (number): MemberStatus => ({
      ...member(number),
      part: number === 3 ? "learner" : "voter",
      link: "up",
      matched: logIndex(7),
      silentMs: 3,
    }),
  );
  const lines = membersText(rows, member(2)).split("\n");
  const parts = lines.filter((line) => line.includes("5010")).map((line) => line.split("|").map((cell) => cell.trim())[3]);
  expect(parts).toEqual(["voter", "leader", "learner"]);
});
