import { afterAll, describe, expect, test } from "bun:test";
import { BASE, loadTree, mustLoad, removeFiles } from "./fixtures.ts";

afterAll(removeFiles);

async function faults(schedule: Record<string, unknown>): Promise<readonly string[]> {
  const loaded = await loadTree({ ...BASE, pgbackrest: { stanza: "demo", schedule } } as never);
  return loaded.ok ? [] : loaded.error.map(({ path, message }) => `${path}: ${message}`);
}

describe("pgbackrest.schedule", () => {
  test("is a cron expression for each type of backup, in one time zone; without it nothing is scheduled", async () => {
    const schedule = {
      full: "0 1 * * 0",
      incr: "*/30 * * * *",
      timezone: "Europe/Berlin",
      on_leader: "without-replica",
      retry_after: "5min",
    };
    expect((await mustLoad({ ...BASE, pgbackrest: { stanza: "demo", schedule } } as never)).config.pgbackrest?.schedule).toEqual({
      times: { full: "0 1 * * 0", incr: "*/30 * * * *" },
      timezone: "Europe/Berlin",
      onLeader: "without-replica",
      retryAfterMs: 300_000 as never,
    });
    expect((await mustLoad({ ...BASE, pgbackrest: { schedule: { diff: "@daily" } } } as never)).config.pgbackrest?.schedule).toMatchObject({
      timezone: "UTC",
      onLeader: "never",
    });
    expect((await mustLoad({ ...BASE, pgbackrest: { stanza: "demo" } } as never)).config.pgbackrest?.schedule).toBeNull();
  });

  test("that can be no schedule is a fault with its path", async () => {
    for (const full of ["61 * * * *", "* * * *", "every day", "0 0 31 2 *"])
      expect([full, await faults({ full })]).toEqual([
        full,
        [expect.stringMatching(/^pgbackrest\.schedule\.full: .* is no cron expression \(/)],
      ]);
    expect(await faults({ full: "0 1 * * 0", timezone: "Middle/Earth" })).toEqual([
      "pgbackrest.schedule.timezone: Middle/Earth is no time zone; write timezone: Europe/Berlin",
    ]);
    expect(await faults({})).toEqual(["pgbackrest.schedule: names no backup; write full: '0 1 * * 0'"]);
    expect(await faults({ full: "0 1 * * 0", on_leader: "always" })).toEqual([expect.stringContaining("pgbackrest.schedule.on_leader: ")]);
  });
});
