// Goal: the answer to a question of `ctl upgrade` holds for what it was asked about: what has gone on meanwhile is looked at again, and no flag
// answers what nobody could know when it was written. Method: the command itself, a scripted operator, and a DCS that changes while it asks.

import { expect, test } from "bun:test";
import type { Cluster } from "../../../../lib/model/cluster.ts";
import { err, ok } from "../../../../lib/model/result.ts";
import { lsn, revision } from "../../../../lib/model/units.ts";
import { type UpgradeRequest, unreadableUpgrade } from "../../../../lib/model/upgrade.ts";
import { cluster, member } from "../../core/observations.ts";
import { runUpgrade, type UpgradeValues } from "./overhaul-command.ts";
import { scriptedTerminal } from "./scripted-terminal.ts";

const product = { name: "Matriarch", version: "1" };
const streaming = { product, replicationState: "streaming" };
const members = [member("a", { role: "primary", product }), member("b", streaming), member("c", streaming)];
const well = { major: 15, against: "", notes: "" };
const OLD = "7300000000000000001";
const NEW = "7300000000000000002";

function request(fields: Partial<UpgradeRequest>): UpgradeRequest {
  return {
    ...unreadableUpgrade(revision(3)),
    ...{ id: "20260131-120000", phase: "done", node: "a", mode: "copy", fromMajor: 13, toMajor: 15, message: null, checkpoint: lsn(900) },
    ...{ fromIdentifier: OLD, identifier: NEW, checked: { a: well, b: well, c: well }, received: ["b", "c"], ...fields },
  };
}

/** One call; `meanwhile`: what the DCS holds when the operator has answered yes. */
async function called(words: readonly string[], before: Partial<Cluster>, meanwhile: Partial<Cluster> = {}) {
  let now = cluster({ members, initialize: NEW, ...before });
  const written: string[] = [];
  const terminal = {
    ...scriptedTerminal(),
    readLine: async () => {
      now = { ...now, ...meanwhile };
      return "y";
    },
  };
  const values: UpgradeValues = {
    setUpgradeValue: async (value, expected) => {
      if (expected !== now.upgrade?.revision) return err({ kind: "condition-failed", message: "it has changed" });
      written.push(`${value.phase} ${value.direction}`);
      return ok(revision(99));
    },
    initialize: async ({ systemIdentifier }) => {
      written.push(`initialize ${systemIdentifier}`);
      return ok(revision(99));
    },
  };
  const failure = await runUpgrade(["--no-wait", ...words], { cluster: () => now, values, terminal });
  return { failure, written, out: terminal.said.out };
}

test("a rollback is looked at again behind its question: another leader may have what the old data's node lacks", async () => {
  const leader = (name: string) => ({ name, session: `s-${name}`, revision: revision(4) });
  const before = { leader: leader("a"), upgrade: request({}) };
  expect(await called(["--rollback"], before)).toMatchObject({ failure: null, written: ["stop back"] });
  const taken = await called(["--rollback"], before, {
    leader: leader("b"),
    members: [member("a", streaming), member("b", { role: "primary", product }), member("c", streaming)],
  });
  expect(taken).toMatchObject({ failure: expect.stringContaining("a has the old data, and does not lead"), written: [] });
  // The same question of a request that goes on: over what it says by now.
  const copying = request({ phase: "clone", revision: revision(4), cloned: ["b"] });
  const cloning = { ...before, upgrade: request({ phase: "clone" }) };
  expect(await called(["--rollback"], cloning, { upgrade: copying })).toMatchObject({ failure: null, written: ["stop back"] });
  // Not what was asked: putting back what has served loses what was written since.
  const making = { ...before, upgrade: request({ phase: "upgrade" }) };
  expect(await called(["--rollback"], making)).toMatchObject({ failure: null, written: ["undo forward"] });
  expect(await called(["--rollback"], making, { upgrade: copying })).toMatchObject({
    failure: expect.stringContaining("gone on meanwhile"),
    written: [],
  });
});

test("what is given up is what was asked about: no identifier is written for an upgrade that went on", async () => {
  const lost = { leader: null, upgrade: request({ phase: "upgrade" }) };
  expect(await called(["--abandon"], lost)).toMatchObject({ failure: null, written: [`initialize ${OLD}`, "done forward"] });
  const gone = { upgrade: request({ phase: "failed", revision: revision(4) }) };
  expect(await called(["--abandon"], lost, gone)).toMatchObject({ failure: expect.stringContaining("gone on meanwhile"), written: [] });
});

test("what failed is tried again; where a standby lacks the last WAL its name is asked for, and the force flag is no answer to that", async () => {
  const failed = (received: readonly string[], checkpoint: UpgradeRequest["checkpoint"] = lsn(900)) => ({
    upgrade: request({ phase: "failed", received, checkpoint }),
  });
  const forced = await called(["--run", "--force"], failed(["b", "c"]));
  expect(forced).toMatchObject({ failure: null, written: ["upgrade forward"], out: expect.not.stringContaining("[y/N]") });
  const lacking = await called(["--run", "--force"], failed(["b"]));
  expect(lacking).toMatchObject({
    failure: null,
    written: ["upgrade forward"],
    out: expect.stringContaining("Upgrade without it on c? [y/N]"),
  });
  // Nobody waited for a checkpoint that was never made.
  expect((await called(["--run", "--force"], failed([], null))).out).not.toContain("[y/N]");
});
