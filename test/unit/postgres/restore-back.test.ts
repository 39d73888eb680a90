// Goal: the way back from a restore that has led loses no directory, whatever moment a crash leaves behind, goes on with a timeline that nobody
// has used, and touches nothing that it refuses. Method: real folders in each of the states; the programs are stood in for.

import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ok } from "../../../lib/model/result.ts";
import type { RunProgram } from "../../../lib/postgres/context.ts";
import { finishWayBack, keepRestored, takeRestoreBack, whyNoWayBack } from "../../../lib/postgres/restore-back.ts";
import type { RestorePlace } from "../../../lib/postgres/restore-directory.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { serverConfig } from "../../harness/local-server.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { controlText } from "./control-text.ts";

const ID = "20260131-120000";
/** What a server takes that leaves recovery. */
const NEXT = 3;
let folder: string;
let servers: (readonly string[])[];
let promotesTo: number;
/** A directory whose data is of another cluster. */
let stranger: string | null;
/** What the DCS says of the cluster. */
let systemIdentifier: string | null;

const data = (): string => join(folder, "data");
const aside = (): string => `${data()}.before-restore-${ID}`;
const kept = (): string => `${data()}.restored-${ID}`;
const history = (path: string): string => join(path, "pg_wal/00000002.history");
const mark = (): string => `${data()}.matriarch-way-back`;
const wordOf = (path: string): string | null => (existsSync(join(path, "word")) ? readFileSync(join(path, "word"), "utf8") : null);

function directory(path: string, word: string, timeline: number): void {
  for (const inner of ["global", "pg_wal", "pg_tblspc"]) mkdirSync(join(path, inner), { recursive: true });
  writeFileSync(join(path, "PG_VERSION"), "15\n");
  writeFileSync(join(path, "global/pg_control"), String(timeline));
  writeFileSync(join(path, "word"), word);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-restore-back-"));
  servers = [];
  promotesTo = NEXT;
  stranger = null;
  systemIdentifier = null;
  directory(data(), "restored", 2);
  writeFileSync(history(data()), "1\t0/3000000\tbefore 2026\n");
  directory(aside(), "old", 1);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const run: RunProgram = async ({ argv }) => {
  if (argv[0] === "pg_controldata") {
    if (existsSync(join(argv.at(-1) ?? "", "damaged"))) return ok({ exitCode: 1, stdout: "", stderr: "could not read pg_control" });
    const timeline = readFileSync(join(argv.at(-1) ?? "", "global/pg_control"), "utf8");
    const text = controlText({ timeline: Number(timeline) });
    return ok({ exitCode: 0, stdout: argv.at(-1) === stranger ? text.replace(/identifier: +\d+/, "identifier: 1") : text, stderr: "" });
  }
  // Others are asked for their parameters alone.
  if (!argv.includes("listen_addresses=")) return ok({ exitCode: 0, stdout: "", stderr: "" });
  servers.push(argv);
  writeFileSync(join(data(), "global/pg_control"), String(promotesTo));
  rmSync(join(data(), "recovery.signal"), { force: true });
  return ok({ exitCode: 0, stdout: "", stderr: "" });
};

function place(over: Partial<RestorePlace["config"]> = {}): RestorePlace {
  const config = { ...serverConfig(folder, "data", 1), recoveryConf: { restore_command: "archive-get" }, ...over };
  const pgbackrest = { stanza: "demo", config: null, command: "pgbackrest", schedule: null };
  return { config, scope: "demo", memberName: "a", log: recordingLog(), clock: realClock(), run, pgbackrest };
}

const options = () => ({ id: ID, systemIdentifier, timelineAbove: 2, signal: new AbortController().signal, progress: () => undefined });
const back = (over?: Partial<RestorePlace["config"]>) => takeRestoreBack(place(over), options());
const words = () => [data(), aside(), kept(), `${aside()}-recovered`].map(wordOf);

const exchanged = (): void => {
  writeFileSync(history(aside()), "");
  renameSync(data(), kept());
};
const states: Readonly<Record<string, () => void>> = {
  "before anything was moved": () => undefined,
  "between the two renames": exchanged,
  "before the recovery": () => {
    exchanged();
    renameSync(aside(), data());
  },
};

test.each(Object.entries(states))(
  "begun %s, it ends with the old data on a new timeline, and what was restored beside it",
  async (_, arrange) => {
    arrange();
    for (const again of [1, 2]) {
      expect([again, await back()]).toEqual([again, ok({ timeline: NEXT })]);
      expect(words()).toEqual(["old", null, "restored", null]);
    }
    // The archive learns of the timeline when the node leads with it.
    expect(servers.map((argv) => argv.filter((word) => /^archive_(command|library)=$/.test(word)).length)).toEqual([2]);
    expect(readFileSync(join(data(), "postgresql.conf"), "utf8")).toContain("recovery_target_timeline = 'current'");
    // The server looks for it here as well, should the archive not have it yet.
    expect(existsSync(history(data()))).toBe(true);
    expect(existsSync(`${data()}.matriarch-making`)).toBe(false);
    // Until the key says that it is in force.
    expect([readFileSync(mark(), "utf8"), statSync(mark()).mode & 0o777]).toEqual([`${ID}\n`, 0o600]);
    expect([await finishWayBack(place()), existsSync(mark())]).toEqual([ok(null), false]);
  },
);

test("a timeline that was used already is a failure, and is not taken for done", async () => {
  promotesTo = 2;
  for (const attempt of [1, 2])
    expect([attempt, await back()]).toMatchObject([attempt, { ok: false, error: { message: expect.stringContaining("timeline 2") } }]);
});

test("it is refused before anything is touched where something of it is missing", async () => {
  const refused = async (why: string, over?: Partial<RestorePlace["config"]>) => {
    expect(await back(over)).toMatchObject({ ok: false, error: { kind: "refused", message: expect.stringContaining(why) } });
    expect([wordOf(data()), existsSync(kept()), existsSync(mark()), servers]).toEqual(["restored", false, false, []]);
  };
  await refused("restore_command is missing", { recoveryConf: {} });
  expect(await whyNoWayBack(place(), ID, { timelineAbove: 2, systemIdentifier })).toBeNull();
  rmSync(history(data()));
  await refused("00000002.history is missing");
  rmSync(join(aside(), "PG_VERSION"));
  await refused("is no whole data directory");
  rmSync(aside(), { recursive: true });
  await refused("is not there any more");
  expect(await whyNoWayBack(place(), ID, { timelineAbove: 2, systemIdentifier })).toContain("is not there any more");
});

test("given up, what was restored is in its place again, and the old data beside it: under its name only where no recovery may have begun", async () => {
  for (const [name, arrange] of Object.entries(states)) {
    arrange();
    writeFileSync(mark(), `${ID}\n`);
    const wasRecovered = name === "before the recovery";
    for (const again of [1, 2]) {
      expect([name, again, await keepRestored(place(), ID)]).toEqual([name, again, ok(null)]);
      expect([name, ...words()]).toEqual([name, "restored", wasRecovered ? null : "old", null, wasRecovered ? "old" : null]);
      expect([name, existsSync(mark())]).toEqual([name, false]);
    }
  }
});

test("the mark is there before anything is moved, and stays where what was restored is gone: the old data is not taken for it", async () => {
  // The first rename comes to nothing.
  rmSync(kept(), { recursive: true, force: true });
  mkdirSync(join(kept(), "in the way"), { recursive: true });
  expect(await back()).toMatchObject({ ok: false });
  expect([existsSync(mark()), wordOf(data())]).toEqual([true, "restored"]);
  rmSync(kept(), { recursive: true });
  exchanged();
  renameSync(aside(), data());
  rmSync(kept(), { recursive: true });
  expect(await keepRestored(place(), ID)).toMatchObject({ ok: false, error: { message: expect.stringContaining("not there any more") } });
  expect([existsSync(mark()), wordOf(data())]).toEqual([true, "old"]);
});

test("before anybody is stopped it is known whether the old data is free, of this cluster and version, and the histories are there", async () => {
  const why = () => whyNoWayBack(place(), ID, { timelineAbove: 2, systemIdentifier });
  expect(await why()).toBeNull();
  // Only looked at.
  expect(existsSync(history(aside()))).toBe(false);
  stranger = aside();
  expect(await why()).toContain("system identifier is 1");
  stranger = null;
  writeFileSync(join(aside(), "PG_VERSION"), "14\n");
  expect(await why()).toContain("is of PostgreSQL 14");
  writeFileSync(join(aside(), "PG_VERSION"), "15\n");
  rmSync(history(data()));
  expect(await why()).toContain("00000002.history is missing");
  writeFileSync(history(aside()), "1\t0/3000000\tbefore 2026\n");
  expect(await why()).toBeNull();
});

test("damage to what was restored is a reason to go back: the DCS says then which cluster the old data has to be of", async () => {
  writeFileSync(join(data(), "damaged"), "");
  rmSync(join(data(), "PG_VERSION"));
  const why = () => whyNoWayBack(place(), ID, { timelineAbove: 2, systemIdentifier });
  expect(await why()).toContain("could not read pg_control; and the DCS does not say which cluster this is");
  systemIdentifier = "7";
  expect(await why()).toContain("this cluster's 7");
  systemIdentifier = "7710758555136322125";
  expect(await why()).toBeNull();
  expect(await back()).toEqual(ok({ timeline: NEXT }));
  expect(words()).toEqual(["old", null, "restored", null]);
});

test("a timeline that no cluster can have come to is refused, and not counted up to", async () => {
  const why = await whyNoWayBack(place(), ID, { timelineAbove: 4_000_000_000, systemIdentifier });
  expect(why).toContain("timeline 4000000000 is too far from 1");
});

test("it is refused while a server runs in the old directory", async () => {
  // What looks like a postmaster of it: its program, its working directory, and its pid in the file.
  const program = join(folder, "postgres");
  copyFileSync(realpathSync("/bin/sh"), program);
  const server = Bun.spawn([program, "-c", "echo up; read end"], { cwd: aside(), stdin: "pipe", stdout: "pipe" });
  try {
    await server.stdout.getReader().read();
    writeFileSync(join(aside(), "postmaster.pid"), `${server.pid}\n${aside()}\n`);
    expect(await whyNoWayBack(place(), ID, { timelineAbove: 2, systemIdentifier })).toContain("still runs in");
  } finally {
    server.kill();
    await server.exited;
  }
});
