// Goal: pgBackRest is called as it has to be, and what it answers is read as it is; which backup is right for a point in time.
// Method: answers of the real pgBackRest 2.45 from a runner that stands in for the operating system.

import { describe, expect, test } from "bun:test";
import { type Backup, backupBefore } from "../../../lib/model/backup.ts";
import { ok } from "../../../lib/model/result.ts";
import { ms } from "../../../lib/model/units.ts";
import type { ProgramRequest, RunProgram } from "../../../lib/postgres/context.ts";
import { keepStanza, listBackups, type PgBackRest, readListing, restoreBackup } from "../../../lib/postgres/pgbackrest.ts";
import { realClock } from "../../../lib/runtime/clock.ts";

const CONFIG = { stanza: "demo", config: "/etc/pgbackrest.conf", command: "pgbackrest", schedule: null };
const DEADLINE = ms(60_000);

/** Answers each command with the next of its exit statuses; 0 for what is not named. */
function scripted(
  statuses: Readonly<Record<string, readonly number[]>>,
  stdout = "",
): { readonly parts: PgBackRest; readonly called: string[] } {
  const left = new Map(Object.entries(statuses).map(([command, codes]) => [command, [...codes]]));
  const called: string[] = [];
  const run: RunProgram = async ({ argv }: ProgramRequest) => {
    called.push(argv.slice(1).join(" "));
    const exitCode = left.get(argv.at(-1) ?? "")?.shift() ?? 0;
    return ok({ exitCode, stdout, stderr: exitCode === 0 ? "" : "ERROR: it says why" });
  };
  return { parts: { config: CONFIG, run, clock: realClock() }, called };
}

const quiet = (): void => undefined;
const ALWAYS = "--config=/etc/pgbackrest.conf --stanza=demo";

describe("the stanza", () => {
  test("that fits is checked and nothing else", async () => {
    const { parts, called } = scripted({});
    expect(await keepStanza(parts, quiet)).toEqual({ ok: true, value: "checked" });
    expect(called).toEqual([`${ALWAYS} check`]);
  });

  test.each([
    [55, "stanza-create", "created"],
    [28, "stanza-upgrade", "upgraded"],
    [44, "stanza-upgrade", "upgraded"],
  ] as const)("where check ends with %i: %s, and check again", async (status, command, outcome) => {
    const { parts, called } = scripted({ check: [status, 0] });
    expect(await keepStanza(parts, quiet)).toEqual({ ok: true, value: outcome });
    expect(called).toEqual(["check", command, "check"].map((word) => `${ALWAYS} ${word}`));
  });

  test("is left alone where check fails for any other reason, and no failure of a later step is hidden", async () => {
    const other = scripted({ check: [82] });
    expect(await keepStanza(other.parts, quiet)).toMatchObject({
      ok: false,
      error: { kind: "failed", message: "pgbackrest check ended with exit status 82: ERROR: it says why" },
    });
    expect(other.called.length).toBe(1);
    const create = scripted({ check: [55], "stanza-create": [50] });
    expect(await keepStanza(create.parts, quiet)).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining("stanza-create ended with exit status 50") },
    });
    const again = scripted({ check: [55, 82] });
    expect(await keepStanza(again.parts, quiet)).toMatchObject({ ok: false });
  });
});

test("a restore names the directory, the backup and no settings of recovery", async () => {
  const { parts, called } = scripted({});
  expect(await restoreBackup(parts, { dataDir: "/d", label: "20260131-120000F", delta: true })).toEqual({ ok: true, value: null });
  expect(called).toEqual([`${ALWAYS} --pg1-path=/d --set=20260131-120000F --type=none --delta restore`]);
});

const INFO = `[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000010000000000000005","min":"000000010000000000000001"},
  {"database":{"id":2,"repo-key":1},"id":"15-2","max":"000000010000000000000002","min":"000000010000000000000001"}],
  "backup":[{"archive":{"start":"000000010000000000000003","stop":"000000010000000000000003"},"backrest":{"format":5,"version":"2.45"},
  "database":{"id":1,"repo-key":1},"error":false,"info":{"delta":22992593,"repository":{"delta":3043483,"size":3043483},"size":22992593},
  "label":"20261122-114447F","lsn":{"start":"0/3000060","stop":"0/30090E8"},"prior":null,"reference":null,"timestamp":{"start":1795347887,"stop":1795347957},"type":"full"}],
  "cipher":"none","db":[{"id":1,"repo-key":1,"system-id":7710960191742694858,"version":"15"},{"id":2,"repo-key":1,"system-id":7710960191742694999,"version":"15"}],
  "name":"demo","repo":[],"status":{"code":0,"lock":{"backup":{"held":false}},"message":"ok"}}]`;

describe("what the repository holds", () => {
  test("is read with the identifier to its last digit, and the archive of the present database", async () => {
    const { parts, called } = scripted({}, INFO);
    const listed = await listBackups(parts, DEADLINE);
    expect(called).toEqual([`${ALWAYS} --output=json info`]);
    expect(listed).toMatchObject({
      ok: true,
      value: {
        stanza: "demo",
        status: { code: 0, message: "ok" },
        running: false,
        archive: { first: "000000010000000000000001", last: "000000010000000000000002" },
        backups: [
          {
            label: "20261122-114447F",
            type: "full",
            startedAt: 1795347887,
            stoppedAt: 1795347957,
            databaseBytes: 22992593,
            repositoryBytes: 3043483,
            prior: null,
            damaged: false,
            systemIdentifier: "7710960191742694858",
          },
        ],
      },
    });
  });

  test("is told where there is no stanza yet", () => {
    const text = `[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"demo","repo":[],"status":{"code":1,"lock":{"backup":{"held":false}},"message":"missing stanza path"}}]`;
    expect(readListing(text, "demo")).toMatchObject({
      ok: true,
      value: { status: { code: 1, message: "missing stanza path" }, archive: null, backups: [] },
    });
  });

  test.each(["", "{", "[]", `[{"name":"demo"}]`, "WARN: something\n[]"])("is refused where it is %p", (text) => {
    expect(readListing(text, "demo")).toMatchObject({ ok: false, error: { kind: "failed" } });
  });
});

describe("the backup for a point in time", () => {
  const at = (label: string, stoppedAt: number): Backup => ({
    label,
    type: "full",
    startedAt: stoppedAt - 5,
    stoppedAt,
    databaseBytes: 1,
    repositoryBytes: 1,
    walStart: null,
    walStop: null,
    prior: null,
    damaged: false,
    systemIdentifier: null,
  });
  const backups = [at("a", 100), at("b", 200)];

  test("is the last that was complete by then; the last of all for the latest; none before the first", () => {
    expect(backupBefore(backups, null)?.label).toBe("b");
    expect(backupBefore(backups, 201_000)?.label).toBe("b");
    // Within its last second it may not have been complete.
    expect(backupBefore(backups, 200_999)?.label).toBe("a");
    expect(backupBefore(backups, 100_999)).toBeNull();
    expect(backupBefore([], null)).toBeNull();
  });
});
