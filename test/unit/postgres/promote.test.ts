// Owns the tests of what a promotion makes sure of before it asks for one. The server is given: what its files say, and what it has taken.

import { expect, test } from "bun:test";
import { ms } from "../../../lib/model/units.ts";
import { promoteServer } from "../../../lib/postgres/promote.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

/** A standby that follows; `takes`: whether a reload takes what its files say (a fault in one of them: nothing is taken). */
function standby({ takes }: { readonly takes: boolean }) {
  const clock = new ManualClock();
  const server = { takes, written: "", inForce: "", inRecovery: true, reloads: 0 };
  const query = async (text: string) => {
    if (text.includes("pg_promote")) server.inRecovery = false;
    const row = { in_recovery: server.inRecovery, promoted: true, conninfo: "", receivers: 0, synchronous: server.inForce };
    return { ok: true as const, value: [row] };
  };
  const promote = async () => {
    let over = false;
    const promoted = promoteServer(
      {
        connection: { query } as unknown as Parameters<typeof promoteServer>[0]["connection"],
        clock,
        log: recordingLog(),
        detach: async (names) => {
          const changed = server.written !== (names ?? "");
          server.written = names ?? "";
          return { ok: true, value: changed };
        },
        configurePrimary: async () => ({ ok: true, value: null }),
        reload: async () => {
          server.reloads += 1;
          if (server.takes) server.inForce = server.written;
          return { ok: true, value: null };
        },
      },
      { deadline: ms(clock.now() + 60_000), synchronousStandbyNames: "b", onWritable: () => undefined },
    ).finally(() => {
      over = true;
    });
    while (!over) await clock.advance(50);
    return await promoted;
  };
  return { server, promote };
}

test("no attempt promotes a server that has not taken the names, also where their file was written by the attempt before", async () => {
  const { server, promote } = standby({ takes: false });
  const refused = { ok: false, error: { kind: "failed", message: "synchronous_standby_names did not take effect: not promoted" } } as const;
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    expect(await promote()).toEqual(refused);
    expect(server).toMatchObject({ written: "b", inForce: "", inRecovery: true });
  }
  // The fault in its files is gone.
  server.takes = true;
  expect(await promote()).toEqual({ ok: true, value: null });
  expect(server).toMatchObject({ inForce: "b", inRecovery: false });
});

test("a server that has the names in force already is promoted without a reload", async () => {
  const { server, promote } = standby({ takes: true });
  Object.assign(server, { written: "b", inForce: "b" });
  expect(await promote()).toEqual({ ok: true, value: null });
  expect(server).toMatchObject({ reloads: 0, inRecovery: false });
});
