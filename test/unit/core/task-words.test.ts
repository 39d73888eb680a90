// Goal: what is under way is called as Patroni's log calls it.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Effect } from "../../../lib/core/decision.ts";
import { taskTold } from "../../../lib/core/task-words.ts";
import { unreadableRestore } from "../../../lib/model/restore.ts";
import { ms, revision } from "../../../lib/model/units.ts";
import { unreadableUpgrade } from "../../../lib/model/upgrade.ts";
import { observation } from "./observations.ts";

const copy = { kind: "clone", target: null, methods: "members", follow: null, clear: false } as const;
const start = { kind: "start", target: null, syncNames: null } as const;
const none = { requests: { shutdown: false, restart: false, reinitialize: null }, cluster: null };

test("a task in progress is told of in Patroni's words, others by their kind", () => {
  const told: readonly (readonly [Effect, string])[] = [
    [{ kind: "bootstrap" }, "bootstrap in progress"],
    [{ kind: "bootstrap-standby", target: null }, "bootstrap_standby_leader in progress"],
    [{ ...copy, from: "leader 'a'" }, "bootstrap from leader 'a' in progress"],
    [{ ...copy, from: "replica 'c'" }, "bootstrap from replica 'c' in progress"],
    [{ ...copy, from: null }, "bootstrap (without leader) in progress"],
    [{ kind: "copy-slots", source: { name: "a", host: "h", port: 1, slotName: null }, slots: [] }, "copy_logical_slots in progress"],
    [{ ...start, role: "standby" }, "restarting after failure in progress"],
    [{ ...start, role: "primary" }, "starting primary after failure in progress"],
    [{ kind: "restart", syncNames: null }, "restart in progress"],
  ];
  for (const [effect, words] of told) {
    const task = { kind: effect.kind, startedAt: ms(99_000), aborting: false, ...taskTold(effect, none) };
    expect(decide(observation({ task }))).toMatchObject({ rule: "task-wait", why: words });
  }
});

test("a copy that an operator asked for is a reinitialize", () => {
  const asked = { ...none, requests: { ...none.requests, reinitialize: { fromLeader: false } } };
  expect(taskTold({ ...copy, from: "leader 'a'" }, asked)).toEqual({ words: "reinitialize" });
});

test("the exchange of a data directory is called by what it is for", () => {
  const upgrade = { ...unreadableUpgrade(revision(1)), phase: "upgrade", node: "a" } as const;
  const restore = { ...unreadableRestore(revision(1)), phase: "restore", node: "a" } as const;
  const told = (cluster: Parameters<typeof taskTold>[1]["cluster"], step: "forward" | "back" = "forward") =>
    taskTold({ kind: "restore", step }, { ...none, cluster }).words;
  expect([told({ restore: null, upgrade }), told({ restore: null, upgrade }, "back")]).toEqual(["upgrade", "upgrade"]);
  expect([told({ restore, upgrade: null }), told({ restore, upgrade }), told(null)]).toEqual(["restore", "restore", "restore"]);
});
