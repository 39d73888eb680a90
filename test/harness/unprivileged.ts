// Owns the way tests that need a real PostgreSQL run under root: PostgreSQL refuses root, so the test file runs itself
// again as an unprivileged user and passes on what that said. As an ordinary user the tests simply run.

import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface UnprivilegedUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** Under root: `postgres` where it exists, else `nobody`; null where this process is no root. Throws where neither exists. */
export function unprivilegedUser(): UnprivilegedUser | null {
  if (process.getuid?.() !== 0) return null;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid, , home] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined && gid !== undefined) return { name, uid: Number(uid), gid: Number(gid), home: home ?? "/" };
  }
  throw new Error("neither postgres nor nobody is in /etc/passwd: run the tests as an ordinary user");
}

/** All tests of a file together may take this many times what one may: on a busy machine they take minutes, and none of them hangs. */
const TOGETHER = 10;

/** As `describe`; under root it becomes one test that runs this file as an unprivileged user. `file` is import.meta.path. */
export function describeUnprivileged(
  title: string,
  options: { readonly file: string; readonly timeoutMs: number },
  body: () => void,
): void {
  const user = unprivilegedUser();
  if (user === null) {
    describe(title, body);
    return;
  }
  test(
    `${title} (as ${user.name})`,
    async () => {
      // A shell's --timeout, -t and the like are not passed on; the file says itself how long its tests take.
      const child = Bun.spawn([process.execPath, "test", "--timeout", String(options.timeoutMs), options.file], {
        uid: user.uid,
        gid: user.gid,
        env: { ...process.env, HOME: user.home, USER: user.name, LOGNAME: user.name },
        stdout: "pipe",
        stderr: "pipe",
      } as Parameters<typeof Bun.spawn>[1]);
      const [stdout, stderr] = await Promise.all([
        new Response(child.stdout as ReadableStream).text(),
        new Response(child.stderr as ReadableStream).text(),
      ]);
      const exitCode = await child.exited;
      const report = `${stdout}${stderr}`;
      if (exitCode !== 0) process.stderr.write(report);
      else process.stderr.write(report.replace(/^/gm, "    "));
      expect(exitCode).toBe(0);
    },
    TOGETHER * options.timeoutMs,
  );
}

/** A scratch folder that the user of the tests may use. */
export function scratchFolder(prefix: string): string {
  const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `${prefix}-`));
  chmodSync(folder, 0o700);
  const user = unprivilegedUser();
  if (user !== null) chownSync(folder, user.uid, user.gid);
  return folder;
}
