// Goal: what one member has on its disk becomes a cluster of one, and nothing of the old folder is lost.
// Method: folders written by the real storage, in a temporary folder.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeConfiguration, foundingConfiguration } from "../../../../lib/dcs/raft/core/configuration.ts";
import type { LogEntry } from "../../../../lib/dcs/raft/core/types.ts";
import { encodeEnvelope } from "../../../../lib/dcs/raft/kv/command-codec.ts";
import { KeyValueMachine } from "../../../../lib/dcs/raft/kv/machine.ts";
import { inspectRemains, recoverAlone } from "../../../../lib/dcs/raft/recover.ts";
import { openFileDisk } from "../../../../lib/dcs/raft/storage/file-disk.ts";
import { openStorage } from "../../../../lib/dcs/raft/storage/open-storage.ts";
import { logIndex, type MemberId, memberId, raftClusterId, term } from "../../../../lib/model/raft.ts";
import { recordingLog } from "../../../harness/recording-log.ts";

const log = recordingLog();
let top: string;
let folder: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "raft-recover-"));
  folder = join(top, "raft");
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

const ids = [1, 2, 3].map((number) => memberId(String(number).repeat(32)) as MemberId);
/** As the machine names a registration that stands in the first entry. */
const CLIENT = "c@1";
const members = ids.map((id, index) => ({ id, address: `node${index + 1}:5010` }));

async function open(at: string) {
  const disk = openFileDisk(at);
  if (!disk.ok) throw disk.error;
  const opened = await openStorage({ disk: disk.value, log });
  if (!opened.ok) throw new Error(opened.error.message);
  return opened.value;
}

function entry(index: number, kind: LogEntry["kind"], payload: Uint8Array): LogEntry {
  return { index: logIndex(index), term: term(3), kind, time: index * 10, payload };
}

function put(index: number, key: string): LogEntry {
  const command = { kind: "change", changes: [{ kind: "put", key, value: `value of ${key}` }] } as const;
  return entry(index, "command", encodeEnvelope({ client: CLIENT, sequence: index, acknowledged: 0, command }));
}

/** A member of a cluster of three with two keys, after term 5. */
async function writeMember(): Promise<void> {
  const { storage } = await open(folder);
  const founding = foundingConfiguration(members.slice(0, 2));
  await storage.writeIdentity({
    memberId: ids[0] as MemberId,
    clusterId: raftClusterId("c".repeat(32)),
    address: "node1:5010",
    promise: null,
    founding,
  });
  const changed = entry(2, "configuration", encodeConfiguration(foundingConfiguration(members)));
  const register = { client: null, sequence: 0, acknowledged: 0, command: { kind: "open-client", id: "c" } } as const;
  const entries = [entry(1, "command", encodeEnvelope(register)), changed, put(3, "a"), put(4, "b")];
  const durable = new Promise<void>((resolve) => {
    storage.onDurable = () => resolve();
  });
  storage.write({
    sequence: 1,
    writes: [
      { kind: "append", entries },
      { kind: "hard-state", state: { term: term(5), votedFor: ids[1] as MemberId } },
    ],
  });
  await durable;
  await storage.close();
}

/** The keys that a member would start with. */
async function keysOf(at: string): Promise<readonly string[]> {
  const { snapshot, entries, storage } = await open(at);
  const restored = snapshot === null ? null : KeyValueMachine.restore(await storage.loadSnapshot(snapshot.meta));
  await storage.close();
  expect(entries).toEqual([]);
  const found = restored?.ok ? restored.value.query({ kind: "snapshot", prefix: "", consistency: "stale" }) : null;
  return found?.ok && found.value.kind === "snapshot" ? found.value.snapshot.entries.map(({ key }) => key) : [];
}

const options = () => ({ folder, address: "node1:5010", log });

describe("recovery of a lost majority", () => {
  test("what is there is told before anything is done", async () => {
    await writeMember();
    const remains = await inspectRemains({ folder, log });
    expect(remains).toMatchObject({
      ok: true,
      value: { members: ["node1:5010", "node2:5010", "node3:5010"], lastIndex: 4, lastTerm: 3, keys: 2, damage: null },
    });
  });

  test("a new cluster of one holds every key; id and member are new, the term does not go back, the old folder stays", async () => {
    await writeMember();
    const before = readdirSync(folder);
    const recovered = await recoverAlone(options());
    if (!recovered.ok) throw new Error(recovered.error);
    const { identity, hardState, snapshot, storage } = await open(folder);
    await storage.close();
    expect(identity).toMatchObject({
      clusterId: recovered.value.clusterId,
      memberId: recovered.value.memberId,
      address: "node1:5010",
      promise: null,
    });
    expect(identity?.clusterId).not.toBe(raftClusterId("c".repeat(32)));
    expect(ids).not.toContain(identity?.memberId as MemberId);
    expect(hardState).toEqual({ term: term(5), votedFor: null });
    expect(snapshot?.meta).toMatchObject({ index: 4, term: 3, configuration: { voters: [{ address: "node1:5010" }] } } as never);
    expect(await keysOf(folder)).toEqual(["a", "b"]);
    expect(recovered.value.kept).toBe(`${folder}.before-recover`);
    expect(readdirSync(`${folder}.before-recover`)).toEqual(before);
  });

  test("it can be repeated, and each old folder is kept", async () => {
    await writeMember();
    await recoverAlone(options());
    const second = await recoverAlone(options());
    expect(second).toMatchObject({ ok: true, value: { kept: `${folder}.before-recover-2` } });
    expect(await keysOf(folder)).toEqual(["a", "b"]);
  });

  test("without a folder an empty cluster of one is made", async () => {
    const recovered = await recoverAlone(options());
    expect(recovered).toMatchObject({ ok: true, value: { kept: null } });
    const { identity, storage } = await open(folder);
    await storage.close();
    expect(identity?.founding?.voters.map(({ address }) => address)).toEqual(["node1:5010"]);
  });

  test("a folder that cannot be read is left as it is", async () => {
    await writeMember();
    writeFileSync(join(folder, "identity"), "rotten");
    const refused = await recoverAlone(options());
    expect(refused).toMatchObject({ ok: false, error: expect.stringContaining("identity") });
    expect(readFileSync(join(folder, "identity"), "utf8")).toBe("rotten");
    expect(existsSync(`${folder}.before-recover`)).toBe(false);
  });
});
