// The table of `ctl backups`, in each format.

import { expect, test } from "bun:test";
import { backupTable, remarks } from "../../../../lib/cli/ctl/commands/backups.ts";
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

test("below the table stands how the scheduled ones are: when the next is due, the last that was done, and why one failed", () => {
  const full = {
    type: "full",
    time: "0 1 * * 0",
    due: 1795917600,
    done: { node: "node2", at: 1795347957, seconds: 70, label: "20261122-114447F" },
    failed: null,
  } as const;
  const incr = {
    type: "incr",
    time: "0 * * * *",
    due: null,
    done: null,
    failed: { node: "node3", at: 1795348000, attempt: 3, message: "pgbackrest backup ended with exit status 56", final: true },
  } as const;
  const running = { type: "incr", node: "node2", beganAt: 1795348100, attempt: 1 } as const;
  const lines = remarks({ ...LISTING, scheduled: { timezone: "UTC", types: [full, incr], running } }).split("\n");
  expect(lines.slice(1)).toEqual([
    " Scheduled full '0 1 * * 0' (UTC): next 2026-11-29T02:00:00Z; last 20261122-114447F on node2 at 2026-11-22T11:45:57Z, 70 s",
    " Scheduled incr '0 * * * *' (UTC): not known to the cluster yet; none was taken yet; attempt 3 failed on node3 at 2026-11-22T11:46:40Z, it is left until the next: pgbackrest backup ended with exit status 56",
    " node2 takes a scheduled incr backup since 2026-11-22T11:48:20Z (attempt 1).",
    "",
  ]);
  expect(remarks({ ...LISTING, scheduled: null })).toBe(" The archive is empty.\n");
});
