// Goal: the search that every test run ends with finds a secret wherever it may not be, and leaves alone what is meant to hold one.

import { afterAll, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CommandLineWatch, SECRET_MARK, secretsInFiles } from "../../../scripts/suite/secret-search.ts";
import { PASSWORDS } from "../../harness/passwords.ts";

const folder = mkdtempSync(join(tmpdir(), "search-unit."));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function put(name: string, text: string, mode = 0o600): void {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  chmodSync(path, mode);
}

test("every secret of the harness has the mark that is looked for, and no two are alike", () => {
  const all = Object.values(PASSWORDS);
  expect(all.filter((secret) => !secret.startsWith(SECRET_MARK))).toEqual([]);
  expect(new Set(all).size).toBe(all.length);
});

test("a secret is found in logs, binary files and settings, and in a configuration that others may read", async () => {
  put("node1/node.yml", `password: ${PASSWORDS.superuser}`);
  put("node1/pgpass", `*:*:*:*:${PASSWORDS.replication}`);
  put("node1/secret-token", PASSWORDS.raft);
  put("node1/data/base/1/2", PASSWORDS.rewind);
  put("node1/supervisor.log", "all is well\n");
  expect(spawnSync("mkfifo", [join(folder, "node1/watchdog")]).status).toBe(0);
  expect(await secretsInFiles(folder)).toEqual([]);
  put("node1/supervisor.log", `ERROR: cannot connect with password=${PASSWORDS.superuser}\n`, 0o644);
  put("node1/data/postgresql.auto.conf", `primary_conninfo = 'password=${PASSWORDS.replication}'\n`);
  put("node1/raft/log", `\0\u0001${PASSWORDS.raft}\0`);
  put("node2/node.yml", `password: ${PASSWORDS.superuser}`, 0o644);
  expect([...(await secretsInFiles(folder))].sort()).toEqual([
    "node1/data/postgresql.auto.conf",
    "node1/raft/log",
    "node1/supervisor.log",
    "node2/node.yml (mode 644)",
  ]);
});

test("a secret on a command line is told of the stage that the process belongs to, and of no other", async () => {
  const watch = new CommandLineWatch("TEST_SEARCH_ID");
  // Without the mark of the run that this test is a part of: its own watch would see it too.
  const child = spawn("/bin/sh", ["-c", "echo on; read line", PASSWORDS.superuser], { env: { TEST_SEARCH_ID: "1" }, stdio: "pipe" });
  try {
    await once(child.stdout, "data");
    watch.look();
    expect(watch.take("TEST_SEARCH_ID=2")).toEqual([]);
    expect(watch.take("TEST_SEARCH_ID=1")).toEqual(["the command line of sh"]);
    child.stdin.end("off\n");
    await once(child, "exit");
    expect(watch.take("TEST_SEARCH_ID=1")).toEqual([]);
  } finally {
    watch.end();
    child.kill("SIGKILL");
  }
});
