// Goal: an answer of the status query becomes a status, and an answer of another form one clear error.
// Method: rows as PostgreSQL 15 gives them, varied.

import { expect, test } from "bun:test";
import { lsn, ms } from "../../../lib/model/units.ts";
import { decodeStatus } from "../../../lib/postgres/status.ts";

const PRIMARY = {
  backend_pid: 11442,
  postmaster_start_time: "2026-11-21 22:41:38.800610+00:00",
  postmaster_start_epoch: 1795300898.80061,
  server_version: 150018,
  system_identifier: "7710758555136322125",
  in_recovery: false,
  wal_lsn: "0/178CA30",
  received_lsn: null,
  replayed_lsn: null,
  replay_timestamp: null,
  replay_paused: false,
  timeline: 1,
  receiver_status: null,
  sender_host: null,
  sender_port: null,
  receiver_slot: null,
  replication: null,
  slots: null,
  synchronous_standby_names: "",
  primary_conninfo: "",
  primary_slot_name: "",
  restore_command: "",
};
const REPLICA = { ...PRIMARY, in_recovery: true, wal_lsn: null, received_lsn: "1/0", replayed_lsn: "0/FFFFFFFF", timeline: 3 };

function decoded(row: Record<string, unknown>) {
  const status = decodeStatus(row, ms(5));
  if (!status.ok) throw new Error(status.error.message);
  return status.value;
}

test("a primary's and a replica's answer keep their positions and the instant of the question", () => {
  expect(decoded(PRIMARY)).toMatchObject({
    askedAt: ms(5),
    walLsn: lsn(0x178ca30),
    receivedLsn: null,
    replication: [],
    slots: [],
    walReceiver: null,
  });
  expect(decoded(REPLICA)).toMatchObject({ receivedLsn: lsn(2n ** 32n), replayedLsn: lsn(0xffffffff), timeline: 3, walLsn: null });
});

test("a replica streams, reads the archive, or does neither", () => {
  expect(decoded(REPLICA).replicationState).toBeNull();
  expect(decoded({ ...REPLICA, restore_command: "cp" }).replicationState).toBe("in archive recovery");
  const receiver = { receiver_status: "streaming", sender_host: "h", sender_port: 5433, receiver_slot: "s" };
  expect(decoded({ ...REPLICA, restore_command: "cp", ...receiver })).toMatchObject({
    replicationState: "streaming",
    walReceiver: { senderHost: "h", senderPort: 5433, slotName: "s" },
  });
  expect(decoded({ ...REPLICA, ...receiver, receiver_status: "waiting" }).replicationState).toBeNull();
  expect(decoded({ ...PRIMARY, restore_command: "cp" }).replicationState).toBeNull();
});

test("timeline 0 of a control file without recovery is no timeline", () => {
  expect(decoded({ ...REPLICA, timeline: 0 }).timeline).toBeNull();
});

test("an answer of another form is one error that names the field", () => {
  for (const [row, field] of [
    [{ ...PRIMARY, wal_lsn: "12" }, "wal_lsn"],
    [{ ...PRIMARY, in_recovery: null }, "in_recovery"],
    [{ ...PRIMARY, slots: [{ name: "a" }] }, "slots.0"],
  ] as const) {
    expect(decodeStatus(row, ms(0))).toMatchObject({ ok: false, error: { kind: "failed", message: expect.stringContaining(field) } });
  }
  expect(decodeStatus(undefined, ms(0)).ok).toBe(false);
});
