// Goal: what a restore does on the disk loses no directory, whatever moment a crash leaves behind, and touches nothing that it refuses.
// Method: real folders in each of the states that the steps go through; programs are stood in for.

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ok } from "../../../lib/model/result.ts";
import type { RunProgram } from "../../../lib/postgres/context.ts";
import { makingEnvironment } from "../../../lib/postgres/making-processes.ts";
import { finishRestore, putBack, type RestorePlace, restoreAside, whyNoRestore } from "../../../lib/postgres/restore-directory.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { serverConfig } from "../../harness/local-server.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { controlText } from "./control-text.ts";

const ID = "20260131-120000";
let folder: string;
let called: string[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-restore-"));
  called = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const data = () => join(folder, "data");
const aside = () => `${data()}.before-restore-${ID}`;
const marker = () => `${data()}.matriarch-making`;

/** A whole data directory, as far as one can see it without a program; `word` tells it from others. */
function directory(path: string, word: string): void {
  for (const inner of ["global", "pg_wal", "pg_tblspc"]) mkdirSync(join(path, inner), { recursive: true });
  writeFileSync(join(path, "PG_VERSION"), "15\n");
  writeFileSync(join(path, "global/pg_control"), "");
  writeFileSync(join(path, "word"), word);
}

const wordOf = (path: string): string | null => (existsSync(join(path, "word")) ? readFileSync(join(path, "word"), "utf8") : null);

/** Not a zombie either, which nobody has asked for its exit status yet. */
function isThere(pid: number): boolean {
  return existsSync(`/proc/${pid}/environ`) && readFileSync(`/proc/${pid}/environ`, "utf8") !== "";
}

const CONTROL = controlText({ timeline: 2 });

/** pgBackRest fails in the middle of its work; pg_controldata answers. */
const run: RunProgram = async ({ argv }) => {
  called.push(argv.at(-1) ?? "");
  if (argv[0] === "pg_controldata") return ok({ exitCode: 0, stdout: CONTROL, stderr: "" });
  mkdirSync(data(), { recursive: true });
  writeFileSync(join(data(), "half"), "");
  return ok({ exitCode: 25, stdout: "", stderr: "ERROR: no space" });
};

function place(over: Partial<RestorePlace["config"]> = {}): RestorePlace {
  const config = { ...serverConfig(folder, "data", 1), recoveryConf: { restore_command: "archive-get" }, ...over };
  const pgbackrest = { stanza: "demo", config: null, command: "pgbackrest", schedule: null };
  return { config, scope: "demo", memberName: "a", log: recordingLog(), clock: realClock(), run, pgbackrest };
}

const options = (over: { readonly timelineAbove?: number } = {}) => ({
  id: ID,
  label: "20260131-110000F",
  target: null,
  recoveryTimeline: "latest",
  systemIdentifier: "7710758555136322125",
  timelineAbove: 1,
  signal: new AbortController().signal,
  progress: () => undefined,
  ...over,
});

describe("a restore", () => {
  test("that fails keeps the old data aside, and what it had begun as half-made; the next attempt begins that anew and moves nothing", async () => {
    directory(data(), "old");
    expect(await restoreAside(place(), options())).toMatchObject({
      ok: false,
      error: { kind: "failed", message: expect.stringContaining("no space") },
    });
    expect([wordOf(aside()), readFileSync(marker(), "utf8"), readdirSync(data())]).toEqual(["old", "restore\n", ["half"]]);
    writeFileSync(join(data(), "left"), "");
    expect(await restoreAside(place(), options())).toMatchObject({ ok: false });
    expect([wordOf(aside()), readdirSync(data())]).toEqual(["old", ["half"]]);
  });

  test("recovers without archiving: the timeline of one that may be taken back is in nobody's way", async () => {
    directory(data(), "old");
    const argvs: (readonly string[])[] = [];
    const working: RunProgram = async (request) => {
      argvs.push(request.argv);
      if (request.argv[0] === "pgbackrest") directory(data(), "restored");
      return ok({ exitCode: 0, stdout: request.argv[0] === "pg_controldata" ? CONTROL : "", stderr: "" });
    };
    expect(await restoreAside({ ...place(), run: working }, options())).toEqual({ ok: true, value: { timeline: 2 } });
    const server = argvs.find((argv) => argv[0] === "postgres" && argv.includes("listen_addresses=")) ?? [];
    for (const setting of ["archive_command=", "archive_library="]) expect(server[server.indexOf(setting) - 1]).toBe("-c");
  });

  test("follows the timeline that was asked for", async () => {
    for (const recoveryTimeline of ["latest", "current", "7"]) {
      rmSync(aside(), { recursive: true, force: true });
      rmSync(data(), { recursive: true, force: true });
      directory(data(), "old");
      const working: RunProgram = async ({ argv }) => {
        if (argv[0] === "pgbackrest") directory(data(), "restored");
        return ok({ exitCode: 0, stdout: argv[0] === "pg_controldata" ? CONTROL : "", stderr: "" });
      };
      expect((await restoreAside({ ...place(), run: working }, { ...options(), recoveryTimeline })).ok).toBe(true);
      const written = readFileSync(join(data(), "postgresql.conf"), "utf8");
      expect(written).toContain(`recovery_target_timeline = '${recoveryTimeline}'`);
      rmSync(marker(), { force: true });
    }
  });

  test("that a node could not do is known while its server runs", async () => {
    directory(data(), "old");
    expect(await whyNoRestore(place())).toBeNull();
    expect(await whyNoRestore({ ...place(), pgbackrest: null })).toContain("has no such section");
    expect(await whyNoRestore(place({ recoveryConf: {} }))).toContain("restore_command is missing");
    symlinkSync("/elsewhere", join(data(), "pg_tblspc/16400"));
    expect(await whyNoRestore(place())).toBe(`${data()} has tablespaces: they are not supported here`);
  });

  test("that was recovered already is not done again, and is whole once that is made known", async () => {
    directory(aside(), "old");
    directory(data(), "restored");
    writeFileSync(marker(), "restored\n");
    expect(await restoreAside(place(), options())).toEqual({ ok: true, value: { timeline: 2 } });
    expect(called).toEqual([data()]);
    expect(await finishRestore(place())).toEqual({ ok: true, value: null });
    expect([existsSync(marker()), wordOf(data()), wordOf(aside())]).toEqual([false, "restored", "old"]);
    expect(await finishRestore(place())).toEqual({ ok: true, value: null });
  });

  test("on a timeline that the cluster has used is a failure; one that is not recovered is never taken into use", async () => {
    directory(aside(), "old");
    directory(data(), "restored");
    writeFileSync(marker(), "restored\n");
    expect(await restoreAside(place(), options({ timelineAbove: 2 }))).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining("timeline 2") },
    });
    writeFileSync(marker(), "restore\n");
    expect(await finishRestore(place())).toMatchObject({ ok: false });
    expect(existsSync(marker())).toBe(true);
  });

  test("is refused before anything is touched where the data lies in several places, is not there, or nothing could be recovered", async () => {
    directory(data(), "old");
    const refused = async (over: RestorePlace = place()) => {
      expect(await restoreAside(over, options())).toMatchObject({ ok: false, error: { kind: "refused" } });
      expect([existsSync(aside()), existsSync(marker()), called]).toEqual([false, false, []]);
    };
    await refused({ ...place(), pgbackrest: null });
    await refused(place({ recoveryConf: {} }));
    symlinkSync("/elsewhere", join(data(), "pg_tblspc/16400"));
    await refused();
    rmSync(join(data(), "pg_tblspc/16400"));
    rmSync(join(data(), "pg_wal"), { recursive: true });
    symlinkSync("/elsewhere", join(data(), "pg_wal"));
    await refused();
    rmSync(data(), { recursive: true });
    await refused();
    directory(join(folder, "real"), "old");
    symlinkSync(join(folder, "real"), data());
    await refused();
  });
});

describe("an undo", () => {
  const before: Readonly<Record<string, () => void>> = {
    "before anything was moved": () => directory(data(), "old"),
    "in the middle of the restore": () => {
      directory(aside(), "old");
      directory(data(), "restored");
      writeFileSync(marker(), "restore\n");
    },
    "as soon as the old data was put aside": () => directory(aside(), "old"),
    "in the middle of itself, with the mark still there": () => {
      directory(aside(), "old");
      directory(`${data()}.restored-${ID}`, "restored");
      writeFileSync(marker(), "restored\n");
    },
    "after it was done": () => {
      directory(data(), "old");
      directory(`${data()}.restored-${ID}`, "restored");
    },
  };

  test("ends what still writes by the path of the data directory before the old data is there", async () => {
    directory(aside(), "old");
    directory(data(), "restored");
    const left = Bun.spawn(["sleep", "600"], { env: { ...process.env, ...makingEnvironment(data()) } });
    try {
      expect(await putBack(place(), ID)).toEqual({ ok: true, value: null });
      expect([wordOf(data()), isThere(left.pid)]).toEqual(["old", false]);
    } finally {
      left.kill("SIGKILL");
    }
  });

  test.each(Object.entries(before))("%s puts the old data back, as a whole directory", async (_, arrange) => {
    arrange();
    const kept = [data(), aside(), `${data()}.restored-${ID}`].filter((path) => wordOf(path) === "restored").length;
    for (const again of [1, 2]) {
      expect([again, await putBack(place(), ID)]).toEqual([again, { ok: true, value: null }]);
      expect([wordOf(data()), existsSync(aside()), existsSync(marker())]).toEqual(["old", false, false]);
      expect(wordOf(`${data()}.restored-${ID}`)).toBe(kept > 0 ? "restored" : null);
    }
  });
});
