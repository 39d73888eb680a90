// Owns the tests of what a promotion makes sure of before it asks for one. The server is given: what its files say, and what it has taken.

import { expect, test } from "bun:test";
import { ms } from "../../../lib/model/units.ts";
import { promoteServer } from "../../../lib/postgres/promote.ts";
import { CHECKPOINTER_TAKES_MAX_MS, type CommitWaiting } from "../../../lib/postgres/waiting-commits.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

interface Given {
  /** Whether a reload takes what its files say (a fault in one of them: nothing is taken). */
  readonly takes: boolean;
  /** When the checkpointer has taken the names, in ms; "unknown": nobody can tell. */
  readonly waitsAt?: number | "unknown";
  /** The sync key names standbys already. */
  readonly namesHold?: boolean;
}

/** A standby that follows. */
function standby({ takes, waitsAt = 0, namesHold = false }: Given) {
  const clock = new ManualClock();
  const log = recordingLog();
  const server = { takes, written: "", inForce: "", inRecovery: true, reloads: 0, waitedFor: null as boolean | null };
  const waits = (): CommitWaiting => (waitsAt === "unknown" ? "unknown" : clock.now() >= waitsAt ? "yes" : "not-yet");
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
        log,
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
        commitsWait: async () => ({ ok: true, value: waits() }),
      },
      {
        deadline: ms(clock.now() + 60_000),
        synchronousStandbyNames: "b",
        namesHold,
        onWritable: (commitsWait) => {
          server.waitedFor = commitsWait;
        },
      },
    ).finally(() => {
      over = true;
    });
    while (!over) await clock.advance(50);
    return await promoted;
  };
  return { clock, log, server, promote };
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

test("is promoted once the checkpointer has taken the names: until then commits wait for nobody, whatever a session shows", async () => {
  const { clock, server, promote } = standby({ takes: true, waitsAt: 700, namesHold: true });
  const begun = clock.now();
  expect(await promote()).toEqual({ ok: true, value: null });
  expect(server).toMatchObject({ inRecovery: false, waitedFor: true });
  expect(clock.now() - begun).toBeGreaterThanOrEqual(700);
});

test("a busy checkpointer refuses the promotion where the sync key names standbys, and only there", async () => {
  const waitsAt = CHECKPOINTER_TAKES_MAX_MS + 60_000;
  const held = standby({ takes: true, waitsAt, namesHold: true });
  expect(await held.promote()).toMatchObject({ ok: false, error: { kind: "failed", message: expect.stringContaining("not promoted") } });
  expect(held.server).toMatchObject({ inRecovery: true, waitedFor: null });
  // Nobody may take over by what the key says: that commits are not waited for is told, and clients go on.
  const free = standby({ takes: true, waitsAt });
  expect(await free.promote()).toEqual({ ok: true, value: null });
  expect(free.server).toMatchObject({ inRecovery: false, waitedFor: false });
  expect(free.log.lines.join()).toContain("commits may be acknowledged without a standby");
});

test("where nobody can tell it is promoted, and nothing is said to be waited for", async () => {
  const { server, promote } = standby({ takes: true, waitsAt: "unknown", namesHold: true });
  expect(await promote()).toEqual({ ok: true, value: null });
  expect(server).toMatchObject({ inRecovery: false, waitedFor: false });
});
