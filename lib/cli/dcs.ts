// Owns the commands of scripts/dcs.ts: single keys of any store, read and written by hand. Knows no cluster, retries nothing.

import { Command, InvalidArgumentError } from "commander";
import { loadNodeConfig } from "../config/load.ts";
import { missesOnlyItsStore } from "../config/rules.ts";
import { openStore, type StoreSource } from "../dcs/open-store.ts";
import { redactUrl } from "../dcs/redact-url.ts";
import type { Condition, Entry, Session, Snapshot, Store } from "../dcs/store.ts";
import { StoreChoiceError } from "../dcs/store-choice.ts";
import type { Clock } from "../model/clock.ts";
import { type ConfigFault, describeStoreError, type StoreError } from "../model/errors.ts";
import type { Log } from "../model/log.ts";
import { err, ok, type Result } from "../model/result.ts";
import { type Ms, ms, revision, seconds } from "../model/units.ts";
import { EXIT, type ExitCode } from "../runtime/exit-codes.ts";
import { positiveSeconds, runCommand } from "./command-line.ts";
import { isRaftUrl, loadRaftUrl } from "./raft-url.ts";

/** What a run may use of its process. */
export interface DcsTerminal {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  out(text: string): void;
  complain(text: string): void;
  /** Ends a `watch`. */
  readonly signal: AbortSignal;
}

interface GlobalOptions {
  readonly config?: string;
  readonly dcs?: string;
  readonly json?: true;
  readonly timeout: number;
}

interface PutFlags {
  readonly ifAbsent?: true;
  readonly ifRevision?: number;
  readonly ttl?: number;
}

interface Run {
  readonly store: Store;
  readonly terminal: DcsTerminal;
  readonly json: boolean;
  /** For one request from now on. */
  within(): { readonly deadline: Ms };
}

const VARIABLES = "PATRONI_RAFT_PARTNER_ADDRS, PATRONI_CONSUL_HOST";
/** How long one blocking request of `watch` waits. */
const WATCH_ROUND_MS = 60_000;

/**
 * Runs one command; `args` without program name. Exit status: 0 done, 1 absent, condition failed or refused, 2 usage,
 * 3 the store is out of reach or did not confirm.
 */
export async function runDcs(args: readonly string[], terminal: DcsTerminal): Promise<ExitCode> {
  let status: ExitCode = EXIT.ok;
  const run = (action: (run: Run) => Promise<ExitCode>) => async (): Promise<void> => {
    status = await withStore(program.opts<GlobalOptions>(), terminal, action);
  };
  const program = buildProgram(terminal, run);
  return (await runCommand(program, args)) ?? status;
}

type Runner = (action: (run: Run) => Promise<ExitCode>) => () => Promise<void>;

function buildProgram(terminal: DcsTerminal, run: Runner): Command {
  const program = new Command("dcs")
    .description("Read and write single keys of the store that holds the cluster's state.")
    .option("-c, --config <file>", "take the store from this node's configuration")
    .option(
      "-d, --dcs <url>",
      "take the store from a URL, e.g. raft://127.0.0.1:5010 or consul://127.0.0.1:8500 (default: $DCS_URL, then the environment)",
    )
    .option("--json", "print JSON instead of bare values")
    .option("--timeout <seconds>", "deadline of each request", positiveSeconds, 10)
    .exitOverride()
    .configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.complain(text) });
  program
    .command("get <key>")
    .description("print the value of a key")
    .action((key: string) => run((context) => get(context, bare(key)))());
  program
    .command("put <key> <value>")
    .description("write a key; prints its new revision")
    .option("--if-absent", "only where the key does not exist")
    .option("--if-revision <revision>", "only where the key still has this revision", wholeNumber)
    .option("--ttl <seconds>", "the key vanishes by itself after about this time", positiveSeconds)
    .action((key: string, value: string, flags: PutFlags, command: Command) => {
      if (flags.ifAbsent && flags.ifRevision !== undefined) command.error("error: --if-absent and --if-revision exclude each other");
      return run((context) => put(context, bare(key), value, flags))();
    });
  program
    .command("delete <key>")
    .description("delete a key (status 1 where there is none)")
    .option("--recursive", "delete every key that starts with it")
    .action((key: string, flags: { readonly recursive?: true }) =>
      run((context) => remove(context, bare(key), flags.recursive === true))(),
    );
  program
    .command("list <prefix>")
    .description("print the keys that start with the prefix")
    .action((prefix: string) => run((context) => list(context, bare(prefix)))());
  program
    .command("watch <prefix>")
    .description("print changes as they come, until interrupted")
    .action((prefix: string) => run((context) => watch(context, bare(prefix)))());
  return program;
}

async function withStore(options: GlobalOptions, terminal: DcsTerminal, action: (run: Run) => Promise<ExitCode>): Promise<ExitCode> {
  const source = await findSource(options, terminal);
  if (!source.ok) return source.error;
  let store: Store;
  try {
    store = await openStore(source.value, { clock: terminal.clock, log: complaintsOnly(terminal) });
  } catch (error) {
    if (!(error instanceof StoreChoiceError)) throw error;
    terminal.complain(`${error.message}\n`);
    return typeof source.value === "string" ? EXIT.usage : EXIT.failed;
  }
  // An interrupt ends the request under way: it then counts as not answered.
  const interrupt = (): void => void store.close();
  terminal.signal.addEventListener("abort", interrupt, { once: true });
  try {
    return await action({
      store,
      terminal,
      json: options.json === true,
      within: () => ({ deadline: ms(terminal.clock.now() + seconds(options.timeout)) }),
    });
  } finally {
    terminal.signal.removeEventListener("abort", interrupt);
    await store.close();
  }
}

async function findSource(options: GlobalOptions, terminal: DcsTerminal): Promise<Result<StoreSource, ExitCode>> {
  if (options.config !== undefined && options.dcs !== undefined) {
    terminal.complain("error: -c and -d exclude each other\n");
    return err(EXIT.usage);
  }
  if (options.config !== undefined) {
    const loaded = await loadNodeConfig({ path: options.config, env: terminal.env, purpose: "store" });
    return loaded.ok ? ok(loaded.value.config) : refused(terminal, loaded.error, EXIT.failed);
  }
  const url = options.dcs ?? (terminal.env["DCS_URL"] || null);
  if (url === null) return fromEnvironment(terminal);
  if (!isRaftUrl(url)) return ok(url);
  const raft = await loadRaftUrl(url, terminal.env);
  return raft.ok ? ok({ consul: null, raft: raft.value }) : refused(terminal, raft.error, EXIT.usage);
}

async function fromEnvironment(terminal: DcsTerminal): Promise<Result<StoreSource, ExitCode>> {
  const loaded = await loadNodeConfig({ path: null, env: terminal.env, purpose: "store" });
  if (loaded.ok) return ok(loaded.value.config);
  if (!missesOnlyItsStore(loaded.error)) return refused(terminal, loaded.error, EXIT.failed);
  terminal.complain(
    `error: no store named; use -c node.yml, -d raft://host:port or -d consul://host:port, or the environment (${VARIABLES})\n`,
  );
  return err(EXIT.usage);
}

function refused(terminal: DcsTerminal, faults: readonly ConfigFault[], status: ExitCode): Result<never, ExitCode> {
  for (const fault of faults) terminal.complain(`${fault.path}: ${fault.message}\n`);
  return err(status);
}

async function get(run: Run, key: string): Promise<ExitCode> {
  const snapshot = await run.store.snapshot(key, { ...run.within(), consistency: "consistent" });
  if (!snapshot.ok) return fail(run, snapshot.error);
  const entry = snapshot.value.entries.find((found) => found.key === key);
  if (entry === undefined) return EXIT.failed;
  run.terminal.out(run.json ? line(entry) : `${entry.value}\n`);
  return EXIT.ok;
}

async function put(run: Run, key: string, value: string, flags: PutFlags): Promise<ExitCode> {
  let session: Session | null = null;
  if (flags.ttl !== undefined) {
    const opened = await run.store.openSession({ ...run.within(), name: "dcs", ttl: seconds(flags.ttl) });
    if (!opened.ok) return fail(run, opened.error);
    session = opened.value;
  }
  const condition = conditionOf(flags);
  const written = await run.store.put(key, value, { ...run.within(), condition, ...(session === null ? {} : { session: session.id }) });
  if (written.ok) {
    run.terminal.out(run.json ? line({ key, value, revision: written.value, session: session?.id ?? null }) : `${written.value}\n`);
    return EXIT.ok;
  }
  // Where the outcome is unknown the key may stand: the session then runs out by itself.
  if (session !== null && written.error.kind !== "unknown-outcome") await run.store.closeSession(session.id, run.within());
  return fail(run, written.error);
}

async function remove(run: Run, key: string, recursive: boolean): Promise<ExitCode> {
  if (recursive) {
    const done = await run.store.delete(key, { ...run.within(), recursive });
    return done.ok ? EXIT.ok : fail(run, done.error);
  }
  const snapshot = await run.store.snapshot(key, { ...run.within(), consistency: "consistent" });
  if (!snapshot.ok) return fail(run, snapshot.error);
  const entry = snapshot.value.entries.find((found) => found.key === key);
  if (entry === undefined) return EXIT.failed;
  const done = await run.store.delete(key, run.within());
  return done.ok ? EXIT.ok : fail(run, done.error);
}

async function list(run: Run, prefix: string): Promise<ExitCode> {
  const snapshot = await run.store.snapshot(prefix, { ...run.within(), consistency: "consistent" });
  if (!snapshot.ok) return fail(run, snapshot.error);
  const { entries } = snapshot.value;
  run.terminal.out(run.json ? line(entries) : entries.map((entry) => `${entry.key}\n`).join(""));
  return entries.length === 0 ? EXIT.failed : EXIT.ok;
}

async function watch(run: Run, prefix: string): Promise<ExitCode> {
  const first = await run.store.snapshot(prefix, { ...run.within(), consistency: "consistent" });
  if (!first.ok) return fail(run, first.error);
  let seen = first.value;
  while (!run.terminal.signal.aborted) {
    const deadline = ms(run.terminal.clock.now() + WATCH_ROUND_MS);
    const next = await run.store.watch(prefix, seen.revision, { deadline, signal: run.terminal.signal });
    if (run.terminal.signal.aborted) break;
    if (!next.ok) return fail(run, next.error);
    for (const change of changesBetween(seen, next.value)) run.terminal.out(run.json ? line(change) : changeText(change));
    seen = next.value;
  }
  return EXIT.ok;
}

export type KeyChange = ({ readonly kind: "put" } & Entry) | { readonly kind: "delete"; readonly key: string };

/** What has to be said of two snapshots of one prefix, in the order of the keys. */
export function changesBetween(before: Snapshot, after: Snapshot): readonly KeyChange[] {
  const old = new Map(before.entries.map((entry) => [entry.key, entry]));
  const left = new Set(after.entries.map((entry) => entry.key));
  const deleted = before.entries.filter((entry) => !left.has(entry.key)).map((entry): KeyChange => ({ kind: "delete", key: entry.key }));
  const written = after.entries
    .filter((entry) => old.get(entry.key)?.revision !== entry.revision)
    .map((entry): KeyChange => ({ kind: "put", ...entry }));
  return [...deleted, ...written].sort((a, b) => (a.key < b.key ? -1 : 1));
}

function changeText(change: KeyChange): string {
  return change.kind === "delete" ? `delete\t${change.key}\n` : `put\t${change.key}\t${change.value}\n`;
}

function conditionOf(flags: PutFlags): Condition {
  if (flags.ifAbsent) return { kind: "absent" };
  return flags.ifRevision === undefined ? { kind: "none" } : { kind: "revision", revision: revision(flags.ifRevision) };
}

function fail(run: Run, error: StoreError): ExitCode {
  run.terminal.complain(`${describeStoreError(error)}\n`);
  return error.kind === "unavailable" || error.kind === "unknown-outcome" ? EXIT.storeUnavailable : EXIT.failed;
}

/** What the store has to say (a refused TTL) goes to the terminal; the rest of a log is not for a shell. */
function complaintsOnly(terminal: DcsTerminal): Log {
  const complain = (message: string): void => terminal.complain(`${redactUrl(message)}\n`);
  return { debug: () => {}, info: () => {}, warning: complain, error: complain, critical: complain };
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** Keys have no slash in front; people write one. */
function bare(key: string): string {
  return key.replace(/^\/+/, "");
}

function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("write a whole number");
  return Number(text);
}
