// Goal: what WAL a copied slot lacks is told right, holes and recycled segments included. Method: empty segment files of 1 MiB.

import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lsn } from "../../../lib/model/units.ts";
import { LocalWal, placeWal } from "../../../lib/postgres/missing-wal.ts";

const SIZE = 1024 * 1024;
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

const nameOf = (number: number): string => `00000001${"0".repeat(8)}${number.toString(16).toUpperCase().padStart(8, "0")}`;
const at = (number: number) => lsn(BigInt(number) * BigInt(SIZE) + 40n);

function dataDirectory(numbers: readonly number[]): string {
  const folder = mkdtempSync(join(tmpdir(), "missing-wal-"));
  folders.push(folder);
  mkdirSync(join(folder, "pg_wal/archive_status"), { recursive: true });
  for (const number of numbers) segment(folder, nameOf(number));
  return folder;
}

function segment(folder: string, name: string): void {
  writeFileSync(join(folder, "pg_wal", name), "");
  truncateSync(join(folder, "pg_wal", name), SIZE);
}

test("the whole row from a position to the newest segment counts, with its holes", async () => {
  const wal = await LocalWal.look(dataDirectory([3, 4, 5, 9, 10]), null);
  expect(wal?.missingFrom(at(9))).toEqual([]);
  expect(wal?.missingFrom(at(7))).toEqual([7n, 8n]);
  expect(wal?.missingFrom(at(3))).toEqual([6n, 7n, 8n]);
  expect([wal?.reaches(at(9)), wal?.reaches(at(3))]).toEqual([true, false]);
});

test("segments after the end of the WAL are recycled ones and do not count", async () => {
  const folder = dataDirectory([3, 9, 10, 200]);
  expect((await LocalWal.look(folder, at(10)))?.missingFrom(at(8))).toEqual([8n]);
  expect((await LocalWal.look(folder, null))?.missingFrom(at(8))).toBeNull();
});

test("a row that a restart would not leave is not fetched, however little of it is missing", async () => {
  const wal = await LocalWal.look(dataDirectory(Array.from({ length: 100 }, (_, index) => index + 10)), null);
  expect(wal?.missingFrom(at(9))).toBeNull();
  expect(wal?.missingFrom(at(10))).toEqual([]);
});

test("a folder without a segment that is whole tells nothing", async () => {
  const folder = dataDirectory([]);
  expect(await LocalWal.look(folder, null)).toBeNull();
  writeFileSync(join(folder, "pg_wal", nameOf(1)), "");
  expect(await LocalWal.look(folder, null)).toBeNull();
});

test("what was fetched is placed the newest first: interrupted, the oldest is still missing", async () => {
  const folder = dataDirectory([7]);
  for (const number of [4, 6]) segment(folder, `${nameOf(number)}.fetched`);
  await expect(placeWal(folder, [nameOf(4), nameOf(5), nameOf(6)])).rejects.toThrow("ENOENT");
  const wal = await LocalWal.look(folder, null);
  expect(wal?.missingFrom(at(4))).toEqual([4n, 5n]);
  expect(readdirSync(join(folder, "pg_wal/archive_status"))).toContain(`${nameOf(6)}.done`);
});
