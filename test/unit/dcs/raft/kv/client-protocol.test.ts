// Owns the claims on requests and answers as texts: what is meant arrives, and nothing else is let in.

import { describe, expect, test } from "bun:test";
import {
  type ClientAnswer,
  type ClientRequest,
  readClientAnswer,
  readClientRequest,
  WATCH_WAIT_MAX_MS,
  writeClientAnswer,
  writeClientRequest,
} from "../../../../../lib/dcs/raft/kv/client-protocol.ts";
import type { Command } from "../../../../../lib/dcs/raft/kv/command.ts";
import { logIndex, type MemberId, type RaftClusterId, term } from "../../../../../lib/model/raft.ts";
import { ms, revision } from "../../../../../lib/model/units.ts";

const ID = "0123456789abcdef0123456789abcdef" as MemberId;
const MEMBER = { id: ID, address: "[::1]:2380" };

const COMMANDS: readonly Command[] = [
  { kind: "change", changes: [] },
  {
    kind: "change",
    changes: [
      { kind: "put", key: "k", value: "🐘 \u0000 \ufeff" },
      { kind: "put", key: "k", value: "", condition: { kind: "none" }, session: "s" },
      { kind: "put", key: "k", value: "", condition: { kind: "value", value: "v" } },
      { kind: "delete", key: "k", condition: { kind: "revision", revision: revision(7) } },
      { kind: "delete", key: "k", condition: { kind: "absent" } },
      { kind: "check-owner", key: "k", session: "s" },
    ],
  },
  { kind: "delete-prefix", prefix: "" },
  { kind: "open-session", id: "s", name: "n", ttl: ms(1.5), place: null },
  { kind: "open-session", id: "s", name: "n", ttl: ms(3_000), place: "node1" },
  { kind: "renew-session", id: "s" },
  { kind: "close-session", id: "s" },
  { kind: "open-client", id: "c" },
];
const REQUESTS: readonly ClientRequest[] = [
  ...COMMANDS.map((command): ClientRequest => ({ kind: "command", envelope: { client: "c@1", sequence: 2, acknowledged: 1, command } })),
  { kind: "command", envelope: { client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id: "c" } } },
  { kind: "query", query: { kind: "snapshot", prefix: "a/", consistency: "linearizable" } },
  { kind: "query", query: { kind: "session-info", id: "s" } },
  { kind: "watch", prefix: "a/", after: revision(3), waitMs: ms(10_000) },
  { kind: "status" },
  { kind: "members" },
  { kind: "add", address: "host:1", replaces: null },
  { kind: "add", address: "host:1", replaces: ID },
  { kind: "remove", member: "host:1" },
  { kind: "transfer", to: null },
  { kind: "transfer", to: "host:1" },
  { kind: "snapshot" },
];
const SNAPSHOT = { entries: [{ key: "k", value: "v", revision: revision(1), session: null }], revision: revision(2) };
const STATUS = {
  member: MEMBER,
  cluster: ID as string as RaftClusterId,
  state: "serving",
  detail: null,
  role: "leader",
  term: term(3),
  leader: MEMBER,
  members: [{ ...MEMBER, part: "voter", link: null, matched: logIndex(5), silentMs: null }],
  commit: logIndex(5),
  applied: logIndex(5),
  lastIndex: logIndex(6),
  snapshotIndex: logIndex(0),
  log: "whole",
  disk: "room",
  revision: revision(2),
  clusterTimeMs: 12.5,
  keys: 1,
  sessions: 0,
  clients: 2,
  watches: 0,
  snapshotBytes: 0,
  logBytes: 0,
  syncMs: null,
  fsyncs: { buckets: [[0.001, 2]], sum: 0.0015, count: 3 },
  elections: 0,
} as const;
const ANSWERS: readonly ClientAnswer[] = [
  { kind: "command", answer: { ok: true, value: { kind: "revisions", revisions: [revision(0), revision(4)] } } },
  { kind: "command", answer: { ok: true, value: { kind: "session", session: { id: "s", promisedMs: ms(3), place: null } } } },
  { kind: "command", answer: { ok: true, value: { kind: "client", id: "c@1" } } },
  { kind: "command", answer: { ok: true, value: { kind: "done" } } },
  { kind: "command", answer: { ok: false, error: { kind: "condition-failed" } } },
  { kind: "command", answer: { ok: false, error: { kind: "session-gone", session: "s" } } },
  { kind: "command", answer: { ok: false, error: { kind: "unknown-client" } } },
  { kind: "command", answer: { ok: false, error: { kind: "rejected", reason: "r" } } },
  { kind: "query", value: { kind: "snapshot", snapshot: SNAPSHOT } },
  { kind: "query", value: { kind: "session-info", session: null } },
  { kind: "watch", snapshot: SNAPSHOT },
  { kind: "compacted" },
  { kind: "status", status: STATUS },
  { kind: "members", members: STATUS.members, leader: null },
  { kind: "done" },
  { kind: "not-leader", leader: MEMBER },
  { kind: "not-leader", leader: null },
  { kind: "unavailable", reason: "r" },
  { kind: "unknown-outcome", reason: "r" },
  { kind: "refused", reason: "r" },
];

describe("the client protocol", () => {
  test("every request and every answer arrives as it was meant", () => {
    for (const request of REQUESTS) expect(readClientRequest(writeClientRequest(request))).toEqual({ ok: true, value: request });
    for (const answer of ANSWERS) expect(readClientAnswer(writeClientAnswer(answer))).toEqual({ ok: true, value: answer });
  });

  test("a text that is no request is refused with its place, and never with the value that stands there", () => {
    const envelope = { client: "c", sequence: 1, acknowledged: 0 };
    const bad: readonly [unknown, string][] = [
      [
        { kind: "command", envelope: { ...envelope, command: { kind: "expire-session", id: "secret", renewal: 1 } } },
        "envelope.command.kind",
      ],
      [{ kind: "command", envelope: { ...envelope, sequence: -1, command: COMMANDS[0] } }, "envelope.sequence"],
      [{ kind: "command", envelope: { ...envelope, sequence: 1e300, command: COMMANDS[0] } }, "envelope.sequence"],
      [
        {
          kind: "command",
          envelope: { ...envelope, command: { kind: "change", changes: [{ kind: "put", key: "k", value: ["secret"] }] } },
        },
        "envelope.command.changes.0.value",
      ],
      [
        { kind: "command", envelope: { ...envelope, command: { kind: "change", changes: [{ kind: "delete", key: "secret\ud800" }] } } },
        "envelope.command.changes.0.key",
      ],
      [{ kind: "query", query: { kind: "snapshot", prefix: "a", consistency: "secret" } }, "query.consistency"],
      [{ kind: "watch", prefix: "a", after: 0, waitMs: WATCH_WAIT_MAX_MS + 1 }, "waitMs"],
      [{ kind: "add", address: "a", replaces: "secret" }, "replaces"],
      [{ kind: "secret" }, "kind"],
      [null, "(root)"],
      [["secret"], "kind"],
    ];
    for (const [request, place] of bad) {
      const read = readClientRequest(JSON.stringify(request));
      if (read.ok) throw new Error(`accepted: ${JSON.stringify(request)}`);
      expect(read.error.split(":")[0]).toBe(place);
      expect(read.error).not.toContain("secret");
    }
    for (const text of ["", "{", "undefined", "\u0000"]) expect(readClientRequest(text)).toEqual({ ok: false, error: "not JSON" });
    expect(readClientAnswer('{"kind":"command","answer":{"ok":"true"}}').ok).toBe(false);
  });

  test("what was not asked for does not come along", () => {
    const text = '{"kind":"status","__proto__":{"admin":true},"more":1}';
    expect(readClientRequest(text)).toEqual({ ok: true, value: { kind: "status" } });
  });

  test("nesting without end is refused like any other nonsense", () => {
    const deep = 200_000;
    expect(readClientRequest("[".repeat(deep)).ok).toBe(false);
    expect(readClientRequest(`{"kind":"query","query":${"[".repeat(deep)}${"]".repeat(deep)}}`).ok).toBe(false);
  });
});
