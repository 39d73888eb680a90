// Goal: a majority that is lost for good ends nothing: what one member has on its disk goes on as a Raft of its own, others join
// that, and nobody of the old one disturbs it. While the old one could still decide, nothing is done.
// Method: the real command on the folders of real members without PostgreSQL, killed and wiped (test/full has a node with it).

import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Store } from "../../lib/dcs/store.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { runRaftCommand, type Said } from "../harness/raft-command.ts";
import { type RaftProcess, RaftProcesses } from "../harness/raft-processes.ts";
import { until } from "../harness/wait.ts";

afterAll(() => RaftProcesses.stopAll());

function recover(member: RaftProcess, ...words: readonly string[]): Promise<Said> {
  return runRaftCommand(["recover", ...words], { env: member.environment });
}

/** What every file below it holds, and which there are. */
function content(folder: string): Readonly<Record<string, string>> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name !== "lock");
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [join(parentPath, name), Bun.hash(readFileSync(join(parentPath, name))).toString(16)]),
  );
}

async function putAll(store: Store, keys: readonly string[]): Promise<void> {
  for (const key of keys) {
    const written = await store.put(key, key, { deadline: ms(realClock().now() + 10_000) });
    if (!written.ok) throw new Error(JSON.stringify(written.error));
  }
}

async function keysOf(store: Store): Promise<readonly string[]> {
  const read = await store.snapshot("k/", { deadline: ms(realClock().now() + 10_000), consistency: "consistent" });
  if (!read.ok) throw new Error(JSON.stringify(read.error));
  return read.value.entries.map(({ key }) => key);
}

describe("raft recover", () => {
  test("refuses while the others could decide, says what it would do, and makes a Raft of one that others join", async () => {
    const members = await RaftProcesses.make(3);
    await members.during(async () => {
      const [survivor, second, third] = members.members as [RaftProcess, RaftProcess, RaftProcess];
      for (const member of members.members) member.start();
      await members.untilServing(3);
      const keys = ["k/1", "k/2", "k/3"];
      await putAll(members.client(), keys);
      const old = (await members.statuses())[0]?.cluster ?? "";

      expect(await recover(survivor, "--force")).toMatchObject({
        status: 1,
        out: "",
        complaints: expect.stringContaining("another member runs in"),
      });
      await survivor.terminate();
      await until("the others have a leader", async () => (await members.statuses()).some(({ role }) => role === "leader"), {
        withinMs: 10_000,
      });
      const before = content(survivor.folder);
      const led = await recover(survivor, "--force");
      expect(led).toMatchObject({ status: 1, complaints: expect.stringMatching(/^Refused: \S+ leads a Raft, so no majority is lost/) });
      await third.kill();
      await until("nobody leads", async () => (await members.statuses()).every(({ role }) => role !== "leader"), { withinMs: 10_000 });
      const two = await recover(survivor, "--force");
      expect(two).toMatchObject({ status: 1, complaints: expect.stringContaining(`with ${second.address} a majority is there (2 of 3)`) });
      await second.kill();
      const look = await recover(survivor);
      expect(look).toMatchObject({ status: 1, complaints: "Nothing was changed. Add --force to do it.\n" });
      expect(look.out).toContain(
        `of Raft ${old}:\n  members ${members.members
          .map(({ address }) => address)
          .sort()
          .join(", ")}\n`,
      );
      expect(look.out).toContain("3 keys");
      expect(content(survivor.folder)).toEqual(before);

      const done = await recover(survivor, "--force");
      expect(done).toMatchObject({ status: 0, complaints: "" });
      const kept = /The old folder is (\S+)\.\n/.exec(done.out)?.[1] ?? "";
      expect(Object.values(content(kept)).sort()).toEqual(Object.values(before).sort());
      survivor.start();
      await members.untilServing(1);
      expect(await keysOf(members.client())).toEqual(keys);
      const [alone] = await members.statuses();
      expect(alone?.cluster).not.toBe(old);

      second.wipe();
      second.start();
      await members.untilServing(2);
      await putAll(members.client(), ["k/4"]);
      // With its old folder it belongs to a Raft that is no more: it changes nothing here.
      third.start();
      await until("it has found out", () => third.log.includes("belongs to another cluster"), { withinMs: 10_000 });
      const statuses = await members.statuses();
      expect(statuses.find(({ member }) => member.address === third.address)).toMatchObject({ cluster: old, leader: null });
      expect(statuses.filter(({ cluster }) => cluster === alone?.cluster)).toHaveLength(2);
      await third.kill();
      expect(await keysOf(members.client())).toEqual([...keys, "k/4"]);
    });
  }, 60_000);
});
