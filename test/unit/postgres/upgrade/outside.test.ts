// Goal: what lies outside of a data directory goes aside with it and comes back, whatever moment a crash leaves behind, and nothing of the old
// version is ever removed. Method: real folders and links; a crash is the state that the step before it leaves.

import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keptBeside, linkTarget } from "../../../../lib/postgres/outside-links.ts";
import { emptyDataDirectory } from "../../../../lib/postgres/remove-data-directory.ts";
import {
  backObstacle,
  bringOutsideBack,
  clearNewTablespaces,
  copyObstacle,
  outsideObstacle,
  putWalAside,
} from "../../../../lib/postgres/upgrade/outside.ts";

const ID = "20260131-120000";
let folder: string;
const data = (): string => join(folder, "data");
const aside = (): string => `${data()}.before-upgrade-${ID}`;
const wal = (): string => join(folder, "disk/wal");
const oldWal = (): string => `${wal()}.before-upgrade-${ID}`;
const space = (): string => join(folder, "space");
const outside = () => ({ aside: aside(), dataDir: data(), id: ID, toMajor: 15 });
const whose = (path: string): string | null => (existsSync(join(path, "whose")) ? readFileSync(join(path, "whose"), "utf8") : null);

function folderOf(path: string, content: string): void {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "whose"), content);
}

/** A data directory whose WAL and tablespace are elsewhere. */
function cluster(version: "old" | "new", major: number): void {
  mkdirSync(join(data(), "pg_tblspc"), { recursive: true });
  folderOf(wal(), version);
  symlinkSync("../disk/wal", join(data(), "pg_wal"));
  folderOf(join(space(), `PG_${major}_2020`), version);
  symlinkSync(space(), join(data(), "pg_tblspc/16400"));
}

beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "matriarch-outside-")));
  cluster("old", 13);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Aside, as the exchange of the directory leaves it. */
const putAside = (): void => renameSync(data(), aside());
const expectOld = (): void => {
  renameSync(aside(), data());
  expect([whose(join(data(), "pg_wal")), whose(join(data(), "pg_tblspc/16400/PG_13_2020"))]).toEqual(["old", "old"]);
  expect(readdirSync(join(folder, "disk"))).toContain("wal");
};

test("WAL goes aside with its directory, and comes back: after any number of attempts, from every state that a crash leaves", async () => {
  const states: readonly (() => Promise<void>)[] = [
    async () => {},
    async () => renameSync(wal(), oldWal()),
    async () => void (await putWalAside(outside())),
    async () => {
      await putWalAside(outside());
      cluster("new", 15);
    },
    async () => {
      await putWalAside(outside());
      // The way back was interrupted before the link led to the old place again.
      renameSync(oldWal(), wal());
    },
  ];
  for (const [index, reach] of states.entries()) {
    for (const again of [false, true]) {
      putAside();
      await reach();
      if (again && index < 4) {
        expect(await putWalAside(outside())).toBe(wal());
        expect([whose(join(aside(), "pg_wal")), readlinkSync(join(aside(), "pg_wal"))]).toEqual(["old", oldWal()]);
      }
      await bringOutsideBack(outside(), null);
      await bringOutsideBack(outside(), null);
      expect(existsSync(oldWal())).toBe(false);
      rmSync(data(), { recursive: true, force: true });
      expectOld();
    }
  }
});

test("what has served is kept with its WAL and its folders in the tablespaces; interrupted, it is done once", async () => {
  putAside();
  await putWalAside(outside());
  cluster("new", 15);
  const kept = `${data()}.upgraded-${ID}`;
  // Interrupted before the link of the new directory leads there.
  renameSync(wal(), `${wal()}.upgraded-${ID}`);
  for (let time = 1; time <= 2; time += 1) await bringOutsideBack(outside(), kept);
  renameSync(data(), kept);
  expectOld();
  expect([whose(join(kept, "pg_wal")), whose(join(space(), "PG_15_2020"))]).toEqual(["new", "new"]);
  // It shares the tablespaces: who removed the one's would remove the other's.
  expect(await keptBeside(data())).toContain(kept);
  expect(await emptyDataDirectory(data()).catch(String)).toContain("remove it first");
  expect(whose(join(space(), "PG_13_2020"))).toBe("old");
  expect(await outsideObstacle(data(), 15)).toContain("PG_15_2020 is there already");
  expect(await outsideObstacle(data(), 16)).toContain(kept);
});

test("another attempt begins without what the one before has left in the tablespaces, and the old version's folder stays", async () => {
  putAside();
  await putWalAside(outside());
  cluster("new", 15);
  await clearNewTablespaces(outside());
  expect([readdirSync(space()), readdirSync(join(data(), "pg_tblspc"))]).toEqual([["PG_13_2020"], []]);
  await emptyDataDirectory(data());
  expect(whose(join(space(), "PG_13_2020"))).toBe("old");
  // Killed before it had made its own link.
  mkdirSync(join(space(), "PG_15_2020"));
  await clearNewTablespaces(outside());
  expect(readdirSync(space())).toEqual(["PG_13_2020"]);
  // Once the old directory is in its place again, there is nothing to clear.
  rmSync(data(), { recursive: true });
  await bringOutsideBack(outside(), null);
  renameSync(aside(), data());
  await clearNewTablespaces(outside());
  expect(whose(join(data(), "pg_tblspc/16400/PG_13_2020"))).toBe("old");
});

const relink = (path: string, target: string): void => {
  rmSync(path);
  symlinkSync(target, path);
};

test("a slash at a link's end changes nothing: WAL goes aside and comes back, and two names of one tablespace are one", async () => {
  for (const target of [`${wal()}/`, "../disk/wal/", `${folder}/space/../disk/wal//`]) {
    relink(join(data(), "pg_wal"), target);
    expect(await outsideObstacle(data(), 15)).toBeNull();
    putAside();
    expect(await putWalAside(outside())).toBe(wal());
    expect(whose(oldWal())).toBe("old");
    await bringOutsideBack(outside(), null);
    expectOld();
  }
  renameSync(wal(), join(folder, "disk/real"));
  symlinkSync("real", wal());
  relink(join(data(), "pg_wal"), `${wal()}/`);
  expect(await outsideObstacle(data(), 15)).toContain("which is a link again");

  relink(join(data(), "pg_tblspc/16400"), `${space()}/`);
  symlinkSync("space", join(folder, "other-name"));
  for (const name of [space(), join(folder, "other-name")]) {
    mkdirSync(join(aside(), "pg_tblspc"), { recursive: true });
    symlinkSync(name, join(aside(), "pg_tblspc/16400"));
    expect(await keptBeside(data())).toContain(aside());
    rmSync(aside(), { recursive: true });
  }
  expect(await keptBeside(data())).toBeNull();
});

test("a link is followed as the system does: of a directory that is reached by a link, the parent is where it really lies", async () => {
  mkdirSync(join(folder, "deep/disk/wal"), { recursive: true });
  renameSync(data(), join(folder, "deep/data"));
  symlinkSync("deep/data", data());
  expect(await linkTarget(join(data(), "pg_wal"))).toBe(join(folder, "deep/disk/wal"));
});

test("old data that has lost what it has elsewhere does not come back, and nothing is touched for it", async () => {
  const back = { ...outside(), fromMajor: 13 };
  expect(await backObstacle(back)).toBeNull();
  putAside();
  expect(await backObstacle(back)).toBeNull();
  await putWalAside(outside());
  cluster("new", 15);
  expect(await backObstacle(back)).toBeNull();
  renameSync(join(space(), "PG_13_2020"), join(folder, "removed"));
  expect(await backObstacle(back)).toContain(`${space()} has no folder of version 13 any more`);
  renameSync(join(folder, "removed"), join(space(), "PG_13_2020"));
  // Then what is in its place is the new server's.
  rmSync(oldWal(), { recursive: true });
  expect(await backObstacle(back)).toContain(`${oldWal()} is not there any more`);
  expect(await putWalAside(outside()).catch(String)).toContain(`${oldWal()} is not there any more`);
});

test("an undo that is interrupted leaves no half-made directory through which the old WAL could be emptied", async () => {
  putAside();
  await putWalAside(outside());
  cluster("new", 15);
  await bringOutsideBack(outside(), null);
  await emptyDataDirectory(data());
  expect([whose(wal()), whose(join(space(), "PG_13_2020"))]).toEqual(["old", "old"]);
  // Interrupted before the link in the old directory led there; another attempt has it aside again.
  rmSync(join(aside(), "pg_wal"));
  symlinkSync(oldWal(), join(aside(), "pg_wal"));
  expect(await backObstacle({ ...outside(), fromMajor: 13 })).toBeNull();
  expect(await putWalAside(outside())).toBe(wal());
  expect([whose(oldWal()), existsSync(wal())]).toEqual(["old", false]);
  // However it came about that both lead to one WAL: it is not emptied.
  mkdirSync(data(), { recursive: true });
  symlinkSync(oldWal(), join(data(), "pg_wal"));
  expect(await emptyDataDirectory(data()).catch(String)).toContain("remove it first");
  expect(whose(oldWal())).toBe("old");
});

test("a standby whose tablespace holds anything but its own version's folder is refused, as nothing could be copied there once its data is gone", async () => {
  expect(await copyObstacle(data(), 13)).toBeNull();
  for (const name of ["lost+found", "PG_15_2022", "PG_13_2020.old"]) {
    mkdirSync(join(space(), name));
    expect(await copyObstacle(data(), 13)).toContain(`${join(space(), name)} lies in a tablespace and is not of this server`);
    rmSync(join(space(), name), { recursive: true });
  }
});

test("of a tablespace only the folder of the directory's own version is removed, and what cannot be told apart is left alone", async () => {
  mkdirSync(join(data(), "PG_VERSION"));
  expect(await emptyDataDirectory(data()).catch(String)).toContain("PG_VERSION cannot be read");
  expect([whose(wal()), whose(join(space(), "PG_13_2020"))]).toEqual(["old", "old"]);
  rmSync(join(data(), "PG_VERSION"), { recursive: true });
  writeFileSync(join(data(), "PG_VERSION"), "13\n");
  folderOf(join(space(), "PG_15_2022"), "another cluster");
  await emptyDataDirectory(data());
  expect([readdirSync(space()), readdirSync(data())]).toEqual([["PG_15_2022"], []]);
  // Cut off before it had a version, and before its links went: nothing else may be taken for its own.
  cluster("new", 13);
  expect(await emptyDataDirectory(data()).catch(String)).toContain("which of them belongs to");
  expect(readdirSync(space()).sort()).toEqual(["PG_13_2020", "PG_15_2022"]);
  rmSync(join(space(), "PG_15_2022"), { recursive: true });
  await emptyDataDirectory(data());
  expect([readdirSync(space()), readdirSync(data())]).toEqual([[], []]);
});

test("what cannot go aside is refused while nothing was changed", async () => {
  expect(await outsideObstacle(data(), 15)).toBeNull();
  renameSync(wal(), join(folder, "disk/real"));
  symlinkSync("real", wal());
  expect(await outsideObstacle(data(), 15)).toContain("which is a link again");
  rmSync(join(data(), "pg_wal"));
  symlinkSync("/proc", join(data(), "pg_wal"));
  expect(await outsideObstacle(data(), 15)).toContain("is a mount point");
  mkdirSync(join(data(), "own-wal"));
  rmSync(join(data(), "pg_wal"));
  symlinkSync("own-wal", join(data(), "pg_wal"));
  expect(await outsideObstacle(data(), 15)).toContain("a folder of the same directory");
  rmSync(join(data(), "pg_wal"));
  mkdirSync(join(data(), "inner"));
  symlinkSync(join(data(), "inner"), join(data(), "pg_tblspc/16401"));
  expect(await outsideObstacle(data(), 15)).toContain("itself, which is renamed");
});
