// Owns what a node does for a major upgrade beside the HA loop, because the cluster serves meanwhile: the look before it, the word that a
// standby has the last WAL, and what the upgraded primary still lacks. One thing at a time; each may be repeated after a crash. What it runs is
// loaded when it is needed: hardly any start of a supervisor is in an upgrade.

import { unreadableInitdbWord } from "../dcs/upgrade-value.ts";
import { loaded } from "../model/lazy.ts";
import type { Ms } from "../model/units.ts";
import type { UpgradeRequest } from "../model/upgrade.ts";
import { identifierAfter } from "../model/upgrade.ts";
import { reasonOf } from "../postgres/atomic-file.ts";
import { programRunner } from "../postgres/programs.ts";
import type { Look } from "../postgres/upgrade/look.ts";
import type { NodeContext } from "./node-context.ts";
import { noteUpgrade } from "./overhaul.ts";

/** After a failure: the reason may pass, and nobody waits for it but an operator. */
const AGAIN_AFTER_MS = 10_000;
/** A stanza and statistics that cannot be made do not hold the upgrade up for ever: an operator is told, and makes them. */
const COMPLETE_ATTEMPTS_MAX = 3;
/** Each reason has its own process ids in it: what is told of a server that does not start is brought up to date as often. */
const STUCK_TOLD_EVERY_MS = 60_000;
/** Of an option for initdb that may have pages. */
const OPTION_SHOWN = 60;
const BY_HAND = "upgrade by hand (docs/upgrades.md)";

export class UpgradePart {
  readonly #context: NodeContext;
  readonly #closing = new AbortController();
  #working: Promise<void> | null = null;
  #notBefore = 0;
  #attempts = 0;
  #stuckToldAt: Ms | null = null;

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** After each cycle. */
  note(): void {
    const { clock, log, state, waker } = this.#context;
    const request = state.cluster?.upgrade ?? null;
    if (request === null || this.#working !== null || clock.now() < this.#notBefore || this.#closing.signal.aborted) return;
    const work = this.#workFor(request);
    if (work === null) return;
    this.#working = work()
      .then((said) => {
        if (said.ok) return;
        log.warning(`upgrade ${request.id}: ${said.message}`);
        this.#notBefore = clock.now() + AGAIN_AFTER_MS;
      })
      .catch((reason: unknown) => {
        log.error(`upgrade ${request.id}: ${String(reason)}`);
        this.#notBefore = clock.now() + AGAIN_AFTER_MS;
      })
      .finally(() => {
        this.#working = null;
        waker.wake();
      });
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#working;
  }

  #workFor(request: UpgradeRequest): (() => Promise<Said>) | null {
    const { state } = this.#context;
    const { name } = state.settings.node;
    const { status } = state.local;
    if (request.phase === "check") return request.checked[name] === undefined ? () => this.#look(request) : null;
    if (request.phase === "drain") {
      const received = status?.inRecovery === true ? (status.receivedLsn ?? status.replayedLsn ?? null) : null;
      const has = received !== null && request.checkpoint !== null && received > request.checkpoint;
      return has && !request.received.includes(name) ? () => this.#received(name) : null;
    }
    if (request.phase !== "clone" || request.analyzed || !state.leads()) return null;
    if (status === null) return this.#stuck(request);
    if (status.inRecovery || state.local.systemIdentifier !== identifierAfter(request)) return null;
    // It is the reason why the server did not start; what is left undone is only known at the end.
    if (request.message !== null) return () => this.#tell(request, null);
    return () => this.#complete(request);
  }

  /** What was made is in force and cannot start: that is told where an operator looks. */
  #stuck(request: UpgradeRequest): (() => Promise<Said>) | null {
    const { clock, state } = this.#context;
    const { lastTask, settings, task } = state;
    if (request.node !== settings.node.name || task !== null || lastTask === null || lastTask.ok) return null;
    if (lastTask.kind !== "start" && lastTask.kind !== "restore") return null;
    if (this.#stuckToldAt !== null && clock.now() - this.#stuckToldAt < STUCK_TOLD_EVERY_MS) return null;
    const version = request.direction === "back" ? request.fromMajor : request.toMajor;
    const message = `version ${version} does not start on ${request.node}: ${lastTask.message}; its data is whole, and it is tried again until that is mended`;
    return async () => {
      this.#stuckToldAt = clock.now();
      return await this.#tell(request, message);
    };
  }

  async #tell(request: UpgradeRequest, message: string | null): Promise<Said> {
    const noted = await noteUpgrade(this.#context, (now) =>
      now.id !== request.id || now.phase !== "clone" || now.analyzed || now.message === message ? null : { message },
    );
    return noted.ok ? WELL : { ok: false, message: noted.error.message };
  }

  async #look(request: UpgradeRequest): Promise<Said> {
    const { clock, state, log } = this.#context;
    const { name, postgresql } = state.settings.node;
    const { lookBeforeUpgrade } = await import("../postgres/upgrade/look.ts");
    const { initdbOptions } = await import("../postgres/upgrade/server-facts.ts");
    log.info(`looking at this node before an upgrade of PostgreSQL (${request.id})`);
    const { findings, facts, newMajor } = await lookBeforeUpgrade({
      ...{ config: postgresql, clock, newBinDir: request.binDir, mode: request.mode, signal: this.#closing.signal },
    }).catch(unseen);
    // Whoever comes after this supervisor looks again.
    if (this.#closing.signal.aborted) return WELL;
    const file = await state.nodeFile.obstacle(request.binDir);
    // Needed once everything is stopped: what cannot be loaded then stands against the upgrade now.
    const part = await loaded(() => import("./perform-upgrade.ts"));
    // What only an operator's hands can do stands against it as a fault does; what is to be thought of does not.
    const isAgainst = (subject: string, verdict: string): boolean =>
      verdict === "fault" || verdict === "unknown" || (verdict === "warning" && subject === "directory");
    const isNode = name === request.node && facts !== null && newMajor !== null;
    const initdb = isNode ? initdbOptions(facts, newMajor) : [];
    // Nobody could read the key with it: it is not written, and stands against the upgrade.
    const unfit = unreadableInitdbWord(initdb);
    const against = [
      ...(unfit === null ? [] : [`initdb: the cluster's ${unfit.slice(0, OPTION_SHOWN)} cannot be passed on: ${BY_HAND}`]),
      ...findings.filter(({ subject, verdict }) => isAgainst(subject, verdict)).map(({ subject, says }) => `${subject}: ${says}`),
      ...(file === null ? [] : [`configuration: ${file}`]),
      ...(part.ok ? [] : [`supervisor: ${part.error}`]),
    ];
    // Not what stands against it: the plan shows them, and an operator confirms it.
    const notes = findings
      .filter(({ subject, verdict }) => verdict === "warning" && !isAgainst(subject, verdict))
      .map(({ says, fix }) => (fix === null ? says : `${says} (${fix})`));
    const known = isNode ? { ...(unfit === null ? { initdb } : {}), fromMajor: facts.major, toMajor: newMajor } : {};
    const noted = await noteUpgrade(this.#context, (now) =>
      now.id !== request.id || now.phase !== "check"
        ? null
        : { checked: { ...now.checked, [name]: { major: newMajor, against: against.join("; "), notes: notes.join("; ") } }, ...known },
    );
    return noted.ok ? WELL : { ok: false, message: noted.error.message };
  }

  async #received(name: string): Promise<Said> {
    const noted = await noteUpgrade(this.#context, (now) =>
      now.phase !== "drain" || now.received.includes(name) ? null : { received: [...now.received, name].sort() },
    );
    return noted.ok ? WELL : { ok: false, message: noted.error.message };
  }

  /** The repository's stanza and the statistics; after a rollback the old ones are there. */
  async #complete(request: UpgradeRequest): Promise<Said> {
    const { clock, log, state } = this.#context;
    const { name, pgbackrest, postgresql, scope } = state.settings.node;
    const run = programRunner(postgresql, clock);
    const undone: string[] = [];
    if (pgbackrest !== null) {
      const { keepStanza } = await import("../postgres/pgbackrest.ts");
      const kept = await keepStanza({ config: pgbackrest, run, clock }, (text) => log.info(text));
      if (kept.ok) log.info(`pgBackRest's stanza: ${kept.value}`);
      else undone.push(`pgBackRest's stanza is not kept: ${kept.error.message}; by hand: matriarch backrest NODE.YML stanza`);
    }
    if (request.direction === "forward") {
      const { analyzeInStages } = await import("../postgres/upgrade/statistics.ts");
      const done = await analyzeInStages({ config: postgresql, scope, memberName: name, log, clock, run }, this.#closing.signal);
      if (!done.ok) undone.push(`the statistics are not made: ${done.error.message}; by hand: vacuumdb --all --analyze-in-stages`);
    }
    if (this.#closing.signal.aborted) return WELL;
    const message = undone.length === 0 ? null : undone.join("; ");
    this.#attempts += 1;
    if (message !== null && this.#attempts < COMPLETE_ATTEMPTS_MAX) return { ok: false, message };
    if (message !== null) log.error(`upgrade ${request.id}: given up after ${COMPLETE_ATTEMPTS_MAX} attempts: ${message}`);
    const noted = await noteUpgrade(this.#context, (now) =>
      now.id !== request.id || now.phase !== "clone" ? null : { analyzed: true, message },
    );
    if (noted.ok) this.#attempts = 0;
    return noted.ok ? WELL : { ok: false, message: noted.error.message };
  }
}

/** A look that comes to nothing says so: ctl waits for each member. */
function unseen(reason: unknown): Look {
  const finding = { subject: "look", verdict: "fault", says: reasonOf(reason), fix: "mend what it names" } as const;
  return { findings: [finding], facts: null, newMajor: null };
}

interface Said {
  readonly ok: boolean;
  readonly message: string;
}

const WELL: Said = { ok: true, message: "" };
