// The node's run lock: one holder, gone with its process, never inside the data directory.

import { afterAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { acquireRunLock, runLockHolder, runLockOwner, runLockPath, stateDir, whyUnusable } from "../../../lib/runtime/run-lock.ts";

const folder = realpathSync(mkdtempSync(join(tmpdir(), "run-lock-")));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("stateDir", () => {
  test("lies beside the data directory, whether that exists or not", () => {
    expect(stateDir(join(folder, "none"))).toBe(join(folder, "none.matriarch"));
    mkdirSync(join(folder, "there"));
    expect(stateDir(join(folder, "there"))).toBe(join(folder, "there.matriarch"));
    expect(stateDir(`${join(folder, "there")}/`)).toBe(join(folder, "there.matriarch"));
  });

  test("is one for all spellings of a data directory", () => {
    mkdirSync(join(folder, "real"));
    symlinkSync(join(folder, "real"), join(folder, "link"));
    expect(stateDir(join(folder, "link"))).toBe(stateDir(join(folder, "real")));
  });
});

describe("acquireRunLock", () => {
  test("the second one is refused and told who has it; released, it is free", () => {
    const path = runLockPath(join(folder, "a"));
    const first = acquireRunLock(path);
    if (!first.ok) throw new Error("not acquired");
    expect(acquireRunLock(path)).toEqual({ ok: false, error: { kind: "held", holderPid: process.pid } });
    expect(runLockHolder(path)).toBe(process.pid);
    first.value.release();
    expect(runLockHolder(path)).toBeNull();
    const second = acquireRunLock(path);
    if (!second.ok) throw new Error("not acquired");
    expect(second.value.token).not.toBe(first.value.token);
    // Releasing twice must not give up what somebody else has got since.
    first.value.release();
    expect(runLockHolder(path)).toBe(process.pid);
    second.value.release();
  });

  test("those who only look disturb neither each other nor a start", async () => {
    const path = runLockPath(join(folder, "looked-at"));
    const first = acquireRunLock(path, "leader-race");
    if (!first.ok) throw new Error("not acquired");
    expect(runLockOwner(path)).toEqual({ pid: process.pid, worker: "leader-race" });
    first.value.release();
    const looker = spawn("flock", ["--shared", path, "sh", "-c", "echo; exec sleep 0.05"], { stdio: ["ignore", "pipe", "ignore"] });
    const gone = new Promise((resolve) => looker.once("exit", resolve));
    await firstLines(looker.stdout, 1);
    while (looker.exitCode === null) {
      expect(runLockOwner(path)).toBeNull();
      await Bun.sleep(1);
    }
    await gone;
    const second = acquireRunLock(path);
    if (!second.ok) throw new Error("not acquired");
    second.value.release();
  });

  test("only its owner can read the token, and the data directory stays absent", () => {
    const path = runLockPath(join(folder, "b"));
    const lock = acquireRunLock(path);
    if (!lock.ok) throw new Error("not acquired");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "b.matriarch")).mode & 0o777).toBe(0o700);
    expect(readFileSync(path, "utf8")).toMatch(new RegExp(`^${process.pid} \\d+ ${lock.value.token}\n$`));
    expect(readdirSync(folder)).not.toContain("b");
    lock.value.release();
  });

  test("a folder that cannot be made is one clear error with its path", () => {
    const result = acquireRunLock("/proc/nothing/run.lock");
    if (result.ok || result.error.kind !== "unusable") throw new Error("expected unusable");
    expect(result.error.path).toBe("/proc/nothing/run.lock");
    expect(result.error.message).toContain("/proc/nothing");
  });

  test("SIGKILL of the holder frees it, although a child of the holder lives on", async () => {
    const path = runLockPath(join(folder, "c"));
    const script = `
      import { acquireRunLock } from ${JSON.stringify(new URL("../../../lib/runtime/run-lock.ts", import.meta.url).pathname)};
      import { spawn } from "node:child_process";
      const lock = acquireRunLock(${JSON.stringify(path)});
      console.log(lock.ok);
      // It says its own number: by then it has become another program, and has closed what it inherited for a moment.
      spawn("sh", ["-c", "echo $$; exec sleep 20"], { detached: true, stdio: ["ignore", "inherit", "ignore"] });
      setInterval(() => undefined, 1000);`;
    const holder = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    const [acquired, childPid] = await firstLines(holder.stdout, 2);
    expect(acquired).toBe("true");
    expect(acquireRunLock(path)).toEqual({ ok: false, error: { kind: "held", holderPid: holder.pid ?? 0 } });
    const ended = new Promise((resolve) => holder.once("exit", resolve));
    holder.kill("SIGKILL");
    await ended;
    const lock = acquireRunLock(path);
    expect(lock.ok).toBe(true);
    process.kill(Number(childPid), "SIGKILL");
  });
});

test("a place that cannot be used is told with what to do about it: read-only, full, or not ours", () => {
  const told = (code: string) => whyUnusable("/state/lock", Object.assign(new Error(`${code}: open '/state/lock'`), { code }));
  expect(told("EROFS")).toBe("/state/lock: EROFS: open '/state/lock' (mount the file system writable, then start again)");
  expect(told("ENOSPC")).toBe("/state/lock: ENOSPC: open '/state/lock' (make room on the disk, then start again)");
  expect(told("EACCES")).toBe("/state/lock: EACCES: open '/state/lock' (make /state once, owned by the user that runs this node)");
});

function firstLines(stream: Readable, count: number): Promise<readonly string[]> {
  return new Promise((resolve) => {
    let text = "";
    stream.on("data", (data: Buffer) => {
      text += data.toString();
      const lines = text.split("\n");
      if (lines.length > count) resolve(lines.slice(0, count));
    });
  });
}
