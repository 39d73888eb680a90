// Goal: the way back of an upgrade is repeatable up to the moment in which the key says that the old data serves, and is given up only where
// the old data is known to be gone. Method: the real effects over a memory store and real folders; the node's file is a fake that fails.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { err, ok } from "../../../lib/model/result.ts";
import { lsn, ms, revision, timeline } from "../../../lib/model/units.ts";
import { type UpgradeRequest, unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import { oldDirectory, upgradedDirectory } from "../../../lib/postgres/upgrade/directory.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { NO_FILE, type NodeFile } from "../../../lib/runtime/node-file.ts";
import { refreshCluster } from "../../../lib/runtime/perform-dcs.ts";
import { renewLock } from "../../../lib/runtime/perform-lock.ts";
import { upgradeCluster, writeUpgrade } from "../../../lib/runtime/perform-upgrade.ts";
import { UpgradePart } from "../../../lib/runtime/upgrade-part.ts";
import type { ManualClock } from "../dcs/manual-clock.ts";
import { Bench } from "./fenced-node.ts";

const ID = "20260131-120000";
const OLD = "7300000000000000001";
const NEW = "7300000000000000002";
const ALL = { deadline: ms(Number.MAX_SAFE_INTEGER) };
let folder: string;
const data = (): string => join(folder, "data");

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-perform-upgrade-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A directory as far as it is looked at: the system identifier, and then what another version's programs could not read. */
function dataOf(path: string, identifier: string): void {
  mkdirSync(join(path, "global"), { recursive: true });
  const control = Buffer.alloc(512, 7);
  control.writeBigUInt64LE(BigInt(identifier));
  writeFileSync(join(path, "global/pg_control"), control);
}

/** The node that upgrades: it holds the lock, and its server is down. */
async function upgrading(fields: Partial<UpgradeRequest>): Promise<NodeContext> {
  const context = await new Bench().leader();
  const { settings } = context.state;
  const postgresql = { ...settings.node.postgresql, dataDir: data(), binDir: join(folder, "no-programs") };
  context.state.settings = { ...settings, node: { ...settings.node, postgresql } };
  const { revision: _, ...value } = {
    ...unreadableUpgrade(revision(1)),
    ...{ id: ID, phase: "upgrade" as const, direction: "back" as const, node: "a", mode: "copy" as const, message: null },
    ...{ fromMajor: 17, toMajor: 18, binDir: "/18/bin", fromIdentifier: OLD, identifier: NEW, ...fields },
  };
  expect((await context.store.values.setUpgradeValue(value, null, ALL)).ok).toBe(true);
  const lines = [{ timeline: timeline(1), lsn: lsn(5), reason: "promoted", time: null, newLeader: "a" }];
  expect((await context.store.values.setHistoryValue(lines, ALL)).ok).toBe(true);
  await refreshCluster(context);
  return context;
}

const CHECKPOINT = lsn(900);
/** What pg_controldata says of the stopped server. */
function stoppedAs(context: NodeContext, state: string): void {
  const positions = { checkpointLsn: CHECKPOINT, checkpointRedoLsn: CHECKPOINT, minRecoveryEnd: null, minRecoveryTimeline: null };
  const limits = { maxConnections: 100, maxWorkerProcesses: 8, maxWalSenders: 10, maxPreparedTransactions: 0, maxLocksPerTransaction: 64 };
  const control = { systemIdentifier: OLD, state, timeline: timeline(1), walLogHints: true, dataChecksums: true };
  context.postgres.controlData = async () => ok({ ...control, ...positions, ...limits });
}

const back = (context: NodeContext) => upgradeCluster(context, "forward", new AbortController().signal);
const request = (context: NodeContext): UpgradeRequest => context.state.cluster?.upgrade as UpgradeRequest;
const file = (takeBack: NodeFile["takeBack"]): NodeFile => ({ ...NO_FILE, takeBack });

test("back: the key does not say that the old data serves before history and the node's file fit it; what failed is done again", async () => {
  const context = await upgrading({});
  dataOf(data(), NEW);
  dataOf(oldDirectory(data(), ID), OLD);
  const seen: { phase: string; history: number }[] = [];
  let answer = false;
  context.state.nodeFile = file(async () => {
    await refreshCluster(context);
    seen.push({ phase: request(context).phase, history: context.state.cluster?.history.length ?? -1 });
    return answer ? ok(null) : err("node.yml: no space left on device");
  });
  expect(await back(context)).toEqual({ ok: false, message: "node.yml: no space left on device" });
  // The old data is in its place without any mark by then: the phase alone has it come back to what is left to do.
  expect([request(context).phase, existsSync(oldDirectory(data(), ID)), existsSync(upgradedDirectory(data(), ID))]).toEqual([
    "upgrade",
    false,
    true,
  ]);
  answer = true;
  expect(await back(context)).toMatchObject({ ok: true });
  expect(seen).toEqual([
    { phase: "upgrade", history: 0 },
    { phase: "upgrade", history: 0 },
  ]);
  expect(request(context)).toMatchObject({ phase: "clone", direction: "back" });
  expect(context.state.cluster?.initialize).toBe(OLD);
});

test("back: old data in its place is known whichever version's programs are in force; removed, everybody stays; unreadable, an operator looks", async () => {
  const context = await upgrading({});
  context.state.nodeFile = file(async () => ok(null));
  dataOf(data(), NEW);
  expect(await back(context)).toMatchObject({ ok: false, message: expect.stringContaining("is not there any more") });
  expect(request(context)).toMatchObject({ phase: "done", direction: "forward" });

  const again = await upgrading({});
  again.state.nodeFile = file(async () => ok(null));
  renameSync(join(data(), "global/pg_control"), join(folder, "elsewhere"));
  expect(await back(again)).toMatchObject({ ok: false, message: expect.stringContaining("ENOENT") });
  expect(request(again)).toMatchObject({ phase: "failed", direction: "back" });

  const whole = await upgrading({});
  whole.state.nodeFile = file(async () => ok(null));
  dataOf(data(), OLD);
  expect(await back(whole)).toMatchObject({ ok: true });
  expect(request(whole).phase).toBe("clone");
});

test("back: where a tablespace of the old data is gone everybody stays with what served; an undo waits for an operator, and touches nothing", async () => {
  for (const [fields, task, after] of [
    [{}, "forward", { phase: "done", direction: "forward" }],
    [{ phase: "undo", direction: "forward" }, "back", { phase: "failed", direction: "forward" }],
  ] as const) {
    rmSync(data(), { recursive: true, force: true });
    rmSync(`${data()}.before-upgrade-${ID}`, { recursive: true, force: true });
    const context = await upgrading(fields);
    const aside = oldDirectory(data(), ID);
    dataOf(data(), NEW);
    dataOf(aside, OLD);
    mkdirSync(join(aside, "pg_tblspc"));
    mkdirSync(join(folder, "space/PG_18_2020"), { recursive: true });
    symlinkSync(join(folder, "space"), join(aside, "pg_tblspc/16400"));
    const ended = await upgradeCluster(context, task, new AbortController().signal);
    expect(ended).toMatchObject({ ok: false, message: expect.stringContaining("has no folder of version 17 any more") });
    expect(request(context)).toMatchObject(after);
    expect([existsSync(aside), existsSync(data()), existsSync(join(folder, "space/PG_18_2020"))]).toEqual([true, true, true]);
  }
});

test("who stopped as a standby is no primary to upgrade: it fails before anything is changed; on the way back that is of no account", async () => {
  const forward = await upgrading({ phase: "stop", direction: "forward" });
  stoppedAs(forward, "shut down in recovery");
  expect(await writeUpgrade(forward, "drain")).toMatchObject({ ok: true });
  expect(request(forward)).toMatchObject({
    phase: "failed",
    message: expect.stringContaining("did not stop as a primary (shut down in recovery)"),
  });
  const well = await upgrading({ phase: "stop", direction: "forward" });
  stoppedAs(well, "shut down");
  await writeUpgrade(well, "drain");
  expect(request(well)).toMatchObject({ phase: "drain", checkpoint: CHECKPOINT });
  const taken = await upgrading({ phase: "stop" });
  stoppedAs(taken, "shut down in recovery");
  await writeUpgrade(taken, "drain");
  expect(request(taken)).toMatchObject({ phase: "drain", direction: "back" });
});

test("what fails for the last WAL names those who had data and lack it, and nobody else", async () => {
  const looked = { major: 18, against: "", notes: "" };
  const context = await upgrading({
    ...{ phase: "drain", direction: "forward", checkpoint: lsn(9), received: ["b"] },
    checked: { a: looked, b: looked, c: looked },
  });
  await writeUpgrade(context, "failed");
  expect(request(context).message).toBe("c did not get the last WAL of a; nothing was changed yet");
});

test("undone is what is undone: where the old data is gone nothing says that it is back", async () => {
  const undo = (context: NodeContext) => upgradeCluster(context, "back", new AbortController().signal);
  const context = await upgrading({ phase: "undo", direction: "forward" });
  context.state.nodeFile = file(async () => ok(null));
  dataOf(data(), NEW);
  expect(await undo(context)).toMatchObject({ ok: false, message: expect.stringContaining("the old data is not there any more") });
  expect(request(context).phase).toBe("failed");
  // Nothing was ever put aside.
  const untouched = await upgrading({ phase: "undo", direction: "forward" });
  untouched.state.nodeFile = file(async () => ok(null));
  dataOf(data(), OLD);
  expect(await undo(untouched)).toMatchObject({ ok: true });
  expect(request(untouched)).toMatchObject({ phase: "done", message: "undone: the data is what it was before" });
});

test("what was made and does not start says why in the key, once a minute; when it runs, that is no longer so", async () => {
  const context = await upgrading({ phase: "clone", direction: "forward", mode: "link" });
  const { state } = context;
  const clock = context.clock as ManualClock;
  const part = new UpgradePart(context);
  const noted = async (words: string): Promise<string | null> => {
    state.lastTask = { kind: "start", finishedAt: clock.now(), ok: false, message: words, failures: 1, plan: null };
    part.note();
    await clock.advance(0);
    await refreshCluster(context);
    return request(context).message;
  };
  const status = state.local.status;
  expect(await noted("of another time")).toBeNull();
  state.local.status = null;
  expect(await noted("no space left")).toStartWith("version 18 does not start on a: no space left; its data is whole");
  for (const step of [20_000, 20_000, 19_000]) {
    await clock.advance(step);
    expect((await renewLock(context)).ok).toBe(true);
  }
  expect(await noted("no room")).toContain("no space left");
  await clock.advance(1_000);
  expect(await noted("no room")).toContain("no room");
  state.local.status = status;
  state.local.systemIdentifier = NEW;
  expect(await noted("of another time")).toBeNull();
  expect(request(context)).toMatchObject({ phase: "clone", analyzed: false });
  await part.close();
});
