// GET /backups: the listing as it is, and a clear answer where there is none.

import { describe, expect, test } from "bun:test";
import { err } from "../../../lib/model/result.ts";
import { revision, seconds } from "../../../lib/model/units.ts";
import { apiOf } from "./asking.ts";
import { facts, NO_BACKUPS, NodeUnderTest } from "./node-under-test.ts";

test("GET /backups answers with the listing, 503 with pgBackRest's reason, and 502 where it is not configured", async () => {
  const node = new NodeUnderTest();
  const ask = apiOf(node);
  const listed = await ask("GET", "/backups");
  expect([listed.status, JSON.parse(listed.text)]).toEqual([200, { ...NO_BACKUPS, scheduled: null } as never]);
  node.listed = null;
  const without = await ask("GET", "/backups");
  expect([without.status, without.text]).toEqual([502, "pgbackrest is not configured on this node"]);
  node.listed = err({ kind: "failed", message: "pgbackrest info ended with exit status 37" });
  const failed = await ask("GET", "/backups");
  expect([failed.status, failed.text]).toEqual([503, "pgbackrest info ended with exit status 37"]);
});

test("GET /restore says what keeps the node from a restore", async () => {
  const node = new NodeUnderTest();
  const ask = apiOf(node);
  expect(JSON.parse((await ask("GET", "/restore")).text)).toEqual({ obstacle: null });
  node.obstacle = "/data has tablespaces";
  expect(JSON.parse((await ask("GET", "/restore")).text)).toEqual({ obstacle: "/data has tablespaces" });
});

describe("where backups are scheduled", () => {
  const schedule = { times: { full: "0 1 * * 0" }, timezone: "UTC", onLeader: "never", retryAfterMs: seconds(60) } as const;
  const covered = Date.parse("2026-01-01T00:00:00Z");
  const done = { node: "node2", at: covered + 1000, seconds: 7, label: "20260101-000000F" };
  const failed = { node: "node3", at: covered + 2000, attempt: 3, message: "why" };

  function scheduling(): NodeUnderTest {
    const now = facts();
    const pgbackrest = { stanza: "demo", config: null, command: "pgbackrest", schedule };
    const backup = { revision: revision(1), types: { full: { covered, done, failed } }, run: null };
    const cluster = now.cluster === null ? null : { ...now.cluster, backup };
    return new NodeUnderTest({ ...now, config: { ...now.config, pgbackrest }, cluster });
  }

  test("GET /backups says when each is due, what was done and what failed", async () => {
    const { scheduled } = JSON.parse((await apiOf(scheduling())("GET", "/backups")).text) as { scheduled: unknown };
    expect(scheduled).toEqual({
      timezone: "UTC",
      types: [
        {
          type: "full",
          time: "0 1 * * 0",
          due: Date.parse("2026-01-04T01:00:00Z") / 1000,
          done: { ...done, at: covered / 1000 + 1 },
          failed: { ...failed, at: covered / 1000 + 2, final: true },
        },
      ],
      running: null,
    });
  });

  test("GET /metrics has them by type, and nothing of them elsewhere", async () => {
    const text = (await apiOf(scheduling())("GET", "/metrics")).text;
    const value = (name: string) => new RegExp(`^matriarch_backup_${name}\\{.*type="full"\\} (\\d+)$`, "m").exec(text)?.[1];
    expect([value("last_success_timestamp_seconds"), value("last_duration_seconds"), value("failed"), value("running")]).toEqual([
      String(covered / 1000 + 1),
      "7",
      "1",
      "0",
    ]);
    expect(Number(value("overdue_seconds"))).toBeGreaterThan(0);
    expect((await apiOf(new NodeUnderTest())("GET", "/metrics")).text).not.toContain("matriarch_backup_");
  });
});
