// Claims about reading single values: units, booleans, addresses, lists.

import { describe, expect, test } from "bun:test";
import {
  readBoolean,
  readBytes,
  readDuration,
  readFileMode,
  readHostPort,
  readInteger,
  readListen,
  readOptionPairs,
  readText,
  readTextList,
} from "../../../lib/config/value.ts";
import { formatHostPort } from "../../../lib/model/host-port.ts";
import { fc } from "../../harness/properties.ts";

describe("durations", () => {
  const UNITS = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

  test("a number of a unit is that many milliseconds, with or without a space, and without a unit it counts seconds", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -1000, max: 1_000_000 }),
        fc.constantFrom(...Object.keys(UNITS)),
        fc.constantFrom("", " "),
        (count, unit, gap) => {
          expect(Number(readDuration(`${count}${gap}${unit}`))).toBeCloseTo(count * UNITS[unit as keyof typeof UNITS], 6);
          expect(Number(readDuration(count))).toBe(count * 1000);
          expect(Number(readDuration(String(count)))).toBe(count * 1000);
        },
      ),
    );
  });

  test.each(["abc", "", "5 parsecs", "1h30m", {}, true, null, Number.NaN, Number.POSITIVE_INFINITY])("%p is no duration", (value) => {
    expect(readDuration(value)).toBeUndefined();
  });
});

describe("sizes", () => {
  test("kB, MB, GB and TB are powers of 1024 of whole bytes", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4000 }), (count) => {
        for (const [power, unit] of ["B", "kB", "MB", "GB", "TB"].entries())
          expect(readBytes(`${count}${unit}`)).toBe(count * 1024 ** power);
        expect(readBytes(count, "MB")).toBe(count * 1024 ** 2);
      }),
    );
  });

  test("1.5GB is a size; 12 apples are not, nor what exceeds exact integers", () => {
    expect(readBytes("1.5GB")).toBe(1.5 * 1024 ** 3);
    expect(readBytes("12 apples")).toBeUndefined();
    expect(readBytes("99999TB")).toBeUndefined();
  });
});

test("booleans are taken in Patroni's words and in any case; other words are not", () => {
  for (const value of [true, "on", "ON", "yes", "True", 1, "1"]) expect(readBoolean(value)).toBe(true);
  for (const value of [false, "off", "No", "false", 0, "0"]) expect(readBoolean(value)).toBe(false);
  for (const value of ["maybe", "", 2, null, [], {}]) expect(readBoolean(value)).toBeUndefined();
});

test("readers never throw, whatever they get", () => {
  const readers = [
    readBoolean,
    readBytes,
    readDuration,
    readFileMode,
    readHostPort,
    readInteger,
    readListen,
    readOptionPairs,
    readText,
    readTextList,
  ];
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: false }), (value) => {
      for (const read of readers) read(value as never);
    }),
  );
});

describe("addresses", () => {
  test("host and port survive writing and reading, IPv6 too", () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65_535 }), (name, port) => {
        expect(readHostPort(formatHostPort({ host: name, port }))).toEqual({ host: name, port });
      }),
    );
  });

  test.each(["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:abc", ":5432", "a b:1", "", null])(
    "%p lacks a host or a port",
    (value) => {
      expect(readHostPort(value)).toBeUndefined();
    },
  );

  test("several hosts share the port after the last one", () => {
    expect(readListen("127.0.0.1, [::1],db1:5432")).toEqual({ hosts: ["127.0.0.1", "::1", "db1"], port: 5432 });
    expect(readListen("*:5432")).toEqual({ hosts: ["*"], port: 5432 });
    expect(readListen("a,,b:1")).toBeUndefined();
  });
});

test("program options mix words and one-key mappings; false drops one", () => {
  expect(readOptionPairs(["data-checksums", { encoding: "UTF8" }, { "wal-segsize": 64 }])).toEqual([
    ["data-checksums", null],
    ["encoding", "UTF8"],
    ["wal-segsize", "64"],
  ]);
  expect(readOptionPairs({ checkpoint: "fast", verbose: true, progress: false })).toEqual([
    ["checkpoint", "fast"],
    ["verbose", null],
  ]);
  expect(readOptionPairs([["x"]])).toBeUndefined();
});

test("file modes are octal, as YAML's 0644 or as text; decimal 644 is refused", () => {
  expect(readFileMode(0o644)).toBe(0o644);
  expect(readFileMode("0644")).toBe(0o644);
  expect(readFileMode("0o600")).toBe(0o600);
  expect(readFileMode(644)).toBeUndefined();
  expect(readFileMode("rw")).toBeUndefined();
});
