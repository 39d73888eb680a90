// Goal: what an upgrade does on the disk loses no directory, whatever moment a failure or a crash leaves behind, and the operator's own files
// come along. Method: real folders and the real steps; the programs of both versions are scripts that leave what the real ones leave.

import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { revision } from "../../../../lib/model/units.ts";
import { unreadableUpgrade } from "../../../../lib/model/upgrade.ts";
import { putAsideBack } from "../../../../lib/postgres/aside.ts";
import type { PostgresContext } from "../../../../lib/postgres/context.ts";
import { programRunner } from "../../../../lib/postgres/programs.ts";
import { carriedObstacle } from "../../../../lib/postgres/upgrade/carried.ts";
import { finishUpgrade, oldDirectory, takeBack, upgradeAside, upgradedDirectory } from "../../../../lib/postgres/upgrade/directory.ts";
import { realClock } from "../../../../lib/runtime/clock.ts";
import { serverConfig } from "../../../harness/local-server.ts";
import { recordingLog } from "../../../harness/recording-log.ts";
import { controlText } from "../control-text.ts";

const ID = "20260131-120000";
const CONTROL = controlText();
let folder: string;

const data = (): string => join(folder, "data");
const aside = (): string => oldDirectory(data(), ID);
const bin = (): string => join(folder, "bin");
const whole = (path: string, major: string): void => {
  for (const inner of ["global", "pg_wal", "pg_tblspc"]) mkdirSync(join(path, inner), { recursive: true });
  writeFileSync(join(path, "PG_VERSION"), `${major}\n`);
  writeFileSync(join(path, "global/pg_control"), "");
};
const program = (name: string, script: string): void => {
  writeFileSync(join(bin(), name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin(), name), 0o755);
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-upgrade-directory-"));
  mkdirSync(bin());
  writeFileSync(join(folder, "control"), CONTROL);
  program("pg_controldata", `cat ${folder}/control`);
  program("postgres", "exit 0");
  const inside = "mkdir -p global pg_wal pg_tblspc; echo 15 >PG_VERSION; : >global/pg_control; echo trust >pg_hba.conf; : >postgresql.conf";
  program("initdb", `for word; do case $word in --pgdata=*) cd "\${word#--pgdata=}";; esac; done; ${inside}`);
  const rename = `for word; do case $word in --old-datadir=*) cd "\${word#--old-datadir=}";; esac; done; mv global/pg_control global/pg_control.old`;
  program(
    "pg_upgrade",
    `echo "$@" >>${folder}/called; ${rename}; test ! -e ${folder}/full || { echo "could not link: no space"; exit 1; }`,
  );
  whole(data(), "13");
  writeFileSync(join(folder, "rules"), "local all all scram-sha-256\n");
  symlinkSync("../rules", join(data(), "pg_hba.conf"));
  writeFileSync(join(data(), "postgresql.auto.conf"), "work_mem = '5MB'\n");
  writeFileSync(join(data(), "server.key"), "secret");
  writeFileSync(join(data(), "standby.signal"), "");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function context(): PostgresContext {
  const config = { ...serverConfig(folder, "data", 1), binDir: bin(), pgHba: null };
  const clock = realClock();
  return { config, scope: "demo", memberName: "a", log: recordingLog(), clock, run: programRunner(config, clock) };
}

const upgrade = (initdb: readonly string[] = ["--username=admin"]) =>
  upgradeAside(context(), {
    request: {
      ...unreadableUpgrade(revision(1)),
      ...{ id: ID, phase: "upgrade", node: "a", mode: "link", fromMajor: 13, toMajor: 15, binDir: bin(), initdb },
    },
    signal: new AbortController().signal,
    progress: () => undefined,
  });
const marker = (): string | null =>
  existsSync(`${data()}.matriarch-making`) ? readFileSync(`${data()}.matriarch-making`, "utf8").trim() : null;

test("an attempt that fails while it links leaves the old data aside and the new half-made; the next begins anew with the old files", async () => {
  writeFileSync(join(folder, "full"), "");
  expect(await upgrade()).toMatchObject({ ok: false, error: { message: expect.stringContaining("no space") } });
  expect([existsSync(join(aside(), "global/pg_control.old")), marker()]).toEqual([true, "upgrade"]);
  rmSync(join(folder, "full"));
  expect(await upgrade()).toEqual({ ok: true, value: "7710758555136322125" });
  expect(marker()).toBe("upgraded");
  const calls = readFileSync(join(folder, "called"), "utf8").trim().split("\n");
  expect(calls).toHaveLength(2);
  expect(calls[1]).toContain(`--link --old-bindir=${bin()} --new-bindir=${bin()} --old-datadir=${aside()} --new-datadir=${data()}`);
  expect(calls[1]).toContain("--username=admin");
  // Done is done.
  expect((await upgrade()).ok).toBe(true);
  expect(readFileSync(join(folder, "called"), "utf8").trim().split("\n")).toHaveLength(2);
  expect((await finishUpgrade(context())).ok).toBe(true);
  expect(marker()).toBeNull();
});

test("where the disk has no room to start what was made, that is told while there is a way back; with room it goes on from there", async () => {
  // Segments that no disk has room for.
  const large = ["--username=admin", "--wal-segsize=1000000000"];
  for (let time = 1; time <= 2; time += 1)
    expect(await upgrade(large)).toMatchObject({
      ok: false,
      error: { kind: "failed", message: expect.stringMatching(/^version 15 is made and whole, .*is full/) },
    });
  expect(marker()).toBe("upgraded");
  expect(await upgrade()).toMatchObject({ ok: true });
  expect(readFileSync(join(folder, "called"), "utf8").trim().split("\n")).toHaveLength(1);
  expect(await upgrade(large)).toMatchObject({ ok: false });
  expect(await takeBack(context(), { id: ID, toMajor: 15, hasServed: false })).toEqual({ ok: true, value: null });
  expect(readFileSync(join(data(), "PG_VERSION"), "utf8")).toBe("13\n");
});

test("a failure tells what a server said that pg_upgrade could not start, and not what went well", async () => {
  const log = "pg_upgrade_output.d/1/log";
  const words = `mkdir -p ${log}; echo "1 FATAL:  could not write lock file" >${log}/pg_upgrade_server.log; echo "Checking versions     ok"; echo "*failure*"`;
  program("pg_upgrade", `for word; do case $word in --new-datadir=*) cd "\${word#--new-datadir=}";; esac; done; ${words}; exit 1`);
  const failed = await upgrade();
  const message = failed.ok ? "" : failed.error.message;
  expect(message).toMatch(/^pg_upgrade: \*failure\*\n1 FATAL: {2}could not write lock file/);
});

test("the operator's own files come along, links too, and nobody is trusted by the rules of the making", async () => {
  expect((await upgrade()).ok).toBe(true);
  expect(readFileSync(join(data(), "pg_hba.conf"), "utf8")).toBe("local all all scram-sha-256\n");
  expect(readFileSync(join(data(), "postgresql.auto.conf"), "utf8")).toContain("work_mem");
  expect(readFileSync(join(data(), "server.key"), "utf8")).toBe("secret");
  expect(readdirSync(data())).not.toContain("standby.signal");
  expect(readFileSync(join(data(), "PG_VERSION"), "utf8")).toBe("15\n");
});

test("folders of the operator's come along with what is in them; those of the server, and its log, do not", async () => {
  for (const inner of ["certs/private", "log", "pg_replslot/old", "base/1"]) mkdirSync(join(data(), inner), { recursive: true });
  writeFileSync(join(data(), "certs/private/server.key"), "secret");
  chmodSync(join(data(), "certs/private/server.key"), 0o400);
  chmodSync(join(data(), "certs/private"), 0o550);
  symlinkSync("private/server.key", join(data(), "certs/key"));
  expect(await carriedObstacle(data())).toBeNull();
  expect((await upgrade()).ok).toBe(true);
  expect(readFileSync(join(data(), "certs/key"), "utf8")).toBe("secret");
  expect(["certs/private/server.key", "certs/private"].map((path) => statSync(join(data(), path)).mode & 0o777)).toEqual([0o400, 0o750]);
  for (const gone of ["log", "pg_replslot", "base"]) expect(readdirSync(data())).not.toContain(gone);
  chmodSync(join(aside(), "certs/private"), 0o700);
});

test("what is too large to come along while nobody can write is named before", async () => {
  mkdirSync(join(data(), "dumps"));
  writeFileSync(join(data(), "dumps/all.sql"), "");
  truncateSync(join(data(), "dumps/all.sql"), 257 * 1024 ** 2);
  expect(await carriedObstacle(data())).toContain("dumps in ");
});

test("before it has served it is removed when the old data comes back; afterwards it is kept; again, nothing is left to do", async () => {
  const isOld = (): boolean => readFileSync(join(data(), "PG_VERSION"), "utf8") === "13\n" && existsSync(join(data(), "global/pg_control"));
  for (const hasServed of [false, true]) {
    writeFileSync(join(folder, "full"), "");
    await upgrade();
    for (let time = 1; time <= 2; time += 1) {
      expect(await takeBack(context(), { id: ID, toMajor: 15, hasServed })).toEqual({ ok: true, value: null });
      expect([isOld(), marker(), existsSync(aside()), existsSync(upgradedDirectory(data(), ID))]).toEqual([true, null, false, hasServed]);
    }
  }
});

test("what was whole is not found whole once its removal has begun: an upgrade that goes on makes it again", async () => {
  expect((await upgrade()).ok).toBe(true);
  const release = async (): Promise<void> => {
    throw new Error("killed");
  };
  expect(await putAsideBack(context(), { aside: aside(), kept: null, release })).toMatchObject({ ok: false });
  expect(marker()).toBe("remove");
  expect((await upgrade()).ok).toBe(true);
  expect([readFileSync(join(folder, "called"), "utf8").trim().split("\n").length, marker()]).toEqual([2, "upgraded"]);
});

test("a directory that cannot be put aside as a whole is refused before anything is touched", async () => {
  mkdirSync(join(data(), "pg_tblspc/16400"));
  expect(await upgrade()).toMatchObject({ ok: false, error: { kind: "refused", message: expect.stringContaining("tablespaces") } });
  expect([existsSync(aside()), marker(), existsSync(join(folder, "called"))]).toEqual([false, null, false]);
});
