// Goal: pg_controldata's text becomes a value or one error that names what is missing; the state word is read directly.
// Method: output of PostgreSQL 15 in the C locale, shortened and damaged.

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lsn } from "../../../lib/model/units.ts";
import { parseControlData, readControlData, saysShutDown } from "../../../lib/postgres/control-data.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { controlText } from "./control-text.ts";

const folder = mkdtempSync(join(tmpdir(), "matriarch-control-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const TEXT = controlText({ state: "in archive recovery", timeline: 2, recoveryEnd: "0/3000148", recoveryEndTimeline: 3 });

test("every field is read", () => {
  expect(parseControlData(TEXT)).toMatchObject({
    ok: true,
    value: {
      systemIdentifier: "7710758555136322125",
      state: "in archive recovery",
      checkpointLsn: lsn(0x178c8e0),
      checkpointRedoLsn: lsn(0x178c8a8),
      timeline: 2,
      minRecoveryEnd: lsn(0x3000148),
      minRecoveryTimeline: 3,
      walLogHints: true,
      dataChecksums: true,
      maxConnections: 100,
      maxPreparedTransactions: 0,
    },
  });
});

test("no minimum recovery point is null, not position 0", () => {
  const text = TEXT.replace("0/3000148", "0/0").replace("timeline:   3", "timeline:   0");
  expect(parseControlData(text)).toMatchObject({ ok: true, value: { minRecoveryEnd: null, minRecoveryTimeline: null } });
});

test("whatever line is missing or damaged, the error names it", () => {
  for (const line of TEXT.trim().split("\n")) {
    const name = line.slice(0, line.indexOf(":"));
    if (/version number|oldestCommit/.test(name)) continue;
    expect(parseControlData(TEXT.replace(`${line}\n`, ""))).toMatchObject({ ok: false, error: { message: expect.stringContaining(name) } });
  }
  expect(parseControlData(TEXT.replace("0/178C8E0", "here")).ok).toBe(false);
  expect(parseControlData("").ok).toBe(false);
});

test("a failing or damaged pg_controldata is an error with its words", async () => {
  const clock = realClock();
  const answer = (exitCode: number, stdout: string, stderr: string) => async () =>
    ({ ok: true, value: { exitCode, stdout, stderr } }) as const;
  expect(await readControlData(answer(1, "", "could not open file"), clock, "/d")).toMatchObject({
    ok: false,
    error: { message: expect.stringContaining("could not open file") },
  });
  const warning = "pg_controldata: warning: calculated CRC checksum does not match value stored in control file\n";
  expect(await readControlData(answer(0, TEXT, warning), clock, "/d")).toMatchObject({
    ok: false,
    error: { message: expect.stringContaining("damaged") },
  });
  expect((await readControlData(answer(0, TEXT, ""), clock, "/d")).ok).toBe(true);
});

test("the state word alone tells a shutdown", async () => {
  mkdirSync(join(folder, "global"));
  const file = join(folder, "global", "pg_control");
  expect(await saysShutDown(folder)).toBe(false);
  for (const [state, expected] of [
    [0, false],
    [1, true],
    [2, true],
    [3, false],
    [6, false],
  ] as const) {
    const bytes = new Uint8Array(8192);
    new Uint32Array(bytes.buffer)[4] = state;
    writeFileSync(file, bytes);
    expect(await saysShutDown(folder)).toBe(expected);
  }
  writeFileSync(file, "short");
  expect(await saysShutDown(folder)).toBe(false);
});
