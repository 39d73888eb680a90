// Goal: what Patroni 4.1.5 writes is read as it is meant, what we write is what Patroni writes, and nothing that stands in
// the DCS can stop a node. Method: values recorded from a running Patroni, then hostile ones.

import { describe, expect, test } from "bun:test";
import {
  decodeConfig,
  decodeFailover,
  decodeFailsafe,
  decodeHistory,
  decodeLeaseMark,
  decodeMember,
  decodeOptime,
  decodeRestore,
  decodeStatus,
  decodeSync,
  parseExactJson,
  parseInstant,
} from "../../../lib/dcs/decode.ts";
import {
  encodeFailover,
  encodeHistory,
  encodeJson,
  encodeLeaseMark,
  encodeMember,
  encodeStatus,
  encodeSync,
  MemberText,
} from "../../../lib/dcs/encode.ts";
import type { Entry } from "../../../lib/dcs/store.ts";
import { EMPTY_STATUS } from "../../../lib/model/cluster.ts";
import { isUnreadable } from "../../../lib/model/restore.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";

function entry(value: string): Entry {
  return { key: "service/demo/x", value, revision: revision(7), session: null };
}

const PRIMARY =
  '{"conn_url":"postgres://127.0.0.1:19002/postgres","api_url":"http://127.0.0.1:19012/patroni","state":"running","role":"primary","version":"4.1.5","tags":{"clonefrom":true},"pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"50","new_value":"60"}},"xlog_location":67109536,"timeline":2}';
const REPLICA =
  '{"conn_url":"postgres://127.0.0.1:19003/postgres","api_url":"http://127.0.0.1:19013/patroni","state":"running","role":"replica","version":"4.1.5","pending_restart":true,"pending_restart_reason":{"max_connections":{"old_value":"50","new_value":"60"}},"xlog_location":67109536,"replay_lsn":67109536,"receive_lsn":67109536,"replication_state":"streaming","timeline":2}';
const HISTORY = '[[1,67109256,"no recovery target specified","2026-11-21T21:45:55.960896+00:00","node2"]]';
const STATUS = '{"optime":67109536,"slots":{"node1":67109536,"node3":67109536,"node2":67109536},"retain_slots":["node1","node2","node3"]}';

describe("as Patroni writes it", () => {
  test("a primary's and a replica's record", () => {
    const primary = decodeMember("node2", entry(PRIMARY));
    expect(primary.faults).toEqual([]);
    expect(primary.value).toEqual({
      name: "node2",
      revision: revision(7),
      session: null,
      connUrl: "postgres://127.0.0.1:19002/postgres",
      apiUrl: "http://127.0.0.1:19012/patroni",
      state: "running",
      role: "primary",
      version: "4.1.5",
      xlogLocation: lsn(67109536),
      receiveLsn: null,
      replayLsn: null,
      replicationState: null,
      timeline: timeline(2),
      tags: { clonefrom: true },
      proxyUrl: null,
      pendingRestart: true,
      pendingRestartReason: { max_connections: { old_value: "50", new_value: "60" } },
      checkpointAfterPromote: null,
      scheduledRestart: null,
      pause: false,
      product: null,
      extra: {},
    });
    expect(decodeMember("node3", entry(REPLICA)).value).toMatchObject({
      receiveLsn: lsn(67109536),
      replayLsn: lsn(67109536),
      replicationState: "streaming",
      tags: {},
    });
  });

  test("a record is written in Patroni's order, whatever the order given, and unknown fields follow", () => {
    for (const recorded of [PRIMARY, REPLICA]) {
      const shuffled = Object.fromEntries(Object.entries(JSON.parse(recorded)).reverse());
      expect(encodeMember(shuffled)).toBe(recorded);
    }
    expect(encodeMember({ zeta: 1, state: "running", timeline: null, tags: undefined, alpha: lsn(2n ** 60n) })).toBe(
      '{"state":"running","zeta":1,"alpha":1152921504606846976}',
    );
  });

  test("one record after another is written as each would be alone", () => {
    const product = Object.freeze({ name: "Matriarch" });
    const changing: Record<string, unknown> = {};
    const values = [null, undefined, 0, -0, 7, 1.5, true, "running", 'sto"pped', lsn(5), lsn(2n ** 60n), product, changing];
    const names = ["conn_url", "state", "role", "xlog_location", "pause", "product", "zeta"];
    const record = fc.uniqueArray(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values)), { selector: ([name]) => name });
    const change = fc.tuple(fc.constantFrom(...names), fc.constantFrom(...values));
    fc.assert(
      fc.property(fc.array(fc.tuple(record, fc.array(change, { maxLength: 3 })), { maxLength: 5 }), (records) => {
        const text = new MemberText();
        for (const [pairs, changes] of records) {
          let fields = Object.fromEntries(pairs);
          expect(text.encode(fields)).toBe(encodeMember(fields));
          for (const [name, value] of changes) {
            changing["n"] = changes.indexOf(changes.at(-1) ?? [name, value]);
            fields = { ...fields, [name]: value };
            expect(text.encode(fields)).toBe(encodeMember(fields));
          }
        }
      }),
    );
    const text = new MemberText();
    expect(text.encode({ state: "running", product: changing })).toBe(encodeMember({ state: "running", product: changing }));
    changing["n"] = 17;
    expect(text.encode({ state: "running", product: changing })).toBe('{"state":"running","product":{"n":17}}');
  });

  test("history and status come back byte for byte", () => {
    expect(encodeHistory(decodeHistory(entry(HISTORY)).value)).toBe(HISTORY);
    expect(encodeStatus(decodeStatus(entry(STATUS)).value)).toBe(STATUS);
    expect(encodeHistory(decodeHistory(entry('[[1,5,"x"],[2,6,"y","2026-01-01T00:00:00+00:00"]]')).value)).toBe(
      '[[1,5,"x"],[2,6,"y","2026-01-01T00:00:00+00:00"]]',
    );
  });

  test("sync, failover and the lease mark", () => {
    expect(encodeSync({ leader: "a", standbys: ["c", "b"], quorum: 1 })).toBe('{"leader":"a","sync_standby":"b,c","quorum":1}');
    expect(decodeSync(entry('{"leader":"a","sync_standby":"c, b","quorum":"2"}')).value).toMatchObject({ standbys: ["b", "c"], quorum: 2 });
    expect(decodeSync(entry('{"leader":null,"sync_standby":null}')).value).toEqual({
      revision: revision(7),
      leader: null,
      standbys: [],
      quorum: 0,
    });
    expect(encodeFailover({ member: "b", leader: "a" })).toBe('{"leader":"a","member":"b"}');
    expect(encodeFailover(null)).toBe("{}");
    const mark = { session: "s", ttl: ms(30_000), released: true, timeline: timeline(3), unfenced: null };
    expect(decodeLeaseMark(entry(encodeLeaseMark(mark, 9)))).toEqual({ ...mark, revision: revision(7) });
    const unfenced = { ...mark, unfenced: { name: "a", apiUrl: "http://a:8008/patroni", connUrl: "postgres://a:5432/postgres" } };
    expect(decodeLeaseMark(entry(encodeLeaseMark(unfenced, 9)))).toEqual({ ...unfenced, revision: revision(7) });
    const silent = { ...mark, timeline: null };
    expect(encodeLeaseMark(silent, 9)).not.toContain("timeline");
    expect(decodeLeaseMark(entry(encodeLeaseMark(silent, 9)))).toEqual({ ...silent, revision: revision(7) });
  });

  test("a lease mark from before it named a timeline, or whose timeline cannot be read, is one all the same", () => {
    const old = { session: "s", ttl: 30_000, released: false };
    for (const timeline of [undefined, null, "x", 0, -1, 1.5, 2 ** 32, {}])
      expect(decodeLeaseMark(entry(JSON.stringify({ ...old, timeline, cycle: 3 })))).toMatchObject({ session: "s", timeline: null });
    for (const unfenced of [undefined, null, "x", 1, {}, { name: 1 }, []])
      expect(decodeLeaseMark(entry(JSON.stringify({ ...old, unfenced, cycle: 3 })))).toMatchObject({ session: "s", unfenced: null });
  });
});

describe("large and odd numbers", () => {
  test("positions beyond 2^53 keep every digit, in every key", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (position) => {
        const at = lsn(position);
        const status = { optime: at, slots: { a: at }, retainSlots: [] };
        expect(decodeStatus(entry(encodeStatus(status))).value).toEqual(status);
        expect(decodeMember("a", entry(encodeJson({ xlog_location: at }))).value?.xlogLocation).toBe(at);
        expect(decodeMember("a", entry(encodeJson({ replay_lsn: String(position) }))).value?.replayLsn).toBe(at);
        expect(decodeOptime(entry(String(position))).value.optime).toBe(at);
        const line = { timeline: timeline(1), lsn: at, reason: "r", time: null, newLeader: null };
        expect(decodeHistory(entry(encodeHistory([line]))).value).toEqual([line]);
      }),
    );
  });

  test("integers too long for a number are bigints, and digits in texts stay texts", () => {
    expect(parseExactJson('{"a":9223372036854775807,"b":"9223372036854775807","c":[1.5,1e3,-9223372036854775807]}')).toEqual({
      a: 9223372036854775807n,
      b: "9223372036854775807",
      c: [1.5, 1000, -9223372036854775807n],
    });
  });

  test("unknown fields of a member can be written as JSON again", () => {
    const member = decodeMember("a", entry('{"state":"running","huge":12345678901234567890,"deep":{"x":[1]}}')).value;
    expect(JSON.stringify(member?.extra)).toBe('{"huge":12345678901234567000,"deep":{"x":[1]}}');
  });
});

describe("hostile values", () => {
  const wrong = ["", "{", "null", "7", '"text"', "[1,2]", "[[]]", "\u0000", '{"a":'];
  test.each(wrong)("%j never throws, and counts as absent", (text) => {
    expect(decodeMember("a", entry(text)).value).toBeNull();
    expect(decodeConfig(entry(text)).value).toBeNull();
    expect(decodeConfig(entry(text)).faults).toHaveLength(1);
    expect(decodeFailover(entry(text)).value).toBeNull();
    expect(decodeSync(entry(text)).value).toMatchObject({ revision: revision(7), leader: null, standbys: [] });
    expect(decodeStatus(entry(text)).value).toEqual(EMPTY_STATUS);
    expect(decodeFailsafe(entry(text)).value).toBeNull();
    expect(decodeLeaseMark(entry(text))).toBeNull();
    expect(decodeHistory(entry(text)).value).toEqual([]);
  });

  test("any JSON at all is survived by every key", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        for (const decode of [decodeConfig, decodeFailover, decodeSync, decodeStatus, decodeFailsafe, decodeHistory, decodeOptime])
          decode(entry(text));
        decodeMember("a", entry(text));
        decodeLeaseMark(entry(text));
      }),
      { numRuns: 500 },
    );
  });

  test("a field of a wrong type is missing, the others stay", () => {
    const text =
      '{"state":"running","role":5,"timeline":"3","xlog_location":-1,"receive_lsn":"12","replay_lsn":1.5,"tags":{"a":1,"b":{"c":1},"d":null},"pending_restart":"yes","scheduled_restart":[1]}';
    expect(decodeMember("a", entry(text)).value).toMatchObject({
      state: "running",
      role: "uninitialized",
      timeline: timeline(3),
      xlogLocation: null,
      receiveLsn: lsn(12),
      replayLsn: null,
      tags: { a: 1, d: null },
      pendingRestart: false,
      scheduledRestart: null,
    });
    expect(decodeMember("a", entry('{"timeline":0}')).value?.timeline).toBeNull();
    expect(decodeMember("a", entry('{"tags":["x"]}')).value?.tags).toEqual({});
  });

  test("a readable line of the history survives an unreadable one, which is named", () => {
    const decoded = decodeHistory(entry('[[1,5,"x"],"?",[0,1,"z"],[2,6,"y"]]'));
    expect(decoded.value.map((line) => Number(line.timeline))).toEqual([1, 2]);
    expect(decoded.faults).toHaveLength(2);
  });
});

test("a restore that cannot be read, or in a phase that is not known, counts as one that failed; one that was emptied is none", () => {
  expect(decodeRestore(entry(" "))).toEqual({ value: null, faults: [] });
  const value = { id: "20260131-120000", phase: "restore", node: "a", label: "F", target: null };
  expect(decodeRestore(entry(JSON.stringify(value)))).toMatchObject({ value: { ...value, revision: revision(7) }, faults: [] });
  expect(decodeRestore(entry(JSON.stringify(value))).value?.recoveryTimeline).toBe("latest");
  const along = { ...value, recovery_timeline: "3" };
  expect(decodeRestore(entry(JSON.stringify(along))).value?.recoveryTimeline).toBe("3");
  const strange = JSON.stringify({ ...value, recovery_timeline: "3'" });
  for (const text of ["garbage", "[]", "{}", JSON.stringify({ ...value, phase: "later" }), strange]) {
    const decoded = decodeRestore(entry(text));
    expect([text, decoded.value !== null && isUnreadable(decoded.value), decoded.faults.length]).toEqual([text, true, 1]);
    // Given up by an operator, it is over, and read as that.
    const { revision: _seen, ...over } = { ...decoded.value, revision: null, phase: "done" };
    expect(decodeRestore(entry(JSON.stringify(over))).value?.phase).toBe("done");
  }
});

describe("failover requests", () => {
  test("{} and names without text are no request", () => {
    for (const text of ["{}", '{"leader":"","member":null}', '{"scheduled_at":"2026-01-01T00:00:00Z"}', "  "]) {
      expect(decodeFailover(entry(text))).toEqual({ value: null, faults: [] });
    }
  });

  test("an appointment that cannot be read never becomes now", () => {
    for (const text of ["tomorrow", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "5"]) {
      const decoded = decodeFailover(entry(encodeFailover({ leader: "a", scheduled_at: text })));
      expect(decoded.value).toBeNull();
      expect(decoded.faults).toHaveLength(1);
    }
  });

  test("instants need a zone, in any of its usual forms", () => {
    const expected = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
    for (const text of [
      "2026-01-02T03:04:05.678Z",
      "2026-01-02T03:04:05.678912+00:00",
      "2026-01-02 04:04:05.678+0100",
      "2026-01-02T04:04:05.678+01",
      "2026-01-01T22:34:05.678-04:30",
    ]) {
      expect(parseInstant(text)).toBe(expected);
    }
    expect(parseInstant("2026-01-02T03:04Z")).toBe(Date.UTC(2026, 0, 2, 3, 4));
  });
});
