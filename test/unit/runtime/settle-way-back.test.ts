// Goal: a node that comes back to a way back that was given up meanwhile has what was restored again, and one whose way back is in force goes on
// with the old data; where the DCS does not say so, neither. Method: the real effect over a memory store and real folders.

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RestoreRequest, unreadableRestore } from "../../../lib/model/restore.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import type { NodeContext } from "../../../lib/runtime/node-context.ts";
import { settleWayBack } from "../../../lib/runtime/perform-restore.ts";
import { Bench } from "./fenced-node.ts";

const ID = "20260131-120000";
const ALL = { deadline: ms(Number.MAX_SAFE_INTEGER) };
let folder: string;
const data = (): string => join(folder, "data");
const kept = (): string => `${data()}.restored-${ID}`;
const recovered = (): string => `${data()}.before-restore-${ID}-recovered`;
const mark = (): string => `${data()}.matriarch-way-back`;
const wordOf = (path: string): string | null => (existsSync(path) ? readFileSync(join(path, "word"), "utf8") : null);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "matriarch-settle-way-back-"));
  for (const [path, word] of [
    [data(), "old"],
    [kept(), "restored"],
  ] as const) {
    mkdirSync(path);
    writeFileSync(join(path, "word"), word);
  }
  writeFileSync(mark(), `${ID}\n`);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function settled(fields: Partial<RestoreRequest>): Promise<boolean> {
  const context: NodeContext = await new Bench().leader();
  const { settings } = context.state;
  const postgresql = { ...settings.node.postgresql, dataDir: data() };
  context.state.settings = { ...settings, node: { ...settings.node, postgresql } };
  context.state.local.wayBack = ID;
  const { revision: _, ...value } = { ...unreadableRestore(revision(1)), id: ID, node: "a", direction: "back" as const, ...fields };
  expect((await context.store.values.setRestoreValue(value, null, ALL)).ok).toBe(true);
  return (await settleWayBack(context)).ok;
}

const words = () => [wordOf(data()), wordOf(kept()), wordOf(recovered()), existsSync(mark())];

test.each<[string, Partial<RestoreRequest>]>([
  ["abandoned", { phase: "done", message: "abandoned" }],
  ["followed by another restore", { id: "20260201-120000", phase: "stop", direction: "forward", message: null }],
])("%s, what was restored is in its place again and the old data beside it", async (_, fields) => {
  expect(await settled(fields)).toBe(true);
  expect(words()).toEqual(["restored", null, "old", false]);
});

test("in force, the old data stays and the mark goes", async () => {
  expect(await settled({ phase: "clone", message: null })).toBe(true);
  expect(words()).toEqual(["old", "restored", null, false]);
});

test("under way still, or of unknown standing, nothing is touched", async () => {
  for (const fields of [{ phase: "restore", message: null }, { node: "" }] as const) expect(await settled(fields)).toBe(false);
  expect(words()).toEqual(["old", "restored", null, true]);
});
