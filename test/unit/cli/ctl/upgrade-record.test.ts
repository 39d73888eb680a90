// Goal: asking for an upgrade that is not begun takes nothing away: the record of the one before, which `--rollback` needs, stands in the key
// again. Method: the command itself over a key in memory, whose members look as soon as they are asked.

import { expect, test } from "bun:test";
import { err, ok } from "../../../../lib/model/result.ts";
import { revision } from "../../../../lib/model/units.ts";
import { type UpgradeCheck, type UpgradeRequest, unreadableUpgrade } from "../../../../lib/model/upgrade.ts";
import { cluster, member } from "../../core/observations.ts";
import { runUpgrade, type UpgradeValues } from "./overhaul-command.ts";
import { scriptedTerminal } from "./scripted-terminal.ts";

const product = { name: "Matriarch", version: "1" };
const members = [member("a", { role: "primary", product }), member("b", { product, replicationState: "streaming" })];
const former: UpgradeRequest = {
  ...unreadableUpgrade(revision(3)),
  ...{ id: "20250131-120000", phase: "done", node: "a", mode: "copy", fromMajor: 13, toMajor: 15, message: null },
  ...{ fromIdentifier: "1", identifier: "2", analyzed: true },
};

/** What the key holds after `ctl upgrade` with these words, and what was said or refused. `later`: how it ends once it is begun. */
async function called(
  words: readonly string[],
  looked: Partial<UpgradeCheck>,
  { before = former as UpgradeRequest | null, answer = "y", later = {} as Partial<UpgradeRequest> } = {},
): Promise<{ readonly key: UpgradeRequest | null; readonly text: string }> {
  let key = before;
  let told = "";
  const out = (text: string): void => {
    told += text;
  };
  const terminal = { ...scriptedTerminal(), out, readLine: async () => answer };
  const values: UpgradeValues = {
    setUpgradeValue: async (value, expected) => {
      if (expected !== (key?.revision ?? null)) return err({ kind: "condition-failed", message: "it has changed" });
      const found = { major: 16, against: "", notes: "", ...looked };
      const known = value.phase === "check" ? { checked: { a: found, b: found }, fromMajor: 15, toMajor: 16 } : {};
      key = { ...value, ...known, ...(value.phase === "stop" ? later : {}), revision: revision(Number(key?.revision ?? 0) + 1) };
      return ok(key.revision);
    },
  };
  const view = () => cluster({ members, initialize: "2", upgrade: key });
  const refusal = await runUpgrade(words, { cluster: view, values, terminal });
  told += refusal ?? "";
  return { key, text: told };
}

/** `--run` with these words. */
const ran = (words: readonly string[], looked: Partial<UpgradeCheck>, how: Parameters<typeof called>[2] = {}) =>
  called(["--run", "--to-bin-dir", "/16/bin", ...words], looked, how);
const said = (words: readonly string[], before: UpgradeRequest) => called(words, {}, { before });

const content = (key: UpgradeRequest | null) => ({ ...key, revision: null });

test("a plan, a refusal by the look and an operator's no leave the record of the upgrade before as it was", async () => {
  const plan = await ran(["--plan"], {});
  expect(plan.text).toContain("Nothing was changed");
  expect(plan.text).toContain("20250131-120000 can no longer be taken back");
  const refused = await ran(["--force"], { against: "room: none" });
  expect(refused.text).toContain("room: none");
  const declined = await ran([], {}, { answer: "n" });
  expect(declined.text).toContain("nothing was changed");
  for (const { key } of [plan, refused, declined]) expect(content(key)).toEqual(content(former));
});

test("where there was none before, the key says that nothing was begun", async () => {
  const { key } = await ran(["--plan"], {}, { before: null });
  expect([key?.phase, key?.message]).toEqual(["done", "not begun; nothing was changed"]);
});

test("what was left undone is warned of at the end", async () => {
  const message = "the statistics are not made: disk full";
  const { key, text } = await ran(["--force"], {}, { later: { phase: "done", identifier: "3", analyzed: true, message } });
  expect(key?.phase).toBe("done");
  expect(text).toContain(`Warning: the cluster is upgraded, but ${message}`);
});

test("a call that is killed while the members look takes nothing away either: --status tells of both, the next call and --rollback bring the old one back", async () => {
  const { revision: _, former: __, ...record } = former;
  const killed: UpgradeRequest = {
    ...{ ...former, id: "20260131-120000", phase: "check", identifier: null, analyzed: false, toMajor: 0 },
    former: record,
  };
  const shown = await said(["--status"], killed);
  expect(shown.text).toMatch(/^Upgrade 20260131-120000: every member looks .*\nBefore that: Upgrade 20250131-120000: done\n$/);
  expect(content((await ran(["--plan"], {}, { before: killed })).key)).toEqual(content(former));
  const forgotten = await said(["--rollback", "--force"], killed);
  expect([content(forgotten.key), forgotten.text]).toEqual([content(former), expect.stringMatching(/Upgrade 20250131-120000: done\n$/)]);
  // Once it is begun, nobody can go back to where the one before began.
  expect((await ran(["--force"], {}, { before: killed, later: { phase: "done", identifier: "3" } })).key?.former).toBeNull();
});
