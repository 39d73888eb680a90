// Goal: a directory is told apart by its contents alone, and nothing in it is changed by looking.
// Method: directories as they are found in the field, each with the answer that must be given.

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { timeline } from "../../../lib/model/units.ts";
import {
  inspectDataDirectory,
  inspectPostmaster,
  parsePostmasterPid,
  readMajorVersion,
  readPostmasterPid,
  readTimelineSwitches,
} from "../../../lib/postgres/data-directory.ts";
import { makingMarkerPath } from "../../../lib/postgres/making-marker.ts";

const root = mkdtempSync(join(tmpdir(), "matriarch-dir-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function directory(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, content] of Object.entries(files)) {
    mkdirSync(join(path, file, ".."), { recursive: true });
    writeFileSync(join(path, file), content);
  }
  return path;
}

const COMPLETE = { PG_VERSION: "15\n", "global/pg_control": "x" };

test("absent, empty, complete and foreign directories are told apart", async () => {
  expect(await inspectDataDirectory(join(root, "nowhere"))).toEqual({ kind: "absent" });
  expect(await inspectDataDirectory(directory("empty", {}))).toEqual({ kind: "empty" });
  const complete = directory("complete", COMPLETE);
  expect(await inspectDataDirectory(complete)).toEqual({ kind: "valid", majorVersion: 15 });
  symlinkSync(complete, join(root, "link"));
  expect(await inspectDataDirectory(join(root, "link"))).toEqual({ kind: "valid", majorVersion: 15 });
  expect(await inspectDataDirectory(directory("thesis", { "b.txt": "", "a.txt": "" }))).toEqual({
    kind: "foreign",
    sample: "a.txt, b.txt",
  });
  expect((await inspectDataDirectory(directory("version-only", { PG_VERSION: "15" }))).kind).toBe("foreign");
  expect((await inspectDataDirectory(directory("odd-version", { ...COMPLETE, PG_VERSION: "fifteen" }))).kind).toBe("foreign");
  expect((await inspectDataDirectory(directory("mount", { "lost+found/x": "" }))).kind).toBe("foreign");
  writeFileSync(join(root, "file"), "");
  expect(await inspectDataDirectory(join(root, "file"))).toMatchObject({ kind: "foreign", sample: expect.stringContaining("ENOTDIR") });
});

test("our marker beside the directory makes it half-made, whatever is in it already", async () => {
  const half = directory("half", COMPLETE);
  writeFileSync(makingMarkerPath(half), "clone\n");
  expect(await inspectDataDirectory(half)).toEqual({ kind: "half-made", by: "clone" });
  const emptied = directory("emptied", {});
  writeFileSync(makingMarkerPath(emptied), "initdb\n");
  expect(await inspectDataDirectory(emptied)).toEqual({ kind: "empty" });
});

test("what is there and cannot be read is not taken for absent: no half-made directory looks whole by it, nor a whole one half", async () => {
  const unread = async (path: string) => {
    const found = await inspectDataDirectory(path);
    expect(found).toMatchObject({ kind: "foreign", unread: true, sample: expect.stringContaining("cannot be read: ") });
  };
  const marked = directory("marked", COMPLETE);
  mkdirSync(makingMarkerPath(marked));
  await unread(marked);
  const version = directory("version", { "PG_VERSION/x": "", "global/pg_control": "x" });
  await unread(version);
  expect(await readMajorVersion(version)).toMatchObject({ ok: false, error: { kind: "failed" } });
  const looping = directory("looping", { PG_VERSION: "15\n" });
  symlinkSync("global", join(looping, "global"));
  await unread(looping);
  expect(await readMajorVersion(looping)).toEqual({ ok: true, value: 15 });
  expect(await readMajorVersion(join(root, "nowhere"))).toMatchObject({ ok: false, error: { kind: "refused" } });
  const history = directory("unread-history", { "pg_wal/00000002.history/x": "" });
  expect(await readTimelineSwitches(history, timeline(2))).toMatchObject({
    ok: false,
    error: { message: expect.stringContaining("cannot be read: ") },
  });
  expect(await readPostmasterPid(directory("unread-pid", { "postmaster.pid/x": "" }))).toBeNull();
});

test("postmaster.pid is read line by line, also while it is being written", () => {
  const text = "7279\n/data\n1795300898\n21400\n/run/pg\n127.0.0.1\n  2146630         4\nready   \n";
  expect(parsePostmasterPid(text, "/data")).toEqual({
    pid: 7279,
    startEpochSeconds: 1795300898,
    port: 21400,
    socketDirectory: "/run/pg",
    listenAddress: "127.0.0.1",
    status: "ready",
  });
  expect(parsePostmasterPid("7279\n/data\n1795300898\n5432\n\n\n", "/data")).toMatchObject({
    socketDirectory: null,
    listenAddress: null,
    status: null,
  });
  expect(parsePostmasterPid("7279\n/data\n1\n5432\nsockets\n*\n", "/data")).toMatchObject({
    socketDirectory: "/data/sockets",
    listenAddress: "*",
  });
  expect(parsePostmasterPid("7279\n/data\n1\n5432\n@abstract\n", "/data")?.socketDirectory).toBeNull();
  expect(parsePostmasterPid("-7279\n", "/data")?.pid).toBe(7279);
  for (const broken of ["", "\n", "abc\n", "0\n"]) expect(parsePostmasterPid(broken, "/data")).toBeNull();
});

test("a postmaster.pid without its process is no server", async () => {
  const stale = directory("stale", { ...COMPLETE, "postmaster.pid": `${process.pid}\n/x\n1\n5432\n/tmp\n*\n1 1\nready   \n` });
  expect(await inspectPostmaster(stale)).toEqual({ kind: "none" });
  expect((await readPostmasterPid(stale))?.pid).toBe(process.pid);
  expect(await inspectPostmaster(join(root, "nowhere"))).toEqual({ kind: "none" });
});

test("timeline history comes from pg_wal, and a missing file is an error, not an empty history", async () => {
  const path = directory("timelines", { "pg_wal/00000003.history": "1\t0/5000060\tno recovery target specified\n2\t0/6000000\tx\n" });
  const found = await readTimelineSwitches(path, timeline(3));
  expect(found.ok && found.value.map((line) => line.timeline as number)).toEqual([1, 2]);
  expect(await readTimelineSwitches(path, timeline(1))).toEqual({ ok: true, value: [] });
  expect(await readTimelineSwitches(path, timeline(4))).toMatchObject({ ok: false, error: { kind: "failed" } });
});
