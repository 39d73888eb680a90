// Goal: a primary's loop hears of each change among its standbys that matters, and of nothing else. Method: a status that a test
// changes, and a clock that it moves.

import { describe, expect, test } from "bun:test";
import type { PostgresError } from "../../../lib/model/errors.ts";
import type { PostgresStatus } from "../../../lib/model/postgres.ts";
import { err, ok, type Result } from "../../../lib/model/result.ts";
import { lsn } from "../../../lib/model/units.ts";
import { type NearStandbys, standbysOf, watchStandbys } from "../../../lib/postgres/standby-watch.ts";
import { connection, primaryStatus } from "../core/observations.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

const seen = primaryStatus({ replication: [connection("a", { syncState: "sync" }), connection("c")], synchronousStandbyNames: "a" });

function scene(near: NearStandbys | null = null) {
  const clock = new ManualClock();
  const state: { answer: Result<PostgresStatus, PostgresError>; asked: number; told: number } = { answer: ok(seen), asked: 0, told: 0 };
  const end = watchStandbys({
    clock,
    status: () => {
      state.asked += 1;
      return Promise.resolve(state.answer);
    },
    seen,
    near,
    onChange: () => {
      state.told += 1;
    },
  });
  return { clock, state, end };
}

describe("a watch over the standbys", () => {
  test("looks once a second and tells once of a standby that is gone", async () => {
    const { clock, state } = scene();
    await clock.advance(3500);
    expect([state.asked, state.told]).toEqual([3, 0]);
    state.answer = ok({ ...seen, replication: [connection("c")] });
    await clock.advance(400);
    expect(state.told).toBe(0);
    await clock.advance(200);
    expect(state.told).toBe(1);
    await clock.advance(10_000);
    expect([state.asked, state.told]).toEqual([4, 1]);
  });

  test("tells of a standby that begins or ceases to lag too far only where that counts", async () => {
    const at = (position: number): Result<PostgresStatus, PostgresError> =>
      ok({ ...seen, replication: [connection("a", { syncState: "sync", flushLsn: lsn(position) }), connection("c")] });
    const near: NearStandbys = ({ replication }) => String(replication.map(({ flushLsn }) => (flushLsn ?? 0n) < 500n));
    const [blind, watchful] = [scene(), scene(near)];
    for (const { clock, state } of [blind, watchful]) {
      state.answer = at(501);
      await clock.advance(2500);
      expect(state.told).toBe(0);
      state.answer = at(499);
      await clock.advance(1000);
    }
    expect([blind.state.told, watchful.state.told]).toEqual([0, 1]);
  });

  test("tells of a server that does not answer", async () => {
    const { clock, state } = scene();
    state.answer = err({ kind: "timeout", message: "" });
    await clock.advance(1000);
    expect(state.told).toBe(1);
  });

  test("asks nothing once it was ended, also where an answer is under way", async () => {
    const { clock, state, end } = scene();
    end();
    await clock.advance(5000);
    expect(state.asked).toBe(0);
    const other = scene();
    other.state.answer = err({ kind: "timeout", message: "" });
    other.state.asked = 0;
    await other.clock.advance(999);
    other.end();
    await other.clock.advance(5000);
    expect(other.state.told).toBe(0);
  });
});

describe("what counts as a change", () => {
  const same = (fields: Partial<PostgresStatus>): boolean => standbysOf({ ...seen, ...fields }) === standbysOf(seen);

  test("not positions, nor the order of the rows", () => {
    expect(same({ walLsn: lsn(5000) })).toBe(true);
    expect(same({ replication: [connection("c", { flushLsn: lsn(9) }), connection("a", { syncState: "sync", flushLsn: lsn(8) })] })).toBe(
      true,
    );
  });

  test("who streams, in which state, for whom commits wait, and the server's role", () => {
    expect(same({ replication: [connection("a", { syncState: "sync" })] })).toBe(false);
    expect(same({ replication: [connection("a", { syncState: "sync" }), connection("c", { state: "catchup" })] })).toBe(false);
    expect(same({ replication: [connection("a"), connection("c", { syncState: "sync" })] })).toBe(false);
    expect(same({ synchronousStandbyNames: "c" })).toBe(false);
    expect(same({ inRecovery: true })).toBe(false);
  });
});
