// Owns which part performs which effect of a decision, and the tasks: what takes its time runs beside the loop. It decides nothing.

import type { Effect } from "../core/decision.ts";
import type { Outcome } from "../core/observation.ts";
import { taskTold } from "../core/task-words.ts";
import { loaded } from "../model/lazy.ts";
import { assertNever, ok } from "../model/result.ts";
import { ms } from "../model/units.ts";
import { askFailsafe } from "./failsafe.ts";
import type { NodeContext } from "./node-context.ts";
import {
  cancelInitialize,
  claimInitialize,
  clearFailover,
  leave,
  settleSync,
  writeConfig,
  writeInitialize,
  writeSync,
} from "./perform-dcs.ts";
import { acquireLock, releaseLock, renewLock, writeHistory } from "./perform-lock.ts";
import { runTask, type TaskEffect } from "./perform-postgres.ts";
import { askOldLeader, askPeers, readControl } from "./perform-questions.ts";
import { writeRestore } from "./perform-restore.ts";
import { tellFollowing } from "./tell-role.ts";
import { askRelease } from "./touch-member.ts";

const SQL_DEADLINE_MS = 5000;

export class Performer {
  readonly #context: NodeContext;
  #toldSlotErrors = "";

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Does it, or begins it where it is a task: then its outcome says so, and its end wakes the loop. */
  perform(effect: Exclude<Effect, { kind: "wait" | "exit" }>): Promise<Outcome> | Outcome {
    const context = this.#context;
    switch (effect.kind) {
      case "renew-lock":
        return renewLock(context);
      case "acquire-lock":
        return acquireLock(context);
      case "release-lock":
        return releaseLock(context, null);
      case "claim-initialize":
        return claimInitialize(context);
      case "cancel-initialize":
        return cancelInitialize(context);
      case "write-initialize":
        return writeInitialize(context);
      case "write-config":
        return writeConfig(context);
      case "write-sync":
        return writeSync(context, effect);
      case "write-restore":
        if (effect.of === "restore") return writeRestore(context, effect.phase);
        return loaded(() => import("./perform-upgrade.ts")).then((part) =>
          part.ok ? part.value.writeUpgrade(context, effect.phase) : { kind: "write-restore", ok: false, message: part.error },
        );
      case "ask-release":
        return askRelease(context);
      case "clear-failover":
        return clearFailover(context);
      case "write-history":
        return writeHistory(context);
      case "leave":
        return leave(context);
      case "ask-peers":
        return askPeers(context, effect.names);
      case "ask-old-leader":
        return askOldLeader(context);
      case "ask-failsafe":
        return askFailsafe(context, effect.slots);
      case "read-control":
        return readControl(context);
      case "follow":
        return this.#follow(effect);
      case "set-sync-names":
        return this.#setSyncNames(effect.value);
      case "sync-slots":
        return this.#syncSlots(effect);
      case "resume-replay":
        return this.#resumeReplay();
      case "abort-task":
        context.state.task?.controller.abort();
        return { kind: effect.kind, ok: true, message: "" };
      case "bootstrap":
      case "bootstrap-standby":
      case "clone":
      case "restore":
      case "plan-rejoin":
      case "rewind":
      case "start":
      case "restart":
      case "copy-slots":
      case "pre-promote":
      case "promote":
      case "stop":
      case "hand-over":
        return this.#startTask(effect);
      default:
        return assertNever(effect);
    }
  }

  #startTask(effect: TaskEffect): Outcome {
    const { clock, state, waker, log } = this.#context;
    const controller = new AbortController();
    state.localChanged();
    if (effect.kind === "stop" || effect.kind === "copy-slots") state.local.status = null;
    const before = state.lastTask;
    const startedAt = clock.now();
    const settled = runTask(this.#context, effect, controller.signal)
      .catch((reason: unknown) => ({ ok: false, message: reason instanceof Error ? reason.message : String(reason) }))
      .then((result) => {
        const failures = result.ok ? 0 : (before !== null && before.kind === effect.kind && !before.ok ? before.failures : 0) + 1;
        state.lastTask = {
          kind: effect.kind,
          finishedAt: clock.now(),
          ok: result.ok,
          message: result.message,
          failures,
          plan: "plan" in result ? (result.plan ?? null) : null,
        };
        if (!result.ok) log.error(`${effect.kind === "restore" ? state.task?.words : effect.kind}: ${result.message}`);
        state.task = null;
        state.localChanged();
        state.changes.notify();
        state.observer.taskEnded({ kind: effect.kind, ok: result.ok, message: result.message, took: ms(clock.now() - startedAt) });
        waker.wake();
      });
    state.task = { kind: effect.kind, startedAt, aborting: false, controller, settled, ...taskTold(effect, state) };
    return { kind: effect.kind, ok: true, message: "" };
  }

  async #follow(effect: Extract<Effect, { kind: "follow" }>): Promise<Outcome> {
    const { state, postgres } = this.#context;
    const followed = await postgres.follow(effect.target, effect.role === "standby" ? "replica" : effect.role);
    state.localChanged();
    if (!followed.ok) return { kind: "follow", ok: false, message: followed.error.message };
    if (state.local.standbyRole !== effect.role) tellFollowing(this.#context, effect.role === "standby" ? "replica" : effect.role);
    state.setSource(effect.target, effect.role);
    return { kind: "follow", ok: true, message: "" };
  }

  async #setSyncNames(value: string | null): Promise<Outcome> {
    const { clock, postgres, state } = this.#context;
    const unsettled = await settleSync(this.#context, "set-sync-names");
    if (unsettled !== null) return unsettled;
    state.local.syncNamesChanging = true;
    const set = await postgres.setSynchronousStandbyNames(value, ms(clock.now() + SQL_DEADLINE_MS)).finally(() => {
      state.local.syncNamesChanging = false;
      state.localChanged();
    });
    if (set.ok) state.local.syncNamesManaged = value !== null && value !== "";
    if (set.ok) state.local.syncNamesReleased = value === null;
    return { kind: "set-sync-names", ok: set.ok, message: set.ok ? "" : set.error.message };
  }

  async #resumeReplay(): Promise<Outcome> {
    const { clock, postgres, state } = this.#context;
    const resumed = await postgres.resumeReplay(ms(clock.now() + SQL_DEADLINE_MS));
    state.localChanged();
    return { kind: "resume-replay", ok: resumed.ok, message: resumed.ok ? "" : resumed.error.message };
  }

  /** What is wrong is told once for each set of names. */
  async #syncSlots(effect: Extract<Effect, { kind: "sync-slots" }>): Promise<Outcome> {
    const { clock, state, postgres, log } = this.#context;
    const errors = effect.errors.join("\n");
    if (errors !== "" && errors !== this.#toldSlotErrors) for (const text of effect.errors) log.error(text);
    this.#toldSlotErrors = errors;
    const at = clock.now();
    const changed = effect.actions.length === 0 ? ok([]) : await postgres.changeSlots(effect.actions);
    // Where only positions move, what was seen of the server a moment ago still holds.
    if (effect.actions.some(({ kind }) => kind !== "advance")) state.localChanged();
    state.local.slotsAt = at;
    if (!changed.ok) return { kind: "sync-slots", ok: false, message: changed.error.message };
    state.local.slotsFor = effect.text;
    state.local.slotsSeen = effect.seen;
    for (const { level, text } of changed.value) log[level](text);
    return { kind: "sync-slots", ok: true, message: "" };
  }
}
