// Owns what is done when a majority of the members is lost for good: a new cluster of one, made from what one member has on
// its disk. Works on folders alone, while no member runs there; the old folder is kept as it was.

import { randomBytes } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import type { Log } from "../../model/log.ts";
import { logIndex, type MemberId, memberId, type RaftClusterId, raftClusterId, type Term, term } from "../../model/raft.ts";
import { err, ok, type Result } from "../../model/result.ts";
import { decodeConfiguration, foundingConfiguration } from "./core/configuration.ts";
import type { Configuration, LogEntry } from "./core/types.ts";
import { KeyValueMachine } from "./kv/machine.ts";
import { openFileDisk, syncFolderNow } from "./storage/file-disk.ts";
import { type OpenedStorage, openStorage } from "./storage/open-storage.ts";

/** What one member's folder holds: who belonged to its cluster, and how far its log reaches. */
export interface Remains {
  readonly memberId: MemberId | null;
  readonly clusterId: RaftClusterId | null;
  /** The members of the configuration in force at the end of the log; empty where there is none. */
  readonly members: readonly string[];
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly keys: number;
  /** Why the log cannot be read to its end; null where it can. */
  readonly damage: string | null;
}

export interface Recovered {
  readonly clusterId: RaftClusterId;
  readonly memberId: MemberId;
  /** Where the folder of before is now; null where there was none. */
  readonly kept: string | null;
}

interface RecoverOptions {
  readonly folder: string;
  /** `raft.self_addr` of the member that goes on. */
  readonly address: string;
  readonly log: Log;
}

/** Looks; changes nothing but what every start completes (a torn end of the log). The error says why it cannot be read. */
export async function inspectRemains(options: Pick<RecoverOptions, "folder" | "log">): Promise<Result<Remains, string>> {
  const read = await readFolder(options);
  return read.ok ? ok(read.value.remains) : read;
}

/**
 * A cluster of this member alone, with a new id, holding every key that the folder has: entries that were never committed may
 * be among them. Nobody of the old cluster can speak to it. The folder is replaced at the end, in two renames; the old one
 * stays beside it. The error says what could not be done; then the folder is as it was.
 */
export async function recoverAlone(options: RecoverOptions): Promise<Result<Recovered, string>> {
  const read = existsSync(options.folder) ? await readFolder(options) : ok(NOTHING);
  if (!read.ok) return read;
  const making = `${options.folder}.recovering`;
  rmSync(making, { recursive: true, force: true });
  const made = await writeFolder(making, options, read.value);
  if (!made.ok) return made;
  const kept = existsSync(options.folder) ? freeName(`${options.folder}.before-recover`) : null;
  try {
    if (kept !== null) renameSync(options.folder, kept);
    renameSync(making, options.folder);
    syncFolderNow(dirname(options.folder));
  } catch (error) {
    return err(`${options.folder} cannot be replaced: ${error instanceof Error ? error.message : String(error)}`);
  }
  return ok({ ...made.value, kept });
}

interface FolderContent {
  readonly remains: Remains;
  readonly machine: KeyValueMachine;
  readonly time: number;
  readonly hardTerm: Term;
}

const NOTHING: FolderContent = {
  remains: { memberId: null, clusterId: null, members: [], lastIndex: 0, lastTerm: 0, keys: 0, damage: null },
  machine: new KeyValueMachine(),
  time: 0,
  hardTerm: term(0),
};

async function readFolder({ folder, log }: Pick<RecoverOptions, "folder" | "log">): Promise<Result<FolderContent, string>> {
  const disk = openFileDisk(folder);
  if (!disk.ok) return err(disk.error.message);
  const opened = await openStorage({ disk: disk.value, log });
  if (!opened.ok) return err(opened.error.message);
  try {
    return await replay(opened.value);
  } finally {
    await opened.value.storage.close();
  }
}

/** Everything that is readable counts as committed: nobody is left who could say otherwise. */
async function replay(opened: OpenedStorage): Promise<Result<FolderContent, string>> {
  const { snapshot, entries, identity } = opened;
  let machine = new KeyValueMachine();
  if (snapshot !== null) {
    const restored = KeyValueMachine.restore(await opened.storage.loadSnapshot(snapshot.meta));
    if (!restored.ok) return err(`the snapshot at ${snapshot.meta.index} cannot be read: ${restored.error}`);
    machine = restored.value;
  }
  let configuration: Configuration | null = snapshot?.meta.configuration ?? identity?.founding ?? null;
  let last: Pick<LogEntry, "index" | "term" | "time"> = snapshot?.meta ?? { index: logIndex(0), term: term(0), time: 0 };
  for (const entry of entries) {
    if (entry.kind === "command") machine.apply(entry);
    else machine.noop(entry.index, entry.time);
    if (entry.kind === "configuration") configuration = decodeConfiguration(entry.payload);
    last = entry;
  }
  const remains: Remains = {
    memberId: identity?.memberId ?? null,
    clusterId: identity?.clusterId ?? null,
    members: configuration?.voters.map(({ address }) => address) ?? [],
    lastIndex: last.index,
    lastTerm: last.term,
    keys: machine.counts.keys,
    damage: opened.damage,
  };
  return ok({ remains, machine, time: last.time, hardTerm: opened.hardState.term });
}

async function writeFolder(
  folder: string,
  { address, log }: RecoverOptions,
  content: FolderContent,
): Promise<Result<Pick<Recovered, "clusterId" | "memberId">, string>> {
  const disk = openFileDisk(folder);
  if (!disk.ok) return err(disk.error.message);
  const opened = await openStorage({ disk: disk.value, log });
  if (!opened.ok) return err(opened.error.message);
  const { storage } = opened.value;
  const ids = { clusterId: drawn(raftClusterId), memberId: drawn(memberId) };
  const founding = foundingConfiguration([{ id: ids.memberId, address }]);
  const { lastIndex, lastTerm } = content.remains;
  try {
    await storage.writeIdentity({ ...ids, address, promise: null, founding });
    if (lastIndex > 0) {
      const index = logIndex(lastIndex);
      const meta = { index, term: term(lastTerm), time: content.time, configuration: founding, configurationIndex: index };
      await storage.saveSnapshot(meta, content.machine.snapshot());
    }
    await written(storage, content);
    return ok(ids);
  } catch (error) {
    return err(`the new cluster cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    await storage.close();
  }
}

/** The term never goes back, and the log goes on behind the snapshot. Rejects with the disk's error. */
function written(storage: OpenedStorage["storage"], { remains, hardTerm }: FolderContent): Promise<void> {
  return new Promise((resolve, reject) => {
    storage.onDurable = () => resolve();
    storage.onFailure = reject;
    const state = { term: term(Math.max(hardTerm, remains.lastTerm)), votedFor: null };
    const reset = { kind: "reset", index: logIndex(remains.lastIndex), term: term(remains.lastTerm) } as const;
    storage.write({ sequence: 1, writes: [...(remains.lastIndex > 0 ? [reset] : []), { kind: "hard-state", state }] });
  });
}

function drawn<T>(read: (text: string) => T | null): T {
  const id = read(randomBytes(16).toString("hex"));
  if (id === null) throw new Error("128 random bits are no identity");
  return id;
}

/** `name`, or the first of `name-2`, `name-3` … that is not taken. */
function freeName(name: string): string {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`;
    if (!existsSync(candidate)) return candidate;
  }
}
