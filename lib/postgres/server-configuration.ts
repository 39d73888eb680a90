// Owns what the running server's files are meant to say: role, source, synchronous standbys, and the configuration they
// are made from. Writes files through config-files.ts, reloads, and waits until the server shows it. Decides no role.

import type { Clock } from "../model/clock.ts";
import type { PostgresError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import type { PendingRestartReason } from "../model/member.ts";
import type { PostgresqlConfig } from "../model/node-config.ts";
import type { ControlData, FollowTarget } from "../model/postgres.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms } from "../model/units.ts";
import { changedLines, changedNames, RELOADED_SETTINGS_QUERY } from "./changed-settings.ts";
import { type ConfigFilesRequest, type WrittenConfig, writeConfigFiles } from "./config-files.ts";
import type { Connection } from "./connection.ts";
import type { PostgresContext } from "./context.ts";
import { readMajorVersion } from "./data-directory.ts";
import { POLL_MS, seenBy, sourceOf, untilShown } from "./follow.ts";
import { pendingRestartReason, RESTART_SETTINGS_QUERY } from "./parameters.ts";
import { pollUntil } from "./poll.ts";
import type { Postmaster } from "./postmaster.ts";
import { programRunner } from "./programs.ts";
import { decodeSettingRows } from "./setting-rows.ts";

export type ServerRole = ConfigFilesRequest["role"];

/** What the files say, as far as it is not the configuration's own. */
export interface ServerIntent {
  readonly role: ServerRole;
  readonly follow: FollowTarget | null;
  /** null = not ours to set. */
  readonly synchronousStandbyNames: string | null;
}

/** For the few statements that belong to writing a configuration. */
const STATEMENT_TIMEOUT_MS = 10_000;

export interface ServerConfigurationOptions {
  readonly config: PostgresqlConfig;
  readonly scope: string;
  readonly memberName: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly connection: Connection;
  readonly postmaster: Postmaster;
}

export class ServerConfiguration {
  readonly #options: ServerConfigurationOptions;
  #config: PostgresqlConfig;
  #intent: ServerIntent | null = null;
  /** The standby role last asked for: a server in recovery does not know which of the two it is. */
  #standbyRole: ServerRole = "replica";
  #pendingRestart: PendingRestartReason = {};
  #faultsLogged = "";
  /** What the files were last made from; null before this process wrote them. */
  #wanted: Readonly<Record<string, string>> | null = null;
  /** The configuration has changed since the files were written: the server could not be asked for its role then. */
  #outdated = false;
  /** One writer at a time: each starts from what the one before left. */
  #lastWriter: Promise<unknown> = Promise.resolve();

  constructor(options: ServerConfigurationOptions) {
    this.#options = options;
    this.#config = options.config;
  }

  get config(): PostgresqlConfig {
    return this.#config;
  }

  get pendingRestart(): PendingRestartReason {
    return this.#pendingRestart;
  }

  get standbyRole(): ServerRole {
    return this.#standbyRole;
  }

  /** What every file and program function is handed. */
  get context(): PostgresContext {
    const { scope, memberName, log, clock } = this.#options;
    return { config: this.#config, scope, memberName, log, clock, run: programRunner(this.#config, clock) };
  }

  /**
   * Writes the files of a server that is about to start. What waits for a restart then is what a standby may not have yet: its primary
   * had more. Errors: failed, refused.
   */
  async prepareStart(
    intent: ServerIntent,
    control: ControlData | null,
    extra: Partial<ConfigFilesRequest> = {},
  ): Promise<Result<WrittenConfig, PostgresError>> {
    const written = await this.#alone(() => this.#write(intent, control, extra));
    if (written.ok) this.#pendingRestart = this.#raised(written.value);
    return written;
  }

  #raised({ raised, wanted }: WrittenConfig): PendingRestartReason {
    const reason: Record<string, { old_value: string; new_value: string }> = {};
    for (const [name, used] of Object.entries(raised)) {
      const value = wanted[name] ?? "";
      reason[name] = { old_value: used, new_value: value };
      this.#options.log.info(
        `${name} value in pg_controldata: ${used}, in the global configuration: ${value}. pg_controldata value will be used. Setting 'Pending restart' flag`,
      );
    }
    return reason;
  }

  /** Changes a part of what the files say and reloads where a file changed. Errors: unreachable, timeout, failed, refused. */
  async change(part: Partial<ServerIntent>, deadline: Ms): Promise<Result<WrittenConfig, PostgresError>> {
    const written = await this.write(part, deadline);
    if (!written.ok || written.value.changed.length === 0) return written;
    const reloaded = await this.reload();
    return reloaded.ok ? written : reloaded;
  }

  /** As `change`, without the reload. */
  async write(part: Partial<ServerIntent>, deadline: Ms): Promise<Result<WrittenConfig, PostgresError>> {
    return await this.#alone(async () => {
      const current = this.#intent === null ? await this.#actualIntent(deadline) : ok(this.#intent);
      return current.ok ? await this.#write({ ...current.value, ...part }, null, {}) : current;
    });
  }

  /** Resolves when the server shows what the files say for these settings. Errors: unreachable, timeout. */
  async untilInForce(written: WrittenConfig, names: readonly string[], deadline: Ms): Promise<Result<null, PostgresError>> {
    const { connection, clock } = this.#options;
    return await untilShown({ connection, clock }, Object.fromEntries(names.map((name) => [name, written.wanted[name] ?? ""])), deadline);
  }

  /**
   * Takes a new configuration. A running server's files are written for the role that it really has (a word from
   * elsewhere may be a moment old) and reloaded; a stopped server's are written at its start. `asked`: an operator wants a reload,
   * also where none of our files changed: those that the server includes, and what others keep, are theirs.
   */
  async configure(
    config: PostgresqlConfig,
    { role, asked = false, reloaded }: { readonly role: ServerRole; readonly asked?: boolean; readonly reloaded?: () => void },
  ): Promise<Result<PendingRestartReason, PostgresError>> {
    this.#config = config;
    if (role !== "primary") this.#standbyRole = role;
    this.#outdated = true;
    if ((await this.#options.postmaster.find()) === null) return ok(this.#pendingRestart);
    return await this.#apply(asked, reloaded);
  }

  /** Brings a server up to date whose configuration changed while it was starting. */
  async catchUp(): Promise<void> {
    if (!this.#outdated) return;
    const applied = await this.#apply(false);
    if (!applied.ok) this.#options.log.warning(`the new configuration of PostgreSQL is not in force: ${applied.error.message}`);
  }

  async #apply(asked: boolean, onReload?: () => void): Promise<Result<PendingRestartReason, PostgresError>> {
    const deadline = ms(this.#options.clock.now() + STATEMENT_TIMEOUT_MS);
    const wantedBefore = this.#wanted;
    const written = await this.#alone(async () => {
      const actual = await this.#actualIntent(deadline);
      return actual.ok ? await this.#write(actual.value, null, {}) : actual;
    });
    if (!written.ok) return written;
    const { log } = this.#options;
    for (const line of await this.#changedByReload(wantedBefore, written.value, deadline)) log.info(line);
    const same = written.value.changed.length === 0 && !asked;
    log.info(same ? "No PostgreSQL configuration items changed, nothing to reload." : "Reloading PostgreSQL configuration.");
    const reloaded = same ? ok(null) : await this.#reloadSeen(deadline);
    if (!reloaded.ok) return reloaded;
    if (!same) onReload?.();
    const rows = await this.#options.connection.query(RESTART_SETTINGS_QUERY, [], deadline);
    if (!rows.ok) return rows;
    const settings = decodeSettingRows(rows.value);
    if (!settings.ok) return settings;
    const before = this.#pendingRestart;
    this.#pendingRestart = pendingRestartReason(written.value.wanted, settings.value);
    for (const [name, { old_value: from, new_value: to }] of Object.entries(this.#pendingRestart)) {
      if (before[name]?.new_value !== to) log.info(`Changed ${name} from '${from}' to '${to}' (restart might be required)`);
    }
    for (const [name, { new_value: from }] of Object.entries(before)) {
      if (this.#pendingRestart[name] !== undefined) continue;
      log.info(`Changed ${name} from '${from}' to '${written.value.wanted[name] ?? "None"}'`);
    }
    return ok(this.#pendingRestart);
  }

  /** What the server runs with is asked before the reload; where it does not answer, nothing is told. */
  async #changedByReload(
    before: Readonly<Record<string, string>> | null,
    { changed, wanted }: WrittenConfig,
    deadline: Ms,
  ): Promise<readonly string[]> {
    const names = changed.length === 0 ? [] : changedNames(before, wanted);
    if (names.length === 0) return [];
    const rows = await this.#options.connection.query(RELOADED_SETTINGS_QUERY, [names.join(",")], deadline);
    const settings = rows.ok ? decodeSettingRows(rows.value) : rows;
    return settings.ok ? changedLines(names, { before, wanted, rows: settings.value }) : [];
  }

  /** A reload that this node's own connection has seen, so that what it asks next is answered by the new files. Errors: as `reload`, unreachable. */
  async #reloadSeen(deadline: Ms): Promise<Result<null, PostgresError>> {
    const { connection, clock, log } = this.#options;
    const loadedAt = async () => {
      const rows = await connection.query("SELECT pg_conf_load_time()::text AS at", [], deadline);
      return rows.ok ? ok(rows.value[0]?.["at"]) : rows;
    };
    const before = await loadedAt();
    // The files are written, and no later call finds them changed: the server is to read them whether or not it can be asked.
    if (!before.ok) return await this.reload();
    const reloaded = await this.reload();
    if (!reloaded.ok) return reloaded;
    const seen = await pollUntil<Result<null, PostgresError>>(
      { clock, deadline: seenBy(clock, deadline), intervalMs: POLL_MS },
      async () => {
        const now = await loadedAt();
        if (!now.ok) return now;
        return now.value === before.value ? null : ok(null);
      },
    );
    if (seen === null) log.warning("PostgreSQL has not taken all of its configuration files: its own log says why");
    return seen ?? ok(null);
  }

  /** SIGHUP to the postmaster. Errors: failed (none runs). */
  async reload(): Promise<Result<null, PostgresError>> {
    const sent = await this.#options.postmaster.signal("SIGHUP");
    return sent ? ok(null) : err({ kind: "failed", message: "PostgreSQL is not running: nothing to reload" });
  }

  /**
   * The intent with the role that the server really has. What was asked of a server that another supervisor, or our own
   * former life, started is found on the server itself.
   */
  async #actualIntent(deadline: Ms): Promise<Result<ServerIntent, PostgresError>> {
    const rows = await this.#options.connection.query(INTENT_QUERY, [], deadline);
    if (!rows.ok) return rows;
    const row = rows.value[0];
    const role: ServerRole = row?.["in_recovery"] === true ? this.#standbyRole : "primary";
    if (this.#intent !== null) return ok({ ...this.#intent, role });
    this.#intent = {
      role,
      follow: sourceOf(String(row?.["conninfo"] ?? ""), String(row?.["slot"] ?? "")),
      synchronousStandbyNames: String(row?.["synchronous"] ?? ""),
    };
    return ok(this.#intent);
  }

  async #write(
    intent: ServerIntent,
    control: ControlData | null,
    extra: Partial<ConfigFilesRequest>,
  ): Promise<Result<WrittenConfig, PostgresError>> {
    const majorVersion = await readMajorVersion(this.#config.dataDir);
    if (!majorVersion.ok) return majorVersion;
    const written = await writeConfigFiles(this.context, { ...intent, controlData: control, majorVersion: majorVersion.value, ...extra });
    if (!written.ok) return written;
    this.#intent = intent;
    this.#wanted = written.value.wanted;
    if (intent.role !== "primary") this.#standbyRole = intent.role;
    this.#outdated = false;
    this.#logFaults(written.value);
    return written;
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#lastWriter.then(work, work);
    this.#lastWriter = mine.then(
      () => undefined,
      () => undefined,
    );
    return mine;
  }

  #logFaults(written: WrittenConfig): void {
    const text = written.faults.map((fault) => `${fault.path}: ${fault.message}`).join("; ");
    if (text !== "" && text !== this.#faultsLogged) this.#options.log.warning(`parameters left out: ${text}`);
    this.#faultsLogged = text;
  }
}

const INTENT_QUERY = `SELECT pg_is_in_recovery() AS in_recovery, current_setting('primary_conninfo') AS conninfo,
  current_setting('primary_slot_name') AS slot, current_setting('synchronous_standby_names') AS synchronous`;
