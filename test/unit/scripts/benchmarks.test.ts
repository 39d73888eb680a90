// What the benchmark's words mean and how its table reads; the rows themselves need servers.

import { describe, expect, test } from "bun:test";
import { readBenchArguments } from "../../../scripts/benchmarks/arguments.ts";
import { ROWS } from "../../../scripts/benchmarks/rows.ts";
import { median, short, table } from "../../../scripts/benchmarks/table.ts";

describe("arguments", () => {
  test("without words: every row, three samples, both systems", () => {
    expect(readBenchArguments([])).toEqual({
      rows: ROWS.map(({ id }) => id),
      samples: new Map([["default", 3]]),
      systems: "both",
      store: "consul",
      patroni: null,
      json: null,
    });
  });

  test("rows come in the order of the table; --n counts for all or for one", () => {
    const read = readBenchArguments(["--rows", "sigterm,switchover", "--n", "5", "--n", "sigterm=9", "--only", "ours"]);
    expect(read).toMatchObject({ rows: ["switchover", "sigterm"], systems: "ours" });
    expect(read).toMatchObject({
      samples: new Map([
        ["default", 5],
        ["sigterm", 9],
      ]),
    });
  });

  test.each([
    [["--rows", "nothing"]],
    [["--n", "0"]],
    [["--n", "nothing=3"]],
    [["--only", "theirs"]],
    [["--store", "paper"]],
    [["--store", "raft", "--only", "patroni"]],
    [["--unknown"]],
    [["word"]],
  ])("%p is a usage error", (argv) => {
    expect(readBenchArguments(argv)).toBeNull();
  });

  test("no two rows have one id", () => {
    expect(new Set(ROWS.map(({ id }) => id)).size).toBe(ROWS.length);
  });
});

describe("table", () => {
  test("shows median, range and number, and the ratio of two systems", () => {
    const row = { id: "x", title: "what", unit: "s", reach: "≤ 1", measureOwn: async () => 0 };
    const results = new Map([
      [
        "x",
        new Map<string, readonly number[] | string>([
          ["ours", [0.1, 0.3, 0.2]],
          ["patroni", [1]],
        ]),
      ],
    ]);
    const text = table(
      [row],
      [
        { name: "ours", version: "1" },
        { name: "patroni", version: "4" },
      ],
      results,
    );
    expect(text.split("\n")[2]).toBe("| what | ≤ 1 | **0.2** s (n=3, 0.1–0.3) | **1** s (n=1) | 0.2 |");
  });

  test("says why a row has no number", () => {
    const row = { id: "x", title: "what", unit: "s", reach: "", measureOwn: async () => 0 };
    const text = table([row], [{ name: "ours", version: "1" }], new Map([["x", new Map([["ours", "no wrk\nat all"]])]]));
    expect(text).toContain("failed: no wrk |");
  });

  test("medians and short numbers", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1])).toBe(2.5);
    expect([short(0), short(0.12345), short(12.345), short(1234.5)]).toEqual(["0", "0.123", "12.3", "1235"]);
  });
});
