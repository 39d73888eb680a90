// Goal: what is under way is called as Patroni's log calls it.

import { expect, test } from "bun:test";
import { decide } from "../../../lib/core/decide.ts";
import type { Effect } from "../../../lib/core/decision.ts";
import { taskTold } from "../../../lib/core/task-words.ts";
import { ms } from "../../../lib/model/units.ts";
import { observation } from "./observations.ts";

const copy = { kind: "clone", target: null, methods: "members", follow: null, clear: false } as const;
const start = { kind: "start", target: null, syncNames: null } as const;
const none = { shutdown: false, restart: false, reinitialize: null };

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
  const asked = { ...none, reinitialize: { fromLeader: false } };
  expect(taskTold({ ...copy, from: "leader 'a'" }, asked)).toEqual({ words: "reinitialize" });
});
