// Goal: the quick way to read a value gives what the schema gives. Method: values as they are written, and random ones.

import { expect, test } from "bun:test";
import { decodeLeaseMark, decodeMember, decodeStatus, decodeSync } from "../../../lib/dcs/decode.ts";
import { MemberReader, readLeaseMark, readStatus, readSync } from "../../../lib/dcs/quick-read.ts";
import type { Entry } from "../../../lib/dcs/store.ts";
import { revision } from "../../../lib/model/units.ts";
import { fc } from "../../harness/properties.ts";

function entry(value: string): Entry {
  return { key: "service/demo/members/a", value, revision: revision(7), session: "s-a" };
}

/** Reads one text after the other. */
const reader = new MemberReader();

function expectTheSame(text: string): void {
  expect(new MemberReader().read("a", entry(text))).toEqual(decodeMember("a", entry(text)));
  expect(readStatus(entry(text))).toEqual(decodeStatus(entry(text)));
  expect(readLeaseMark(entry(text))).toEqual(decodeLeaseMark(entry(text)));
  expect(readSync(entry(text))).toEqual(decodeSync(entry(text)));
}

/** By a reader that has read others before. */
function expectMemberTheSame(text: string): void {
  expect(reader.read("a", entry(text))).toEqual(decodeMember("a", entry(text)));
}

const NAMES = [
  "conn_url",
  "api_url",
  "proxy_url",
  "state",
  "role",
  "version",
  "xlog_location",
  "receive_lsn",
  "replay_lsn",
  "replication_state",
  "timeline",
  "tags",
  "pending_restart",
  "pending_restart_reason",
  "checkpoint_after_promote",
  "scheduled_restart",
  "pause",
  "product",
  "somebody_elses",
  "__proto__",
] as const;

/** Mostly what is usual, sometimes a neighbour of it, sometimes anything. */
const values = fc.oneof(
  fc.string(),
  fc.constantFrom("running", "primary", "67109536", " 7 ", "", "9007199254740993"),
  fc.maxSafeInteger(),
  fc.constantFrom(0, -0, 1, -1, 1.5, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1e21),
  fc.boolean(),
  fc.constant(null),
  fc.record({ name: fc.oneof(fc.string(), fc.integer()), version: fc.string() }),
  fc.constantFrom({ name: "Matriarch", version: "1", more: 1 }, ["name", "version"]),
  fc.jsonValue(),
);

test("records as members write them", () => {
  expectTheSame(
    '{"conn_url":"postgres://10.0.0.1:5432/postgres","api_url":"http://10.0.0.1:8008/patroni","state":"running","role":"replica","version":"4.1.5","xlog_location":67109536,"replay_lsn":67109536,"receive_lsn":67109536,"replication_state":"streaming","timeline":2}',
  );
  expectTheSame(
    '{"state":"running","role":"primary","tags":{"clonefrom":true},"pending_restart":true,"xlog_location":67109536,"pause":true}',
  );
  expectTheSame('{"xlog_location":9007199254740993,"timeline":4294967296}');
  expectTheSame('{"state":"running","state":"stopped"}');
  for (const text of ["", "{", "[]", "null", "7", '"text"', "{}"]) expectTheSame(text);
});

test("random records, field by field", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...NAMES), values), { maxLength: 12 }), (pairs) => {
      expectTheSame(`{${pairs.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`);
    }),
    { numRuns: 3000 },
  );
});

test("texts of one member after another, of which little or nothing but positions changes", () => {
  const digits = fc.oneof(
    fc.nat().map(String),
    fc.constantFrom("0", "00", "07", "-1", "1.5", "1e3", "999999999999999", "1234567890123456", '"7"'),
  );
  const positions = fc
    .tuple(digits, fc.option(digits), fc.option(digits))
    .map(([written, replayed, received]) =>
      [
        `"xlog_location":${written}`,
        ...(replayed === null ? [] : [`"replay_lsn":${replayed}`]),
        ...(received === null ? [] : [`"receive_lsn":${received}`]),
      ].join(","),
    );
  const heads = fc.constantFrom(
    '{"state":"running",',
    '{"state":"running","tags":{"nosync":true},',
    '{"state":"running","tags":{',
    '{"xlog_location":5,"state":"running",',
    '{"state":"\\"",',
    "{",
    "",
  );
  const tails = fc.constantFrom(
    ',"timeline":3}',
    "}",
    "",
    "1}",
    ',"replay_lsn":5}',
    ',"replay\\u005flsn":5}',
    ',"xlog_location":7}',
    '},"xlog_location":7}',
    "}}",
    ',"pending_restart":true}',
    ',"role":7}',
  );
  fc.assert(
    fc.property(fc.array(positions, { minLength: 2, maxLength: 6 }), heads, tails, (all, head, tail) => {
      for (const each of all) expectMemberTheSame(`${head}${each}${tail}`);
    }),
    { numRuns: 500 },
  );
});

test("a text that differs in positions alone is not read anew", () => {
  const reader = new MemberReader();
  const record = (at: number) =>
    entry(`{"state":"running","role":"replica","xlog_location":${at},"product":{"name":"Matriarch","version":"1"}}`);
  const [first, second] = [reader.read("a", record(5)).value, reader.read("a", record(6)).value];
  expect(second?.xlogLocation).toBe(6n as never);
  expect(second?.product).toBe(first?.product as never);
  expect(reader.read("b", record(6)).value?.product).not.toBe(first?.product as never);
});

test("statuses and lease marks, field by field", () => {
  const names = ["optime", "slots", "retain_slots", "session", "ttl", "released", "timeline", "unfenced", "cycle"] as const;
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(fc.constantFrom(...names), values), { selector: ([name]) => name, maxLength: 8 }), (pairs) => {
      expectTheSame(JSON.stringify(Object.fromEntries(pairs)));
    }),
    { numRuns: 3000 },
  );
  const positions = fc.dictionary(fc.constantFrom("n1", "n2", "__proto__"), values, { maxKeys: 3 });
  fc.assert(
    fc.property(positions, fc.array(fc.oneof(fc.string(), values), { maxLength: 3 }), (slots, retained) => {
      expectTheSame(JSON.stringify({ optime: 67109536, slots, retain_slots: retained }));
    }),
    { numRuns: 1000 },
  );
  expectTheSame('{"optime":67109536,"slots":{"n2":67109536,"n3":67100000},"retain_slots":["n2","n3"]}');
  for (const optime of ["0", "00", "1", "999999999999999", "9999999999999999", "-1", "1.0", "1e3", '"7"', " 7"])
    expectTheSame(`{"optime":${optime}}`);
  for (const ttl of ["30000", "0", "-1", "1e999", '"3"', "null"]) {
    for (const timeline of ["", ',"timeline":3', ',"timeline":"3"', ',"timeline":0', ',"timeline":null', ',"timeline":4294967296'])
      expectTheSame(`{"session":"s-a","ttl":${ttl},"released":false${timeline},"cycle":4}`);
    expectTheSame(`{"session":"s-a","ttl":${ttl},"released":false,"unfenced":{"name":"a","api_url":null},"cycle":4}`);
  }
});

test("sync states, field by field", () => {
  const leaders = ["null", '""', '"a"', '" a "', "7"];
  const standbys = ["null", '""', '"b"', '"b,c"', '"c,b,b"', '" b, c"', '"b,,c"', '","', '"b\\u00a0"', "7", "[]"];
  const quorums = ["0", "1", "-1", "1.5", "1e3", "-0", "12345678901234567", '"1"', "null", "true"];
  for (const leader of leaders)
    for (const names of standbys)
      for (const quorum of quorums) expectTheSame(`{"leader":${leader},"sync_standby":${names},"quorum":${quorum}}`);
  for (const text of ['{"leader":"a"}', '{"leader":"a","sync_standby":"b"}', '{"leader":"a","quorum":1}']) expectTheSame(text);
});

test("any JSON at all", () => {
  fc.assert(
    fc.property(fc.json(), (text) => expectTheSame(text)),
    { numRuns: 500 },
  );
});
