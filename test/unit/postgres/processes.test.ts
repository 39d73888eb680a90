// Goal: what /proc says is read rightly, and only this directory's server processes are ever taken for ours.
// Method: texts as the kernel writes them, and real processes (no server: those are in the integration test).

import { afterAll, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  directoryIdentity,
  isAlive,
  parseProcessStat,
  postmasterAt,
  readProcess,
  sendSignal,
  serverDirectory,
  serverProcesses,
  startEpochSeconds,
} from "../../../lib/postgres/processes.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-proc-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("a command name with spaces and brackets does not confuse the fields", () => {
  const tail = "S 12 3 4 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2 3";
  expect(parseProcessStat(`77 (post) gres (x) ${tail}`)).toEqual({ pid: 77, state: "S", parentPid: 12, startTicks: 987654 });
  expect(parseProcessStat("")).toBeNull();
  expect(parseProcessStat("77 postgres S 12")).toBeNull();
});

test("this process is alive, started lately, and a pid that never was is not", () => {
  const facts = readProcess(process.pid);
  if (facts === null) throw new Error("not found");
  expect(isAlive(facts)).toBe(true);
  expect(isAlive({ pid: facts.pid, startTicks: facts.startTicks - 1 })).toBe(false);
  const started = startEpochSeconds(facts) ?? 0;
  expect(Math.abs(Date.now() / 1000 - process.uptime() - started)).toBeLessThan(5);
  expect(readProcess(2 ** 22 + 1)).toBeNull();
});

test("another program in the data directory is neither postmaster nor one of its processes, and gets no signal by a reused pid", async () => {
  const stranger = spawn("sleep", ["30"], { cwd: folder, stdio: "ignore" });
  await new Promise((resolve) => stranger.once("spawn", resolve));
  const directory = directoryIdentity(folder);
  const pid = stranger.pid ?? 0;
  if (directory === null) throw new Error("no directory");
  expect(postmasterAt(pid, directory)).toBeNull();
  expect(serverProcesses(directory)).toEqual([]);
  const facts = readProcess(pid);
  expect(facts).not.toBeNull();
  expect(sendSignal({ pid, startTicks: (facts?.startTicks ?? 0) + 1 }, "SIGKILL")).toBe(false);
  expect(readProcess(pid)).not.toBeNull();
  const ended = new Promise((resolve) => stranger.once("exit", resolve));
  expect(sendSignal({ pid, startTicks: facts?.startTicks ?? 0 }, "SIGKILL")).toBe(true);
  await ended;
  expect(sendSignal({ pid, startTicks: facts?.startTicks ?? 0 }, "SIGKILL")).toBe(false);
});

test("a server's directory that just now cannot be looked at is what it last was; one that is gone, or never could be, is none", () => {
  const [path, other] = [join(folder, "link"), join(folder, "never")];
  symlinkSync(folder, path);
  expect(serverDirectory(path)).toEqual(directoryIdentity(folder));
  for (const loop of [path, other]) {
    rmSync(loop, { force: true });
    symlinkSync(loop, loop);
  }
  expect(serverDirectory(path)).toEqual(directoryIdentity(folder));
  expect(serverDirectory(other)).toBeNull();
  rmSync(path);
  expect(serverDirectory(path)).toBeNull();
  rmSync(other);
});

test("a directory is the same under every spelling of its path, and absent ones have no identity", () => {
  expect(directoryIdentity(`${folder}/../${folder.split("/").at(-1)}/`)).toEqual(directoryIdentity(folder));
  expect(directoryIdentity(join(folder, "absent"))).toBeNull();
});

test("with no file descriptor left a living process is alive, and no look says that nothing of a server is there", async () => {
  const script = `
    import { openSync } from "node:fs";
    import { directoryIdentity, isAlive, readProcess, serverProcesses } from ${JSON.stringify(join(import.meta.dir, "../../../lib/postgres/processes.ts"))};
    const parent = readProcess(process.ppid);
    const here = directoryIdentity("/");
    const said = (look) => { try { return look(); } catch (error) { return error.code; } };
    said(() => serverProcesses(here));
    try { for (;;) openSync("/dev/null"); } catch {}
    process.stdout.write(JSON.stringify({ parent: isAlive(parent), search: said(() => serverProcesses(here)), gone: isAlive({ pid: 2 ** 22 + 1, startTicks: 1 }) }));
  `;
  const child = Bun.spawn(["bash", "-c", 'ulimit -n 64; "$0" -e "$1"; :', process.execPath, script], { stdout: "pipe", stderr: "inherit" });
  expect(JSON.parse(await new Response(child.stdout).text())).toEqual({ parent: true, search: "EMFILE", gone: false });
});
