// Goal: a member whose disk fails stops at once and says why, one whose disk is full lets others lead, one whose log is damaged
// is made whole by the others; clients notice nothing that a repetition does not mend. Method: three members in this process,
// with real folders and trouble laid over them, or done to their files.

import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { ms } from "../../lib/model/units.ts";
import { value } from "../conformance/suite-context.ts";
import { RaftMembers, type RaftPlace } from "../harness/raft-members.ts";
import { TroubledDisk } from "./fixtures/troubled-disk.ts";

const CASE_TIMEOUT_MS = 60_000;
const BUDGET_MS = 15_000;
let members: RaftMembers | null = null;

afterEach(async () => {
  await members?.close();
  members = null;
});

async function started(): Promise<{ readonly running: RaftMembers; readonly disks: readonly TroubledDisk[] }> {
  const disks: TroubledDisk[] = [];
  const running = await RaftMembers.start(3, {
    disk: (disk, place) => {
      disks[place] = new TroubledDisk(disk);
      return disks[place];
    },
  });
  members = running;
  return { running, disks };
}

const within = (running: RaftMembers) => ({ deadline: ms(running.clock.now() + BUDGET_MS) });

test(
  "a failing disk stops the leader at once, with its reason; another one leads and nothing is lost",
  async () => {
    const { running, disks } = await started();
    const leader = await running.leader();
    const store = running.remoteStore();
    value(await store.put("before", "1", within(running)));
    (disks[running.places.indexOf(leader)] as TroubledDisk).trouble = "failing";
    value(await store.put("after", "1", within(running)));
    await running.until(() => leader.stopped);
    expect(leader.stopped).toContain("cannot sync");
    expect(leader.log.lines.at(-1)).toStartWith("CRITICAL: raft: this member stops: the disk failed");
    const keys = value(await store.snapshot("", within(running))).entries.map(({ key }) => key);
    expect(keys).toEqual(["after", "before"]);
    await store.close();
  },
  CASE_TIMEOUT_MS,
);

test(
  "a full disk costs the leader its lead and no write; with room it is a member as any other",
  async () => {
    const { running, disks } = await started();
    const leader = await running.leader();
    const disk = disks[running.places.indexOf(leader)] as TroubledDisk;
    const store = running.remoteStore();
    disk.trouble = "full";
    const filler = "x".repeat(100_000);
    // Segments are about 8 MiB: the next one is prepared before the current one is full.
    for (let count = 0; count < 400 && leader.running && leader.status.disk !== "full"; count++) {
      value(await store.put("filler", `${count}${filler}`, within(running)));
    }
    await running.until(() => leader.status.disk === "full" && leader.status.role !== "leader");
    value(await store.put("while", "full", within(running)));
    expect((await running.leader()).address).not.toBe(leader.address);
    expect(leader.log.lines.join("\n")).toContain("ERROR: raft: the disk is full");
    disk.trouble = "none";
    await running.until(() => leader.status.disk === "room");
    const { revision } = value(await store.snapshot("", within(running)));
    await running.until(() => leader.status.revision === revision);
    await store.close();
  },
  CASE_TIMEOUT_MS,
);

test(
  "a bit that rotted in a member's log is found at its start; the others make it whole, and it says so",
  async () => {
    const { running } = await started();
    const leader = await running.leader();
    const rotten = running.places.find((place) => place !== leader) as RaftPlace;
    const store = running.remoteStore();
    for (let count = 0; count < 50; count++) value(await store.put(`k${count}`, "v".repeat(100), within(running)));
    await running.until(() => rotten.status.applied === leader.status.applied);
    await rotten.stop("immediate");
    flipBit(rotten.folder);
    await rotten.start();
    expect(rotten.log.lines.join("\n")).toContain("the Raft log is damaged");
    expect(rotten.status.log).toBe("damaged");
    value(await store.put("after", "1", within(running)));
    await running.until(() => rotten.status.log === "whole" && rotten.status.applied === leader.status.applied);
    await rotten.stop("immediate");
    await rotten.start();
    expect(rotten.status.log).toBe("whole");
    await store.close();
  },
  CASE_TIMEOUT_MS,
);

/** In the middle of what is written in the log's first segment. */
function flipBit(folder: string): void {
  const name = readdirSync(folder)
    .filter((file) => /^log-/.test(file))
    .sort()[0] as string;
  const file = openSync(join(folder, name), "r+");
  const bytes = Buffer.alloc(statSync(join(folder, name)).size);
  readSync(file, bytes, 0, bytes.length, 0);
  const end = bytes.findLastIndex((byte) => byte !== 0);
  const at = Math.floor(end / 2);
  writeSync(file, Buffer.from([(bytes[at] as number) ^ 4]), 0, 1, at);
  closeSync(file);
}
