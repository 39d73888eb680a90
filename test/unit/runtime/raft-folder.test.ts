import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RaftClusterId, raftClusterId } from "../../../lib/model/raft.ts";
import { lockRaftFolder, mayFound, noteRaftOfData, raftOfData } from "../../../lib/runtime/raft-folder.ts";

let top: string;
let data: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "raft-folder-"));
  data = join(top, "data");
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

const ID = raftClusterId("a".repeat(32)) as RaftClusterId;
const OTHER = raftClusterId("b".repeat(32)) as RaftClusterId;

describe("the Raft of PostgreSQL's data", () => {
  test("only an absent or empty data directory may found one, unless the operator adopts the data", () => {
    expect(mayFound(data, "careful")).toBe(true);
    mkdirSync(data);
    expect(mayFound(data, "careful")).toBe(true);
    writeFileSync(join(data, "PG_VERSION"), "15\n");
    expect(mayFound(data, "careful")).toBe(false);
    expect(mayFound(data, "adopt")).toBe(true);
  });

  test("is written once known, replaced where it is another one, and readable by nobody else", async () => {
    expect(raftOfData(data)).toBeNull();
    mkdirSync(data);
    expect(raftOfData(data)).toBeNull();
    expect(await noteRaftOfData(data, ID)).toBe(false);
    expect(raftOfData(data)).toBe(ID);
    expect(statSync(join(data, "matriarch.raft")).mode & 0o777).toBe(0o600);
    expect(await noteRaftOfData(data, ID)).toBe(false);
    expect(await noteRaftOfData(data, OTHER)).toBe(true);
    expect(raftOfData(data)).toBe(OTHER);
  });

  test("a file that holds something else says nothing", () => {
    mkdirSync(data);
    writeFileSync(join(data, "matriarch.raft"), "not an identity\n");
    expect(raftOfData(data)).toBeNull();
  });
});

test("a member's folder is used by one process at a time", () => {
  const folder = join(top, "raft");
  const first = lockRaftFolder(folder, "supervisor");
  if (!first.ok) throw new Error(first.error.message);
  expect(lockRaftFolder(folder, "raft recover")).toMatchObject({
    ok: false,
    error: { kind: "held", message: expect.stringContaining(`another member runs in ${folder} (pid ${process.pid})`) },
  });
  first.value.release();
  const again = lockRaftFolder(folder, "raft recover");
  expect(again.ok).toBe(true);
  if (again.ok) again.value.release();
});
