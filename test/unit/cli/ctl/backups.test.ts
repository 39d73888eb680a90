// The table of `ctl backups`, in each format.

import { expect, test } from "bun:test";
import { backupTable } from "../../../../lib/cli/ctl/commands/backups.ts";
import { formatListing } from "../../../../lib/cli/ctl/formats.ts";
import type { BackupListing } from "../../../../lib/model/backup.ts";

const LISTING: BackupListing = {
  stanza: "demo",
  status: { code: 0, message: "ok" },
  running: false,
  archive: null,
  backups: [
    {
      label: "20261122-114447F",
      type: "full",
      startedAt: 1795347887,
      stoppedAt: 1795347957,
      databaseBytes: 22_992_593,
      repositoryBytes: 3_043_483,
      walStart: "000000010000000000000003",
      walStop: "000000010000000000000003",
      prior: null,
      damaged: false,
      systemIdentifier: "7710960191742694858",
    },
  ],
};

test("a backup is shown with its end in UTC, its length and its sizes; a cell that says nothing is left out of JSON", () => {
  const table = backupTable(LISTING);
  expect(JSON.parse(formatListing(table, "json"))).toEqual([
    {
      Backup: "20261122-114447F",
      Type: "full",
      Stop: "2026-11-22T11:45:57Z",
      Seconds: 70,
      "Database MB": 21.9,
      "Added MB": 2.9,
      "WAL start": "000000010000000000000003",
      "WAL stop": "000000010000000000000003",
    },
  ]);
  expect(formatListing(table, "tsv").split("\n")[1]).toBe(
    "20261122-114447F\tfull\t2026-11-22T11:45:57Z\t70\t21.9\t2.9\t000000010000000000000003\t000000010000000000000003\t",
  );
  expect(formatListing(table, "pretty")).toContain("+ Stanza: demo ");
});

test("a damaged backup says so", () => {
  const [backup] = LISTING.backups;
  if (backup === undefined) throw new Error("there is one above");
  expect(backupTable({ ...LISTING, backups: [{ ...backup, damaged: true }] }).rows[0]?.["Remark"]).toBe("pages with wrong checksums");
});
