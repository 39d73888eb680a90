// Goal: the segment with the shutdown checkpoint goes where the archiver's command says, and a failure is told, not thrown.
// Method: the real command runner; a stand-in for pg_controldata that says what the case wants.

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { archiveShutdownCheckpoint } from "../../../lib/postgres/archive-checkpoint.ts";
import { programRunner } from "../../../lib/postgres/programs.ts";
import { clock, serverConfig } from "../../harness/local-server.ts";
import { recordingLog } from "../../harness/recording-log.ts";

const SEGMENT = "000000020000000000000009";
const folder = mkdtempSync(join(tmpdir(), "matriarch-archive-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The lines of the log after archiving by that command. */
async function archived(command: string | null, state = "shut down"): Promise<readonly string[]> {
  const [dataDir, binDir] = [join(folder, "data"), join(folder, "bin")];
  for (const each of [join(dataDir, "pg_wal"), binDir]) mkdirSync(each, { recursive: true });
  writeFileSync(join(dataDir, "pg_wal", SEGMENT), "its content");
  const says = `Database cluster state:               ${state}\\nLatest checkpoint's REDO WAL file:    ${SEGMENT}\\n`;
  writeFileSync(join(binDir, "pg_controldata"), `#!/bin/sh\nprintf "${says}"\n`, { mode: 0o755 });
  const config = { ...serverConfig(dataDir, "a", 1), dataDir, binDir };
  const log = recordingLog();
  await archiveShutdownCheckpoint({ config, scope: "herd", memberName: "a", log, clock, run: programRunner(config, clock) }, command);
  return log.lines;
}

test("it is archived from the data directory, with the archiver's marks", async () => {
  expect(await archived(`cp %p ${folder}/%f && echo 100%% > ${folder}/done`)).toEqual([
    `INFO: archived ${SEGMENT}, which ends with the shutdown checkpoint`,
  ]);
  expect(readFileSync(join(folder, SEGMENT), "utf8")).toBe("its content");
  expect(readFileSync(join(folder, "done"), "utf8")).toBe("100%\n");
});

test("a command that fails, a server that was not shut down and one that archives nothing are told", async () => {
  const [failed] = await archived("echo no space >&2; exit 3");
  expect(failed).toStartWith("ERROR: Failed to archive WAL file with the shutdown checkpoint: ");
  expect(failed).toContain("archive_command ended with exit status 3: no space");
  const [crashed] = await archived(`cp %p ${folder}/%f`, "in production");
  expect(crashed).toContain('there is no shutdown checkpoint: the server is "in production"');
  expect(await archived(null)).toEqual(["INFO: Not archiving latest checkpoint WAL file. Archiving is not configured."]);
});
