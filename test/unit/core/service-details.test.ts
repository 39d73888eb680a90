import { describe, expect, test } from "bun:test";
import { detailTags, lagClass, versionText } from "../../../lib/core/service-details.ts";
import { lsn } from "../../../lib/model/units.ts";

const MIB = 1024 * 1024;
const behind = (bytes: number) => ({ leaderLsn: lsn(BigInt(100 * MIB)), replayedLsn: lsn(BigInt(100 * MIB - bytes)) });

describe("the class of a lag", () => {
  test("ends at 1 MiB and at 16 MiB; a replica ahead of what the leader has published has none", () => {
    const cases: readonly [number, string][] = [
      [-MIB, "low"],
      [0, "low"],
      [MIB, "low"],
      [MIB + 1, "medium"],
      [16 * MIB, "medium"],
      [16 * MIB + 1, "high"],
    ];
    for (const [bytes, expected] of cases) expect([bytes, lagClass(behind(bytes), null)]).toEqual([bytes, expected] as never);
  });

  test("gets better only from half of the limit on, so that a replica at the limit does not flutter", () => {
    expect(lagClass(behind(MIB), "low")).toBe("low");
    expect(lagClass(behind(MIB), "medium")).toBe("medium");
    expect(lagClass(behind(MIB / 2), "medium")).toBe("low");
    expect(lagClass(behind(16 * MIB), "high")).toBe("high");
    expect(lagClass(behind(8 * MIB), "high")).toBe("medium");
    expect(lagClass(behind(17 * MIB), "low")).toBe("high");
  });

  test("is unknown without a position of either", () => {
    expect(lagClass({ ...behind(0), leaderLsn: null }, null)).toBe("unknown");
    expect(lagClass({ ...behind(0), replayedLsn: null }, "low")).toBe("unknown");
  });
});

describe("tags beyond the role", () => {
  test("tell a replica's standing and lag, and anybody's site in letters that DNS takes", () => {
    expect(detailTags({ role: "replica", standing: "none", lag: "high", site: null })).toEqual(["read-only", "async", "lag-high"]);
    expect(detailTags({ role: "replica", standing: "quorum", lag: "low", site: "Süd 1" })).toEqual([
      "read-only",
      "quorum",
      "lag-low",
      "site-s-d-1",
    ]);
    expect(detailTags({ role: "primary", standing: "none", lag: "unknown", site: "east" })).toEqual(["read-only", "site-east"]);
  });

  test("PostgreSQL's version is written as people do", () => {
    expect([versionText(150_018), versionText(170_000)]).toEqual(["15.18", "17.0"]);
  });
});
