// Goal: an immediate stop ends the server also where nothing can be looked at any more. Method: the real stop of what looks like a postmaster,
// with looks that fail as they do where no file descriptor is left.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Postmaster } from "../../../lib/postgres/postmaster.ts";
import { stopServer } from "../../../lib/postgres/stop.ts";
import { recordingLog } from "../../harness/recording-log.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-stop-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("with no file descriptor left an immediate stop signals the postmaster last seen, and has failed, as nobody can see what is left", async () => {
  // Its program, its working directory, and its pid in the file.
  const program = join(folder, "postgres");
  copyFileSync(realpathSync("/bin/sh"), program);
  // Some shells ignore this signal unless they are told not to.
  const server = Bun.spawn([program, "-c", "trap 'exit 7' QUIT; echo up; read end"], { cwd: folder, stdin: "pipe", stdout: "pipe" });
  // It stands still: the end is waited for, however long it takes.
  const [clock, log] = [new ManualClock(), recordingLog()];
  const postmaster = new Postmaster({ dataDir: folder, clock, log });
  try {
    await server.stdout.getReader().read();
    writeFileSync(join(folder, "postmaster.pid"), `${server.pid}\n${folder}\n`);
    expect((await postmaster.adopt())?.pid).toBe(server.pid);
    const noneLeft = (): Error => Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
    postmaster.find = () => Promise.reject(noneLeft());
    postmaster.processes = () => {
      throw noneLeft();
    };
    const on = { postmaster, dataDir: folder, clock, log, readControlData: () => Promise.reject(noneLeft()) };
    await expect(stopServer(on, { mode: "immediate", deadline: clock.now() })).rejects.toThrow("EMFILE");
    // Where the signal was not sent this one ends it.
    server.kill("SIGTERM");
    await server.exited;
    expect([server.exitCode, server.signalCode]).toEqual([7, null]);
    expect(log.lines.join("\n")).toContain(`the postmaster last seen (pid ${server.pid}) is stopped`);
  } finally {
    server.kill("SIGKILL");
    await postmaster.close();
  }
});
