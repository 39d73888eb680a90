// Goal: the rehearsal of an upgrade never starts the old data directory, meets what the new version does not take from the operator's own files,
// and leaves nothing behind. Method: a real server of PostgreSQL 13 alone, and the programs of the installed version, one of them in disguise.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ok } from "../../lib/model/result.ts";
import { readPostmasterPid } from "../../lib/postgres/data-directory.ts";
import { rehearsalEnvironment } from "../../lib/postgres/making-processes.ts";
import { rehearse } from "../../lib/postgres/upgrade/rehearsal.ts";
import { readServerFacts } from "../../lib/postgres/upgrade/server-facts.ts";
import { clock, discard, type LocalServer, newServer, postgresBinDir, program } from "../harness/local-server.ts";
import { postgres13 } from "../harness/other-postgresql.ts";
import { serverPorts } from "../harness/ports.ts";
import { describeUnprivileged, scratchFolder } from "../harness/unprivileged.ts";

const LIMIT_MS = 400_000;
const [PORT] = (await serverPorts(1)) as [number];
const OLD = postgres13();

describeUnprivileged("a rehearsal beside a server", { file: import.meta.path, timeoutMs: LIMIT_MS }, () => {
  const next = postgresBinDir();
  let folder = "";
  let server: LocalServer;

  const pgCtl = (...words: readonly string[]): string => program(server.config, "pg_ctl", ["-D", server.dataDir, "-w", ...words]);
  const start = (): string =>
    pgCtl("-l", join(folder, "log"), "-o", `-p ${PORT} -c unix_socket_directories=${folder} -c listen_addresses=127.0.0.1`, "start");

  beforeAll(() => {
    folder = scratchFolder("matriarch-rehearsal");
    server = newServer(folder, "data", PORT, { binDir: OLD });
    start();
  }, LIMIT_MS);
  afterAll(async () => {
    await discard(server);
    rmSync(folder, { recursive: true, force: true });
  });

  async function rehearsed(newBinDir = next, signal?: AbortSignal) {
    const pidFile = await readPostmasterPid(server.dataDir);
    if (pidFile === null) throw new Error("the server does not run");
    const facts = await readServerFacts(server.config, pidFile, clock);
    if (!facts.ok) throw new Error(facts.error);
    return await rehearse({
      ...{ config: server.config, port: PORT, facts: facts.value, newBinDir, newMajor: 15, mode: "link" as const, clock },
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** The new programs, with one that does something else first. */
  function disguised(name: string, first: string): string {
    const bin = join(folder, "bin");
    rmSync(bin, { recursive: true, force: true });
    mkdirSync(bin);
    for (const entry of readdirSync(next)) if (entry !== name) symlinkSync(join(next, entry), join(bin, entry));
    writeFileSync(join(bin, name), `#!/bin/sh\n${first}\nexec ${join(next, name)} "$@"\n`);
    chmodSync(join(bin, name), 0o755);
    return bin;
  }

  const leftovers = (): readonly string[] => readdirSync(folder).filter((name) => name.startsWith(".matriarch-upgrade"));
  const controlState = (): string => /cluster state: +(.*)/.exec(program(server.config, "pg_controldata", [server.dataDir]))?.[1] ?? "";

  test(
    "the operator's settings and folders are rehearsed with it: what the new version does not know is named",
    async () => {
      mkdirSync(join(server.dataDir, "conf.d"));
      writeFileSync(join(server.dataDir, "conf.d/own.conf"), "work_mem = '5MB'\n");
      writeFileSync(join(server.dataDir, "postgresql.base.conf"), "include_dir 'conf.d'\n");
      expect(await rehearsed()).toEqual(ok(null));
      // Gone since 15; from 14 on.
      writeFileSync(join(server.dataDir, "conf.d/own.conf"), "operator_precedence_warning = off\n");
      expect(await rehearsed()).toEqual({ ok: false, error: expect.stringContaining("operator_precedence_warning") });
      rmSync(join(server.dataDir, "conf.d/own.conf"));
      expect(leftovers()).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "what a killed supervisor's rehearsal has left is ended and removed, and one that is called off leaves nothing",
    async () => {
      mkdirSync(join(folder, ".matriarch-upgrade-data-AbCdE1/data"), { recursive: true });
      mkdirSync(join(folder, ".matriarch-upgrade-data-x-AbCdE1"));
      const left = Bun.spawn(["sleep", "1000"], { env: { PATH: process.env["PATH"] ?? "", ...rehearsalEnvironment(server.dataDir) } });
      expect(await rehearsed()).toEqual(ok(null));
      expect(await left.exited).not.toBe(0);
      // That of another data directory stays.
      expect(leftovers()).toEqual([".matriarch-upgrade-data-x-AbCdE1"]);
      rmSync(join(folder, ".matriarch-upgrade-data-x-AbCdE1"), { recursive: true });

      const stop = new AbortController();
      const reached = join(folder, "reached");
      const off = rehearsed(disguised("pg_upgrade", `: >${reached}; sleep 1000`), stop.signal);
      while (!existsSync(reached)) await Bun.sleep(10);
      stop.abort();
      expect(await off).toEqual({ ok: false, error: expect.stringContaining("ended") });
      expect(leftovers()).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "a primary that dies in its midst is not started by it, neither with nor without the file of its pid",
    async () => {
      const pidFile = join(server.dataDir, "postmaster.pid");
      // A process that its parent has not waited for counts as running: the file names one that certainly has ended, or is gone.
      const stale = `true & ended=$!; wait $ended; sed -i "1s/.*/$ended/" ${pidFile}`;
      for (const [round, last] of [stale, `rm ${pidFile}`].entries()) {
        const pid = readFileSync(pidFile, "utf8").split("\n")[0];
        // Its children work in the data directory, too, and no server starts before they have let go of its memory.
        const gone = `kill -9 ${pid}; while ls -l /proc/[0-9]*/cwd 2>/dev/null | grep -q "${server.dataDir}$"; do sleep 0.01; done`;
        expect((await rehearsed(disguised("pg_upgrade", `${gone}\n${last}`))).ok).toBe(false);
        // Whoever starts it recovers it, and leaves another word there when it stops.
        expect(controlState()).toBe("in production");
        expect(readFileSync(join(folder, "log"), "utf8").match(/ready to accept connections/g)).toHaveLength(round + 1);
        for (const held of [pidFile, join(folder, `.s.PGSQL.${PORT}.lock`)]) rmSync(held, { force: true });
        start();
      }
      expect(leftovers()).toEqual([]);
    },
    LIMIT_MS,
  );
});
