// Goal: members understand each other's questions before they know each other, and nothing else gets through.

import { expect, test } from "bun:test";
import {
  isPeerRequest,
  type JoinAnswer,
  type PeerRequest,
  readJoinAnswer,
  readPeerRequest,
  readStanding,
  writeJoinAnswer,
  writePeerRequest,
  writeStanding,
} from "../../../../../lib/dcs/raft/member/peer-protocol.ts";
import type { MemberId, RaftClusterId } from "../../../../../lib/model/raft.ts";

const from = { id: "ab".repeat(16) as MemberId, address: "10.0.0.1:5010" };
const clusterId = "cd".repeat(16) as RaftClusterId;
const promise = { clusterId, members: [from] };

test("every question and every answer arrives as it was meant", () => {
  const requests: readonly PeerRequest[] = [
    { kind: "founding-ask", from },
    { kind: "founding-promise", from, token: "t", promise },
    { kind: "join", from, clusterId, was: "newcomer" },
  ];
  for (const request of requests) {
    expect(isPeerRequest(writePeerRequest(request))).toBe(true);
    expect(readPeerRequest(writePeerRequest(request))).toEqual(request);
  }
  for (const state of [
    { kind: "empty", founding: "may", readiness: "ready", token: "t" },
    { kind: "promised", promise },
    { kind: "member", clusterId },
  ] as const) {
    const standing = { ...from, list: [from.address], state };
    expect(readStanding(writeStanding(standing))).toEqual(standing);
  }
  const answers: readonly JoinAnswer[] = [
    { kind: "member" },
    { kind: "removed" },
    { kind: "ask-leader", address: null },
    { kind: "wait", reason: "r" },
    { kind: "refused", reason: "r" },
  ];
  for (const answer of answers) expect(readJoinAnswer(writeJoinAnswer(answer))).toEqual(answer);
});

test("an address that could forge a log line, a short identity, an endless list are refused", () => {
  const ask = (member: unknown): unknown => readPeerRequest(JSON.stringify({ peer: { kind: "founding-ask", from: member } }));
  expect(ask(from)).not.toBeNull();
  expect(ask({ ...from, address: "a:1\nCRITICAL: all is lost" })).toBeNull();
  expect(ask({ ...from, id: "abc" })).toBeNull();
  expect(ask(null)).toBeNull();
  const members = Array.from({ length: 40 }, () => from);
  const request = { peer: { kind: "founding-promise", from, token: "t", promise: { clusterId, members } } };
  expect(readPeerRequest(JSON.stringify(request))).toBeNull();
  expect(readPeerRequest('{"peer":')).toBeNull();
  expect(isPeerRequest('{"kind":"status"}')).toBe(false);
});
