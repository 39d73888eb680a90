// Goal: whoever asks without a pause whether a restore can be taken back keeps nothing going, and an operator who has mended what was found is
// not answered from memory. Method: the real look at real folders; pg_controldata is a script that counts its calls.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unreadableRestore } from "../../../lib/model/restore.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { FreshStatus } from "../../../lib/runtime/fresh-status.ts";
import { LocalNodeService } from "../../../lib/runtime/local-node-service.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { serverConfig } from "../../harness/local-server.ts";
import type { ManualClock } from "../dcs/manual-clock.ts";
import { controlText } from "../postgres/control-text.ts";
import { Bench } from "./fenced-node.ts";

const ID = "20260131-120000";
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-way-back-look-"));
  for (const name of ["data", `data.before-restore-${ID}`]) {
    for (const inner of ["global", "pg_wal", "pg_tblspc"]) mkdirSync(join(folder, name, inner), { recursive: true });
    writeFileSync(join(folder, name, "PG_VERSION"), "15\n");
    writeFileSync(join(folder, name, "global/pg_control"), "");
  }
  writeFileSync(join(folder, "control"), controlText({ timeline: 9 }));
  writeFileSync(join(folder, "pg_controldata"), `#!/bin/sh\necho x >>${folder}/calls\ncat ${folder}/control\n`, { mode: 0o755 });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const calls = (): number => (existsSync(join(folder, "calls")) ? readFileSync(join(folder, "calls"), "utf8").trim().split("\n").length : 0);

test("one look serves those who ask together and for a moment after it; another restore is none to look for; what was mended is seen at once", async () => {
  const context = await new Bench().leader();
  const { settings } = context.state;
  const postgresql = { ...serverConfig(folder, "data", 1), binDir: folder, recoveryConf: { restore_command: "archive-get" } };
  context.state.settings = { ...settings, node: { ...settings.node, postgresql } };
  const { revision: _, ...value } = { ...unreadableRestore(revision(1)), id: ID, node: "a", phase: "done" as const };
  expect((await context.store.values.setRestoreValue(value, null, { deadline: ms(Number.MAX_SAFE_INTEGER) })).ok).toBe(true);
  await refreshCluster(context);
  const service = new LocalNodeService(context, FreshStatus.of(context), () => undefined);
  const ask = () => service.restoreObstacle(ID);

  expect(await Promise.all([ask(), ask()])).toEqual([null, null]);
  expect([await ask(), calls()]).toEqual([null, 2]);
  for (const other of ["20260131-120001", "x"]) expect(await service.restoreObstacle(other)).toContain(`is ${ID}, and not ${other}`);
  expect(calls()).toBe(2);
  await (context.clock as ManualClock).advance(1000);
  expect([await ask(), calls()]).toEqual([null, 4]);

  await (context.clock as ManualClock).advance(1000);
  const aside = join(folder, `data.before-restore-${ID}`);
  renameSync(aside, `${aside}-elsewhere`);
  expect(await ask()).toContain("is not there any more");
  renameSync(`${aside}-elsewhere`, aside);
  expect(await ask()).toBeNull();
});
