// Goal: programs run to their end with their output kept within bounds; a deadline or a signal ends them and what they
// started; our own secrets do not reach PostgreSQL's programs.
// Method: real programs of every Unix, and scripts standing in for PostgreSQL's.

import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresqlConfig } from "../../../lib/model/node-config.ts";
import { ms } from "../../../lib/model/units.ts";
import { readProcess } from "../../../lib/postgres/processes.ts";
import { findProgram, programPath, programRunner, serverEnvironment } from "../../../lib/postgres/programs.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { serverConfig } from "../../harness/local-server.ts";
import { ownMs } from "../../harness/stall.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-programs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const clock = realClock();
const config: PostgresqlConfig = { ...serverConfig(folder, "none", 1), binDir: folder, binName: { pg_controldata: "my_controldata" } };
const run = programRunner(config, clock);

function script(name: string, text: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`);
  chmodSync(join(folder, name), 0o755);
}

test("output, exit status, input and lines of a program come back", async () => {
  const lines: string[] = [];
  const outcome = await run({
    argv: ["sh", "-c", "cat; printf 'a\\rb\\nc'; echo oops >&2; exit 3"],
    stdin: "in ",
    onLine: (line, stream) => lines.push(`${stream} ${line}`),
  });
  expect(outcome).toEqual({ ok: true, value: { exitCode: 3, stdout: "in a\rb\nc", stderr: "oops\n" } });
  expect(lines.sort()).toEqual(["stderr oops", "stdout b", "stdout c", "stdout in a"]);
});

test("one that leaves a daemon behind with its output is not waited for, ended by itself or by its deadline", async () => {
  const left = await run({ argv: ["sh", "-c", "setsid sleep 60 & echo $!"] });
  expect(left).toMatchObject({ ok: true, value: { exitCode: 0 } });
  if (left.ok) process.kill(Number(left.value.stdout), "SIGKILL");
  const late = await run({ argv: ["sh", "-c", "sleep 61; true"], deadline: ms(clock.now() + 100), stdin: "" });
  expect(late).toMatchObject({ ok: false, error: { kind: "timeout" } });
}, 120_000);

test("words that no program can be given are an error", async () => {
  expect(await run({ argv: [""] })).toMatchObject({ ok: false, error: { kind: "failed" } });
  expect(await run({ argv: ["sh", "-c", "a\0b"] })).toMatchObject({ ok: false, error: { kind: "failed" } });
});

test("our own secrets stay out where that is asked for", async () => {
  process.env["PATRONI_SUPERUSER_PASSWORD"] = "hidden";
  try {
    const argv = ["sh", "-c", "echo [$PATRONI_SUPERUSER_PASSWORD]"];
    expect(await run({ argv, withoutSecrets: true })).toMatchObject({ value: { stdout: "[]\n" } });
    expect(await run({ argv })).toMatchObject({ value: { stdout: "[hidden]\n" } });
  } finally {
    delete process.env["PATRONI_SUPERUSER_PASSWORD"];
  }
});

test("a program that cannot be started is an error that names it", async () => {
  expect(await run({ argv: ["pg_rewind"] })).toMatchObject({
    ok: false,
    error: { kind: "failed", message: expect.stringContaining("pg_rewind") },
  });
  expect(await run({ argv: [] })).toMatchObject({ ok: false, error: { kind: "failed" } });
});

test("a deadline ends the program and everything it started", async () => {
  let child = 0;
  const began = performance.now();
  const outcome = await run({
    argv: ["sh", "-c", "sleep 30 & echo $!; wait"],
    deadline: ms(clock.now() + 100),
    onLine: (line) => {
      child = Number(line);
    },
  });
  expect(outcome).toMatchObject({ ok: false, error: { kind: "timeout" } });
  // Whoever waited for the child would wait half a minute.
  expect(ownMs(began)).toBeLessThan(15_000);
  while (readProcess(child) !== null) await Bun.sleep(1);
});

test("a signal ends a program that ignores SIGTERM, and one that is aborted already never starts", async () => {
  const controller = new AbortController();
  const running = run({
    argv: ["sh", "-c", "trap '' TERM; echo ready; sleep 30; sleep 30"],
    signal: controller.signal,
    onLine: () => controller.abort(),
  });
  expect(await running).toMatchObject({ ok: false, error: { kind: "cancelled" } });
  expect(await run({ argv: ["sh", "-c", "exit 0"], signal: controller.signal })).toMatchObject({ ok: false, error: { kind: "cancelled" } });
}, 120_000);

test("PostgreSQL's programs are taken from bin_dir by their configured names, others from PATH", async () => {
  script("my_controldata", 'echo "mine $1"');
  expect(await run({ argv: ["pg_controldata", "-D"] })).toMatchObject({ ok: true, value: { stdout: "mine -D\n" } });
  expect(programPath({ binDir: "", binName: {} }, "postgres")).toBe("postgres");
  expect(programPath({ binDir: "/opt/bin", binName: { postgres: "edb-postgres" } }, "postgres")).toBe("/opt/bin/edb-postgres");
  expect(findProgram(config, "pg_controldata")).toBe(join(folder, "my_controldata"));
  expect(findProgram(config, "initdb")).toBeNull();
  expect(findProgram({ binDir: "", binName: {} }, "sh")).not.toBeNull();
});

test("our own configuration in the environment stays out of the server and of PostgreSQL's programs", async () => {
  process.env["PATRONI_SUPERUSER_PASSWORD"] = "s3cr3t";
  try {
    expect(Object.values(serverEnvironment())).not.toContain("s3cr3t");
    script("initdb", "env");
    const own = await run({ argv: ["initdb"], env: { PGPASSFILE: "/f" } });
    expect(own.ok && own.value.stdout).not.toContain("s3cr3t");
    expect(own.ok && own.value.stdout).toContain("PGPASSFILE=/f");
    // A script of the operator sees what the operator set.
    const theirs = await run({ argv: ["env"] });
    expect(theirs.ok && theirs.value.stdout).toContain("s3cr3t");
  } finally {
    delete process.env["PATRONI_SUPERUSER_PASSWORD"];
  }
});
